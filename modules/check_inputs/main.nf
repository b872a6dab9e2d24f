include { called; calledByOrigin; commandLine; eachOf; quoted; quotedAll; repeated } from '../../functions/command_line.nf'
include { inFolder } from '../../functions/pairs.nf'
include { samplesheetLines } from '../../functions/columns.nf'

// Looks into every input before anything is computed, and says all that is wrong with them at once.
process CHECK_INPUTS {
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'annotation', 'checks']

    input:
    val rows // a map for each query, its keys the samplesheet's columns
    path queries, stageAs: 'query_?/*', arity: '1..*' // in the order of the rows
    val references // a map for each reference; path: its own, for errors
    path sources, stageAs: 'reference_?/*', arity: '1..*' // the h5ad or the model, its folder or archive, of each
    path gene_map, stageAs: 'gene_map/*'
    path gene_sets, stageAs: 'gene_sets_?/*', arity: '0..*'
    path ontology_map, stageAs: 'ontology_map/*'
    val options

    output:
    // One a reference; in a folder of its name where it has one.
    path { references.collect { meta -> inFolder(meta.id, 'inputs.json') } }, emit: inputs
    path { references.collect { meta -> inFolder(meta.id, 'query_genes.tsv') } }, emit: query_genes
    path 'versions.yml', emit: versions, topic: versions

    script:
    def own_paths = [queries + sources, rows.collect { row -> row.h5ad } + references.collect { meta -> meta.path }].transpose()
    def names = [['samplesheet.csv', options.input]] + own_paths
    def own_names = names.findAll { _staged, own -> own }.collect { staged, own -> called(staged, own) }
    def checks = [references, sources].transpose().collect { meta, source ->
        """\
        |check_inputs.py \\
        |    --samplesheet samplesheet.csv \\
        |    ${repeated('staged', queries)} \\
        |    ${commandLine([(meta.trained ? 'model' : 'reference'): source, gene_map: gene_map, ontology_map: ontology_map])} \\
        |    ${repeated('gmt', gene_sets)} \\
        |    ${eachOf('contrast', options.contrast)} \\
        |    ${commandLine(meta.subMap('label_key', 'batch_key') + options.findAll { name, _value -> !(name in ['contrast', 'input']) })} \\
        |    ${own_names.join(' ')} ${calledByOrigin([gene_map, gene_sets, ontology_map])} \\
        |    --output ${quoted(inFolder(meta.id, 'inputs.json'))} \\
        |    --query_genes ${quoted(inFolder(meta.id, 'query_genes.tsv'))} 2>> log.txt || status=\$((\$? > status ? \$? : status))""".stripMargin()
    }
    // What is wrong with a query is found again for each reference; show it once.
    """
    # code ${task.ext.code_digest}
    export TMPDIR="\$PWD" # for values that are stored by genes, and have to be put in order
    printf '%s\\n' ${quotedAll(samplesheetLines(rows))} > samplesheet.csv
    mkdir -p ${quotedAll(references.collect { meta -> meta.id ?: '.' })}
    status=0
    ${checks.join('\n    ')}
    awk '!seen[\$0]++' log.txt >&2
    [ \$status -eq 0 ] || exit \$status
    versions.py "${task.process}" anndata pandas scipy > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    mkdir -p ${quotedAll(references.collect { meta -> meta.id ?: '.' })}
    touch ${quotedAll(references.collectMany { meta -> ['inputs.json', 'query_genes.tsv'].collect { file -> inFolder(meta.id, file) } })} versions.yml
    """
}

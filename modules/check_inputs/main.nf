include { commandLine; eachOf; quoted; repeated } from '../../functions/command_line.nf'
include { named } from '../../functions/pairs.nf'
include { samplesheetLines } from '../../functions/samplesheet.nf'
include { bytesReadWhole } from '../../functions/sizes.nf'

// Looks into every input before anything is computed, and says all that is wrong with them at once.
process CHECK_INPUTS {
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext reference: { meta.id } // for a configuration to name the tasks by
    memory { (6.GB + 10.B * bytesReadWhole(queries)) * task.attempt }

    input:
    tuple val(meta), path(reference), path(model, stageAs: 'model/*', arity: '0..*') // one of the two is []
    val rows // a map for each query, its keys the samplesheet's columns
    path queries, stageAs: 'query_?/*', arity: '1..*' // in the order of the rows
    path gene_map
    path gene_sets, arity: '0..*'
    val options

    output:
    tuple val(meta), path("${named(meta.id, 'inputs.json')}"), emit: inputs
    tuple val(meta), path('query_genes.tsv'), emit: query_genes
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    printf '%s\\n' ${samplesheetLines(rows).collect { line -> quoted(line) }.join(' ')} > samplesheet.csv
    check_inputs.py \\
        --samplesheet samplesheet.csv \\
        ${repeated('staged', queries)} \\
        ${reference ? "--reference ${reference}" : '--model model'} \\
        ${gene_map ? "--gene_map ${gene_map}" : ''} \\
        ${repeated('gmt', gene_sets)} \\
        ${eachOf('contrast', options.contrast)} \\
        ${commandLine(meta.subMap('label_key', 'batch_key') + options.findAll { name, _value -> name != 'contrast' })} \\
        --output ${named(meta.id, 'inputs.json')} \\
        --query_genes query_genes.tsv
    versions.py "${task.process}" anndata pandas scipy > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${named(meta.id, 'inputs.json')} query_genes.tsv versions.yml
    """
}

include { commandLine; quoted; quotedAll; repeated } from '../../functions/command_line.nf'

// One self-contained page about a query, or about all queries of a run; its figures as files, too.
process REPORT {
    tag "${name}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'sampling', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping', 'report']

    input:
    tuple val(name), path(mapped, arity: '1..*'), path(details, arity: '0..*')
    path model, stageAs: 'model/*', arity: '1..*'
    path inputs
    val provenance // JSON

    output:
    path "${name}.html", emit: html
    path "${name}.mqc/*_mqc.json", emit: multiqc
    // -resume asks for a folder only, whatever is left in it: the number of files is for the workflow to compare.
    tuple path("${name}.figures"), path("${name}.mqc/*_mqc.json"), env('n_files'), emit: figures
    path 'versions.yml', emit: versions, topic: versions

    script:
    def suffixes = [
        alignment: '.alignment.json',
        tags: '.tags.tsv',
        slot_tags: '.slot_tags.tsv',
        contrasts: '.contrasts.tsv',
        faithfulness: '.faithfulness.tsv',
        enrichment: '.enrichment.tsv',
        metrics: '.metrics.json',
        consensus: '.consensus.json',
    ]
    def options = suffixes.collect { option, suffix -> repeated(option, details.findAll { path -> path.name.endsWith(suffix) }) }
    """
    # code ${task.ext.code_digest}
    printf '%s\\n' ${quoted(provenance)} > provenance.json
    report.py \\
        --model model \\
        --inputs ${quoted(inputs)} \\
        --provenance provenance.json \\
        ${repeated('mapped', mapped)} \\
        ${options.join(' ')} \\
        ${commandLine([output: "${name}.html", mqc_dir: "${name}.mqc", figures_dir: "${name}.figures"])}
    n_files=\$(find ${quotedAll(["${name}.figures", "${name}.mqc"])} -type f | wc -l)
    versions.py "${task.process}" anndata jinja2 matplotlib plotly > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    mkdir ${quotedAll(["${name}.figures", "${name}.mqc"])}
    touch ${quotedAll(["${name}.html", "${name}.figures/composition.svg", "${name}.mqc/${name}_mqc.json"])} versions.yml
    n_files=2
    """
}

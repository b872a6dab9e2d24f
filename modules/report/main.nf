include { calledByOrigin; commandLine; quoted; quotedAll; repeated } from '../../functions/command_line.nf'
include { named } from '../../functions/pairs.nf'

// One self-contained page about a query, or about all queries of a run; its figures as files as well.
process REPORT {
    tag "${named(meta.id, 'report')}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'sampling', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping', 'report'], meta: { meta }

    input:
    tuple val(meta), path(mapped, arity: '1..*'), path(details, arity: '0..*')
    path model, stageAs: 'model/*', arity: '1..*'
    path inputs
    path gene_sets, stageAs: 'gene_sets_?/*', arity: '0..*'
    val provenance // JSON object, not empty

    output:
    tuple val(meta), path("${named(meta.id, 'report')}.html"), emit: html
    path 'multiqc/**_mqc.json', emit: multiqc
    // -resume asks for one file of each pattern: their number is for the workflow to compare.
    tuple path('figures/*'), path('multiqc/**_mqc.json'), env('n_files'), emit: figures
    path 'versions.yml', emit: versions, topic: versions

    script:
    def suffixes = [
        alignment: '.alignment.json',
        tags: '.tags.tsv',
        slot_tags: '.slot_tags.tsv',
        contrasts: '.contrasts.tsv',
        faithfulness: '.faithfulness.tsv',
        enrichment: '.enrichment.tsv',
        clusters: '.clusters.tsv',
        cluster_markers: '.cluster_markers.tsv',
        cell_clusters: '.cell_clusters.csv',
        metrics: '.metrics.json',
        consensus: '.consensus.json',
    ]
    def multiqc = ['multiqc', meta.id].findAll().join('/')
    def options = suffixes.collect { option, suffix -> repeated(option, details.findAll { path -> path.name.endsWith(suffix) }) }
    """
    # code ${task.ext.code_digest}
    printf '{"written": "%s", %s\\n' "\$(date -u +%F)" ${quoted(provenance.drop(1))} > provenance.json
    report.py \\
        --model model \\
        --inputs ${quoted(inputs)} \\
        --provenance provenance.json \\
        ${repeated('mapped', mapped)} \\
        ${options.join(' ')} \\
        ${repeated('gmt', gene_sets)} ${calledByOrigin(gene_sets)} \\
        ${commandLine([output: "${named(meta.id, 'report')}.html", mqc_dir: multiqc, figures_dir: 'figures'])}
    n_files=\$(find figures multiqc -type f | wc -l)
    versions.py "${task.process}" anndata jinja2 matplotlib plotly > versions.yml
    """

    stub:
    def multiqc = ['multiqc', meta.id].findAll().join('/')
    """
    # code ${task.ext.code_digest}
    mkdir -p figures ${quoted(multiqc)}
    touch ${quotedAll(["${named(meta.id, 'report')}.html", "${multiqc}/composition_mqc.json"])}
    touch figures/composition.svg figures/composition.pdf figures/composition.png versions.yml
    n_files=4
    """
}

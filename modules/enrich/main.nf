include { calledByOrigin; commandLine; eachOf; quoted; repeated } from '../../functions/command_line.nf'

// Tests the rankings of attended genes for gene sets, against the genes that the query measured of the panel.
process ENRICH {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'sampling', 'exact', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping', 'explanation'], meta: { meta }

    input:
    tuple val(meta), path(tags), path(slot_tags), path(alignment), path(profiles), path(contrasts) // profiles, contrasts: or []
    path panel
    path gene_sets, stageAs: 'gene_sets_?/*', arity: '0..*' // none if options name a library of Enrichr
    val options

    output:
    tuple val(meta), path("${meta.id}.enrichment.tsv"), emit: enrichment
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    enrich.py \\
        ${commandLine([tags: tags, slot_tags: slot_tags, alignment: alignment, panel: panel])} \\
        ${commandLine([profiles: profiles, contrasts: contrasts])} \\
        ${eachOf('enrichr', options.enrichr)} \\
        ${repeated('gmt', gene_sets)} ${calledByOrigin(gene_sets)} \\
        ${commandLine(options.findAll { name, _value -> name != 'enrichr' })} \\
        --output ${quoted("${meta.id}.enrichment.tsv")}
    versions.py "${task.process}" gseapy pandas > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${quoted("${meta.id}.enrichment.tsv")} versions.yml
    """
}

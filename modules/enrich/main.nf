include { commandLine; quoted; repeated } from '../../functions/command_line.nf'

// Tests the rankings of attended genes for gene sets, against the genes that the query measured of the panel.
process ENRICH {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"

    input:
    tuple val(meta), path(tags), path(slot_tags), path(alignment), path(profiles), path(contrasts) // profiles, contrasts: or []
    path panel
    path gene_sets, arity: '0..*' // none if options name a library of Enrichr
    val options

    output:
    tuple val(meta), path("${meta.id}.enrichment.tsv"), emit: enrichment
    path 'versions.yml', emit: versions, topic: versions

    script:
    def enrichr = (options.enrichr ?: '').tokenize(',').collect { name -> "--enrichr ${quoted(name.trim())}" }
    """
    # code ${task.ext.code_digest}
    enrich.py \\
        --tags ${tags} \\
        --slot_tags ${slot_tags} \\
        --alignment ${alignment} \\
        --panel ${panel} \\
        ${profiles ? "--profiles ${profiles}" : ''} \\
        ${contrasts ? "--contrasts ${contrasts}" : ''} \\
        ${enrichr.join(' ')} \\
        ${repeated('gmt', gene_sets)} \\
        ${commandLine(options.findAll { name, _value -> name != 'enrichr' })} \\
        --output ${meta.id}.enrichment.tsv
    versions.py "${task.process}" gseapy pandas > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${meta.id}.enrichment.tsv versions.yml
    """
}

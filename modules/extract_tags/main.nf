include { commandLine } from '../../functions/command_line.nf'

// Lists the genes that the model attended to, for each label and memory slot.
process EXTRACT_TAGS {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"

    input:
    tuple val(meta), path(mapped)
    val options

    output:
    tuple val(meta), path("${meta.id}.tags.tsv"), emit: tags
    tuple val(meta), path("${meta.id}.slot_tags.tsv"), emit: slot_tags
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    extract_tags.py \\
        --mapped ${mapped} \\
        ${commandLine(options)} \\
        --tags ${meta.id}.tags.tsv \\
        --slot_tags ${meta.id}.slot_tags.tsv
    versions.py "${task.process}" anndata pandas scipy > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${meta.id}.tags.tsv ${meta.id}.slot_tags.tsv versions.yml
    """
}

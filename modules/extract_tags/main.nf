include { commandLine; eachOf } from '../../functions/command_line.nf'

// Lists the genes that the model attended to, for each label and memory slot, and for contrasts of two groups of cells.
process EXTRACT_TAGS {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"

    input:
    tuple val(meta), path(mapped), path(against, stageAs: 'against/*') // against: a mapped file, or []
    path model, stageAs: 'model/*', arity: '1..*'
    val options

    output:
    tuple val(meta), path("${meta.id}.tags.tsv"), emit: tags
    tuple val(meta), path("${meta.id}.slot_tags.tsv"), emit: slot_tags
    tuple val(meta), path("${meta.id}.contrasts.tsv"), emit: contrasts, optional: true
    tuple val(meta), path("${meta.id}.tag_profiles.h5ad"), emit: profiles
    path 'versions.yml', emit: versions, topic: versions

    script:
    def output = options.contrast || against ? "--contrasts ${meta.id}.contrasts.tsv" : ''
    """
    # code ${task.ext.code_digest}
    extract_tags.py \\
        --mapped ${mapped} \\
        --model model \\
        --threads ${task.cpus} \\
        ${eachOf('contrast', options.contrast)} \\
        ${against ? "--against ${against}" : ''} \\
        ${output} \\
        ${commandLine(options.findAll { name, _value -> name != 'contrast' })} \\
        --tags ${meta.id}.tags.tsv \\
        --slot_tags ${meta.id}.slot_tags.tsv \\
        --profiles ${meta.id}.tag_profiles.h5ad
    versions.py "${task.process}" anndata pandas scanpy scipy torch > versions.yml
    """

    stub:
    def contrasts = options.contrast || against ? "${meta.id}.contrasts.tsv" : ''
    """
    # code ${task.ext.code_digest}
    touch ${meta.id}.tags.tsv ${meta.id}.slot_tags.tsv ${contrasts} ${meta.id}.tag_profiles.h5ad versions.yml
    """
}

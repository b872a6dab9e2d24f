include { commandLine; eachOf; quoted; quotedAll } from '../../functions/command_line.nf'

// Lists the genes that the model attended to, for each label and memory slot, and for contrasts of two groups of cells.
process EXTRACT_TAGS {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'sampling', 'exact', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping', 'explanation'], meta: { meta }

    input:
    // against: a mapped file, or []; cell_clusters: the clusters of the cells, or []
    tuple val(meta), path(mapped), path(against, stageAs: 'against/*'), path(cell_clusters)
    path model, stageAs: 'model/*', arity: '1..*'
    val options

    output:
    tuple val(meta), path("${meta.id}.tags.tsv"), emit: tags
    tuple val(meta), path("${meta.id}.slot_tags.tsv"), emit: slot_tags
    // Without contrasts the tags stand here: nothing is optional, or -resume would take contrasts that are gone for none.
    tuple val(meta), path("${options.contrast || against ? "${meta.id}.contrasts.tsv" : "${meta.id}.tags.tsv"}"), emit: contrasts
    tuple val(meta), path("${meta.id}.tag_profiles.h5ad"), emit: profiles
    path 'versions.yml', emit: versions, topic: versions

    script:
    def contrasts = options.contrast || against ? "${meta.id}.contrasts.tsv" : null
    """
    # code ${task.ext.code_digest}
    extract_tags.py \\
        --mapped ${quoted(mapped)} \\
        --model model \\
        --threads ${task.cpus} \\
        ${eachOf('contrast', options.contrast)} \\
        ${commandLine([against: against, contrasts: contrasts, cell_clusters: cell_clusters])} \\
        ${commandLine(options.findAll { name, _value -> name != 'contrast' })} \\
        --tags ${quoted("${meta.id}.tags.tsv")} \\
        --slot_tags ${quoted("${meta.id}.slot_tags.tsv")} \\
        --profiles ${quoted("${meta.id}.tag_profiles.h5ad")}
    versions.py "${task.process}" anndata pandas scipy torch > versions.yml
    """

    stub:
    def kinds = ['tags.tsv', 'slot_tags.tsv', 'tag_profiles.h5ad'] + (options.contrast || against ? ['contrasts.tsv'] : [])
    """
    # code ${task.ext.code_digest}
    touch ${quotedAll(kinds.collect { kind -> "${meta.id}.${kind}" })} versions.yml
    """
}

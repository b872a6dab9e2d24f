include { commandLine } from '../../functions/command_line.nf'

// Labels a query's cells, with confidence, novelty and attention.
process MAP_QUERY {
    tag "${meta.id}"
    label 'process_medium'
    label 'process_gpu'
    conda "${moduleDir}/../environment.yml"

    input:
    tuple val(meta), path(query)
    path model, stageAs: 'model/*', arity: '1..*'
    val options

    output:
    tuple val(meta), path("${meta.id}.mapped.h5ad"), emit: mapped
    tuple val(meta), path("${meta.id}.labels.csv"), emit: labels
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    map_query.py \\
        --query ${query} \\
        --model model \\
        ${commandLine(options)} \\
        --threads ${task.cpus} \\
        --output ${meta.id}.mapped.h5ad \\
        --labels ${meta.id}.labels.csv
    versions.py "${task.process}" anndata safetensors torch umap-learn > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${meta.id}.mapped.h5ad ${meta.id}.labels.csv versions.yml
    """
}

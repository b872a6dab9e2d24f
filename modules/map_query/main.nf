include { sliceName } from '../../functions/cells.nf'
include { commandLine } from '../../functions/command_line.nf'

// Labels a query's cells, with confidence, novelty and attention: all of them, or a slice for GATHER to join.
process MAP_QUERY {
    tag "${meta.id}${cells ? " ${cells}" : ''}"
    label 'process_medium'
    label 'process_gpu'
    conda "${moduleDir}/../environment.yml"

    input:
    tuple val(meta), path(query), val(cells) // START:STOP, or '' for all
    path model, stageAs: 'model/*', arity: '1..*'
    val options

    output:
    tuple val(meta), path("${meta.id}.mapped.h5ad"), emit: mapped, optional: true
    tuple val(meta), path("${meta.id}.labels.csv"), emit: labels, optional: true
    tuple val(meta), path('*.slice.h5ad'), emit: slice, optional: true
    path 'versions.yml', emit: versions, topic: versions

    script:
    def outputs = cells
        ? "--cells ${cells} --output ${sliceName(meta.id, cells)}"
        : "--output ${meta.id}.mapped.h5ad --labels ${meta.id}.labels.csv"
    """
    # code ${task.ext.code_digest}
    map_query.py \\
        --query ${query} \\
        --model model \\
        ${commandLine(options)} \\
        --threads ${task.cpus} \\
        ${outputs}
    versions.py "${task.process}" anndata safetensors torch umap-learn > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${cells ? sliceName(meta.id, cells) : "${meta.id}.mapped.h5ad ${meta.id}.labels.csv"} versions.yml
    """
}

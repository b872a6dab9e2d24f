include { calledByOrigin; commandLine; quoted } from '../../functions/command_line.nf'
include { optionalColumns } from '../../functions/columns.nf'

// Writes a query over the gene panel, and says what of it was matched.
process PREPROCESS_QUERY {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'io', 'cells', 'genes'], meta: { meta }

    input:
    tuple val(meta), path(query, stageAs: 'input/*')
    path panel
    path gene_map, stageAs: 'gene_map/*'
    val options

    output:
    tuple val(meta), path("${meta.id}.aligned.h5ad"), emit: aligned
    tuple val(meta), path("${meta.id}.alignment.json"), emit: alignment
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    export TMPDIR="\$PWD" # for values that are stored by genes, and have to be put in order
    preprocess_query.py \\
        ${commandLine([query: query, sample: meta.id, panel: panel, gene_map: gene_map])} \\
        ${calledByOrigin([query, gene_map])} \\
        ${commandLine(meta.subMap(optionalColumns('input') - 'cluster_key') + options)} \\
        --output ${quoted("${meta.id}.aligned.h5ad")} \\
        --alignment ${quoted("${meta.id}.alignment.json")}
    versions.py "${task.process}" anndata scipy > versions.yml
    """

    // The number of cells decides how many tasks map them: task.ext.stub_cells lets a stub run try any.
    stub:
    """
    # code ${task.ext.code_digest}
    echo '{"cells": ${task.ext.stub_cells ?: 1}}' > ${quoted("${meta.id}.alignment.json")}
    touch ${quoted("${meta.id}.aligned.h5ad")} versions.yml
    """
}

include { commandLine; quoted } from '../../functions/command_line.nf'

// Compares the labels with the true ones, where the query has them.
process EVALUATE {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping', 'evaluation'], meta: { meta }

    input:
    tuple val(meta), path(mapped)
    path model, stageAs: 'model/*', arity: '1..*'

    output:
    tuple val(meta), path("${meta.id}.metrics.json"), emit: metrics
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    evaluate.py \\
        --mapped ${quoted(mapped)} \\
        --model model \\
        ${commandLine(meta.subMap('truth_key', 'batch_key'))} \\
        --output ${quoted("${meta.id}.metrics.json")}
    versions.py "${task.process}" anndata scikit-learn > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${quoted("${meta.id}.metrics.json")} versions.yml
    """
}

include { commandLine; quoted } from '../../functions/command_line.nf'

// Removes or keeps the genes that cells attend to most, and watches the probability of their labels.
process FAITHFULNESS {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'sampling', 'exact', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping', 'explanation'], meta: { meta }

    input:
    tuple val(meta), path(mapped)
    path model, stageAs: 'model/*', arity: '1..*'
    val options

    output:
    tuple val(meta), path("${meta.id}.faithfulness.tsv"), emit: faithfulness
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    faithfulness.py \\
        --mapped ${quoted(mapped)} \\
        --model model \\
        --threads ${task.cpus} \\
        ${commandLine(options)} \\
        --output ${quoted("${meta.id}.faithfulness.tsv")}
    versions.py "${task.process}" anndata pandas torch > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${quoted("${meta.id}.faithfulness.tsv")} versions.yml
    """
}

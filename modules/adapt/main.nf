include { commandLine; quoted; quotedAll } from '../../functions/command_line.nf'
include { modelFiles } from '../../functions/models.nf'

// Adapts a trained model to a query, without its labels. The model is meant for this query only.
process ADAPT {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'sampling', 'exact', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping'], meta: { meta }

    input:
    tuple val(meta), path(query)
    path model, stageAs: 'model/*', arity: '1..*'
    val options

    output:
    tuple val(meta), path("${meta.id}.model"), emit: model
    path { modelFiles("${meta.id}.model") }, emit: files // each must be there, or -resume would take an incomplete model
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    adapt.py \\
        --query ${quoted(query)} \\
        --model model \\
        ${commandLine(options)} \\
        --threads ${task.cpus} \\
        --output ${quoted("${meta.id}.model")}
    versions.py "${task.process}" anndata safetensors torch > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    cp -rL model ${quoted("${meta.id}.model")}
    touch ${quotedAll(modelFiles("${meta.id}.model"))} versions.yml
    """
}

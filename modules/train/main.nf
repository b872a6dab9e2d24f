include { commandLine; quoted; quotedAll } from '../../functions/command_line.nf'
include { modelFiles } from '../../functions/models.nf'
include { named } from '../../functions/pairs.nf'

// Trains the model on the reference.
process TRAIN {
    tag "${meta.id ?: 'reference'}"
    label 'process_high'
    label 'process_gpu'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'sampling', 'io', 'cells', 'genes', 'network', 'reference', 'training'], meta: { meta }
    memory { (6.GB + 2.B * reference.size()) * task.attempt }

    input:
    tuple val(meta), path(reference), path(panel, stageAs: 'input/*')
    val options

    output:
    tuple val(meta), path("${named(meta.id, 'model')}"), emit: model
    path { modelFiles(named(meta.id, 'model')) }, emit: files // each must be there, or -resume would take an incomplete model
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    train.py \\
        ${commandLine([reference: reference, panel: panel])} \\
        ${commandLine(meta.subMap('label_key', 'batch_key') + options)} \\
        --threads ${task.cpus} \\
        --output ${quoted(named(meta.id, 'model'))}
    versions.py "${task.process}" anndata lightning safetensors torch umap-learn > versions.yml
    """

    stub:
    def model = named(meta.id, 'model')
    """
    # code ${task.ext.code_digest}
    mkdir -p ${quoted(model)}
    touch ${quotedAll(modelFiles(model))} versions.yml
    """
}

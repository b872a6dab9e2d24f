include { quoted; quotedAll } from '../../functions/command_line.nf'
include { modelFiles } from '../../functions/models.nf'
include { named } from '../../functions/pairs.nf'

// Unpacks the archive of a trained model, once all of it has been checked.
process COPY_MODEL {
    tag "${meta.id ?: 'model'}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'io', 'cells', 'genes', 'network', 'reference'], meta: { meta }

    input:
    tuple val(meta), path(archive, stageAs: 'input/*')

    output:
    tuple val(meta), path("${named(meta.id, 'model')}"), emit: model
    path { modelFiles(named(meta.id, 'model')) }, emit: files // each must be there, or -resume would take an incomplete model
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    copy_model.py --model ${quoted(archive)} --output ${quoted(named(meta.id, 'model'))}
    versions.py "${task.process}" safetensors > versions.yml
    """

    stub:
    def model = named(meta.id, 'model')
    """
    # code ${task.ext.code_digest}
    mkdir -p ${quoted(model)}
    touch ${quotedAll(modelFiles(model))} versions.yml
    """
}

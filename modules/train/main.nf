include { commandLine } from '../../functions/command_line.nf'

// Trains the model on the reference.
process TRAIN {
    label 'process_high'
    label 'process_gpu'
    conda "${moduleDir}/../environment.yml"
    memory { (8.GB + 8.B * reference.size()) * task.attempt }

    input:
    path reference
    path panel, stageAs: 'input/*'
    val options

    output:
    path 'model', emit: model
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    train.py \\
        --reference ${reference} \\
        --panel ${panel} \\
        ${commandLine(options)} \\
        --threads ${task.cpus} \\
        --output model
    versions.py "${task.process}" anndata lightning safetensors torch > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    mkdir model
    touch model/model.safetensors model/config.json model/panel.tsv model/labels.tsv model/calibration.json \\
        model/history.tsv model/history.png model/model_card.md versions.yml
    """
}

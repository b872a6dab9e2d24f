include { commandLine; quoted; repeated } from '../../functions/command_line.nf'

// Checksums of what a result was made from and of its files, for its record of provenance.
process CHECKSUMS {
    tag "${name}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'io']

    input:
    tuple val(name), path(inputs, stageAs: 'input_?/*', arity: '1..*'), path(results, stageAs: 'results/*', arity: '1..*')
    path model, stageAs: 'model/*', arity: '0..*'

    output:
    tuple val(name), path("${name}.checksums.json"), emit: checksums
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    checksums.py \\
        ${repeated('input', inputs)} \\
        ${repeated('result', results)} \\
        ${commandLine([model: model ? 'model' : null])} \\
        --output ${quoted("${name}.checksums.json")}
    versions.py "${task.process}" > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    echo '{"inputs": [], "results": [], "model": null}' > ${quoted("${name}.checksums.json")}
    touch versions.yml
    """
}

include { calledByOrigin; commandLine; quoted; quotedAll } from '../../functions/command_line.nf'

// Where several references agree on the labels of a query's cells.
process CONSENSUS {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'columns', 'io', 'consensus'], meta: { meta }

    input:
    tuple val(meta), val(references), path(labels, arity: '2..*') // references: the name of each one, in the labels' order
    path label_map, stageAs: 'label_map/*'

    output:
    tuple val(meta), path("${meta.id}.consensus.csv"), emit: consensus
    tuple val(meta), path("${meta.id}.consensus.json"), emit: summary
    path "${meta.id}_consensus_mqc.json", emit: multiqc
    path 'versions.yml', emit: versions, topic: versions

    script:
    def tables = [references, labels].transpose().collect { reference, table -> "--labels ${quoted(reference)} ${quoted(table)}" }
    """
    # code ${task.ext.code_digest}
    consensus.py \\
        --sample ${quoted(meta.id)} \\
        ${tables.join(' ')} \\
        ${commandLine([label_map: label_map])} ${calledByOrigin(label_map)} \\
        --output ${quoted("${meta.id}.consensus.csv")} \\
        --summary ${quoted("${meta.id}.consensus.json")} \\
        --mqc ${quoted("${meta.id}_consensus_mqc.json")}
    versions.py "${task.process}" pandas > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    echo '{"warnings": []}' > ${quoted("${meta.id}.consensus.json")}
    touch ${quotedAll(["${meta.id}.consensus.csv", "${meta.id}_consensus_mqc.json"])} versions.yml
    """
}

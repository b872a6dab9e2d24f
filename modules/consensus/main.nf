// Where several references agree on the labels of a query's cells.
process CONSENSUS {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"

    input:
    tuple val(meta), val(references), path(labels, arity: '2..*') // references: the name of each one, in the labels' order
    path label_map

    output:
    tuple val(meta), path("${meta.id}.consensus.csv"), emit: consensus
    tuple val(meta), path("${meta.id}.consensus.json"), emit: summary
    path "${meta.id}_consensus_mqc.json", emit: multiqc
    path 'versions.yml', emit: versions, topic: versions

    script:
    def tables = [references, labels].transpose().collect { reference, table -> "--labels ${reference} ${table}" }
    """
    # code ${task.ext.code_digest}
    consensus.py \\
        --sample ${meta.id} \\
        ${tables.join(' ')} \\
        ${label_map ? "--label_map ${label_map}" : ''} \\
        --output ${meta.id}.consensus.csv \\
        --summary ${meta.id}.consensus.json \\
        --mqc ${meta.id}_consensus_mqc.json
    versions.py "${task.process}" pandas > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    echo '{"warnings": []}' > ${meta.id}.consensus.json
    touch ${meta.id}.consensus.csv ${meta.id}_consensus_mqc.json versions.yml
    """
}

include { labelsName; mappedName } from '../../functions/cells.nf'
include { commandLine; quoted; quotedAll } from '../../functions/command_line.nf'

// Labels a query's cells, with confidence, novelty and attention: all of them, or a slice for GATHER to join.
process MAP_QUERY {
    tag "${meta.id}${cells ? " ${cells}" : ''}"
    label 'process_medium'
    label 'process_gpu'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'sampling', 'exact', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping'], meta: { meta }

    input:
    tuple val(meta), path(query), val(cells) // START:STOP, or '' for all
    path model, stageAs: 'model/*', arity: '1..*'
    val options

    output:
    // A slice stands for both: nothing is optional, or -resume would take a file that is gone for one that was never there.
    tuple val(meta), val(cells), path("${mappedName(meta.id, cells)}"), path("${labelsName(meta.id, cells)}"), emit: mapped
    path 'versions.yml', emit: versions, topic: versions

    script:
    def outputs = [output: mappedName(meta.id, cells)] + (cells ? [cells: cells] : [labels: labelsName(meta.id, cells)])
    """
    # code ${task.ext.code_digest}
    map_query.py \\
        --query ${quoted(query)} \\
        --model model \\
        ${commandLine(options)} \\
        --threads ${task.cpus} \\
        ${commandLine(outputs)}
    versions.py "${task.process}" anndata safetensors scikit-learn torch > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${quotedAll([mappedName(meta.id, cells), labelsName(meta.id, cells)])} versions.yml
    """
}

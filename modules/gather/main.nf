include { quoted; quotedAll; repeated } from '../../functions/command_line.nf'

// Joins the slices of a query into the files that one task would have made of it.
process GATHER {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'exact', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping'], meta: { meta }

    input:
    tuple val(meta), path(query), path(slices, arity: '1..*')
    path model, stageAs: 'model/*', arity: '1..*'

    output:
    tuple val(meta), path("${meta.id}.mapped.h5ad"), emit: mapped
    tuple val(meta), path("${meta.id}.labels.csv"), emit: labels
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    gather.py \\
        --query ${quoted(query)} \\
        --model model \\
        ${repeated('slice', slices)} \\
        --threads ${task.cpus} \\
        --output ${quoted("${meta.id}.mapped.h5ad")} \\
        --labels ${quoted("${meta.id}.labels.csv")}
    versions.py "${task.process}" anndata scikit-learn > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${quotedAll(["${meta.id}.mapped.h5ad", "${meta.id}.labels.csv"])} versions.yml
    """
}

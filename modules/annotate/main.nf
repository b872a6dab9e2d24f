include { calledByOrigin; commandLine; quoted } from '../../functions/command_line.nf'

// Gives the query's own file back, with the labels in it.
process ANNOTATE {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping', 'annotation'], meta: { meta }

    input:
    tuple val(meta), path(query, stageAs: 'input/*'), path(mapped), path(cell_clusters) // cell_clusters: a table, or []
    path ontology_map, stageAs: 'ontology_map/*'

    output:
    tuple val(meta), path("${meta.id}.annotated.h5ad"), emit: annotated
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    export TMPDIR="\$PWD" # for values that are stored by genes, and have to be put in order
    annotate.py \\
        --query ${quoted(query)} \\
        ${calledByOrigin([query, ontology_map])} \\
        --mapped ${quoted(mapped)} \\
        ${commandLine([cell_clusters: cell_clusters, ontology_map: ontology_map])} \\
        --output ${quoted("${meta.id}.annotated.h5ad")}
    versions.py "${task.process}" anndata > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${quoted("${meta.id}.annotated.h5ad")} versions.yml
    """
}

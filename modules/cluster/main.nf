include { calledByOrigin; commandLine; quoted; quotedAll; repeated } from '../../functions/command_line.nf'

// Clusters a query's cells, and says which clusters may be types that the reference lacks.
process CLUSTER {
    tag "${meta.id}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'sampling', 'exact', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'mapping', 'explanation', 'clusters'], meta: { meta }

    input:
    tuple val(meta), path(mapped)
    path model, stageAs: 'model/*', arity: '1..*'
    path gene_sets, stageAs: 'gene_sets_?/*', arity: '0..*'
    val options

    output:
    tuple val(meta), path("${meta.id}.cell_clusters.csv"), emit: cell_clusters
    tuple val(meta), path("${meta.id}.clusters.tsv"), emit: clusters
    tuple val(meta), path("${meta.id}.cluster_markers.tsv"), emit: cluster_markers
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    cluster.py \\
        --mapped ${quoted(mapped)} \\
        --model model \\
        --threads ${task.cpus} \\
        ${repeated('gmt', gene_sets)} ${calledByOrigin(gene_sets)} \\
        ${commandLine(meta.subMap('cluster_key') + options)} \\
        --cell_clusters ${quoted("${meta.id}.cell_clusters.csv")} \\
        --clusters ${quoted("${meta.id}.clusters.tsv")} \\
        --cluster_markers ${quoted("${meta.id}.cluster_markers.tsv")}
    versions.py "${task.process}" anndata gseapy igraph scikit-learn scipy > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch ${quotedAll(['cell_clusters.csv', 'clusters.tsv', 'cluster_markers.tsv'].collect { kind -> "${meta.id}.${kind}" })} versions.yml
    """
}

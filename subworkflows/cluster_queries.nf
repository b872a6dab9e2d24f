// The clusters of each query's own cells, and which of them may be new to the reference.

include { withPair } from '../functions/pairs.nf'

include { CLUSTER } from '../modules/cluster/main.nf'

workflow CLUSTER_QUERIES {
    take:
    mapped // channel of [meta, path]
    models // channel of [id of a pair, paths]
    gene_sets // list of paths
    settings // map

    main:
    grouped = withPair(settings.clusters == false ? channel.empty() : mapped, models)
    CLUSTER(grouped.item, grouped.own, gene_sets, settings.subMap(['resolution', 'seed']))
    cell_clusters = settings.clusters == false ? mapped.map { meta, _query -> [meta, []] } : CLUSTER.out.cell_clusters
    clustered = CLUSTER.out.cell_clusters.mix(CLUSTER.out.clusters, CLUSTER.out.cluster_markers)
    versions = CLUSTER.out.versions

    emit:
    cell_clusters // [meta, path]; [] where there are no clusters
    clustered // [meta, path]: of each pair the cells, the clusters and their markers
    versions
}

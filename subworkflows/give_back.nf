// Each query's own file, whole, with what was found of its cells.

include { ANNOTATE } from '../modules/annotate/main.nf'

workflow GIVE_BACK {
    take:
    pairs // channel of [meta, file of the query]
    mapped // channel of [meta, path]
    cell_clusters // channel of [meta, path]
    settings // map

    main:
    wanted = settings.annotated == false ? channel.empty() : pairs.join(mapped)
    complete = settings.clusters == false ? wanted.map { meta, query, labelled -> [meta, query, labelled, []] } : wanted.join(cell_clusters)
    ANNOTATE(complete)
    annotated = settings.annotated == false ? mapped.map { meta, _query -> [meta, []] } : ANNOTATE.out.annotated
    versions = ANNOTATE.out.versions

    emit:
    annotated // [meta, path]; [] where they are not wanted
    versions
}

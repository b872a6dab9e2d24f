// Each query's own file, whole, with what was found of its cells.

include { ANNOTATE } from '../modules/annotate/main.nf'

workflow GIVE_BACK {
    take:
    pairs // channel of [meta, file of the query]
    mapped // channel of [meta, path]
    cell_clusters // channel of [meta, path]; [] for none
    ontology_map // path
    settings // map

    main:
    ANNOTATE(settings.annotated == false ? channel.empty() : pairs.join(mapped).join(cell_clusters), ontology_map)
    annotated = settings.annotated == false ? mapped.map { meta, _query -> [meta, []] } : ANNOTATE.out.annotated
    versions = ANNOTATE.out.versions

    emit:
    annotated // [meta, path]; [] where they are not wanted
    versions
}

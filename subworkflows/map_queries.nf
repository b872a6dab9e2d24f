// Every query onto every reference: aligned, mapped, by several tasks where it is large, and labelled.

include { cellRanges; firstCell } from '../functions/cells.nf'
include { pairOf; withPair; withReference } from '../functions/pairs.nf'
include { filesOf } from '../functions/paths.nf'

include { ADAPT } from '../modules/adapt/main.nf'
include { GATHER } from '../modules/gather/main.nf'
include { MAP_QUERY } from '../modules/map_query/main.nf'
include { PREPROCESS_QUERY } from '../modules/preprocess_query/main.nf'

workflow MAP_QUERIES {
    take:
    samples // channel of [meta, file]
    references // list of [meta, path]
    panels // channel of [name of a reference or '', path]
    models // channel of [name of a reference or '', paths]
    gene_map // path
    settings // map

    main:
    pairs = samples.flatMap { meta, query -> references.collect { own, _path -> [pairOf(meta, own.id), query] } }
    queried = withReference(pairs, panels)
    PREPROCESS_QUERY(queried.item, queried.own, gene_map, settings.subMap(['min_coverage']))
    aligned = PREPROCESS_QUERY.out.aligned
    alignment = PREPROCESS_QUERY.out.alignment
    versions = PREPROCESS_QUERY.out.versions
    // The model that maps a pair, by the pair's id: its reference's as it is, or adapted to the query.
    if (settings.adapt in ['auto', 'true']) {
        unadapted = withReference(aligned, models)
        ADAPT(unadapted.item, unadapted.own, settings.subMap(['adapt', 'seed']))
        own_models = ADAPT.out.model.map { meta, folder -> [meta.id, filesOf(folder)] }
        versions = versions.mix(ADAPT.out.versions)
    }
    else {
        ids = pairs.map { meta, _query -> [meta.reference ?: '', meta.id] }
        own_models = ids.combine(models, by: 0).map { _reference, id, files -> [id, files] }
    }
    // A large query is mapped by a task for each range of its cells; '' is all cells, for a task that needs no gathering.
    ranges = alignment.map { meta, found -> [meta, cellRanges(found, settings.cells_per_task ?: 0)] }
    ranged = withPair(aligned.join(ranges).transpose(by: 2), own_models)
    MAP_QUERY(
        ranged.item,
        ranged.own,
        settings.subMap(['novelty_alpha', 'alpha', 'min_confidence', 'novelty_shift', 'attention', 'device', 'precision', 'seed']),
    )
    done = MAP_QUERY.out.mapped.branch { _meta, cells, _query, _labels ->
        slice: cells
        whole: true
    }
    slices = done.slice
        .map { meta, _cells, slice, _same -> [meta, slice] }
        .combine(ranges, by: 0)
        .map { meta, slice, all -> [groupKey(meta, all.size()), slice] }
        .groupTuple(sort: { a, b -> firstCell(a) <=> firstCell(b) })
        .map { meta, paths -> [meta.groupTarget, paths] }
    sliced = withPair(aligned.join(slices), own_models)
    GATHER(sliced.item, sliced.own)
    mapped = done.whole.map { meta, _cells, query, _labels -> [meta, query] }.mix(GATHER.out.mapped)
    labels = done.whole.map { meta, _cells, _query, table -> [meta, table] }.mix(GATHER.out.labels)
    versions = versions.mix(MAP_QUERY.out.versions, GATHER.out.versions)

    emit:
    alignment // [meta, path], as all that follow
    mapped
    labels
    pairs // [meta, file of the query]
    own_models // [id of a pair, paths]
    versions
}

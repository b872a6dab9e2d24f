// Which genes each query's cells attend to, whether the model needs them, and in which gene sets they are.

include { sampleOf; withPair; withReference } from '../functions/pairs.nf'

include { ENRICH } from '../modules/enrich/main.nf'
include { EXTRACT_TAGS } from '../modules/extract_tags/main.nf'
include { FAITHFULNESS } from '../modules/faithfulness/main.nf'

workflow EXPLAIN {
    take:
    mapped // channel of [meta, path]
    cell_clusters // channel of [meta, path]; [] for none
    models // channel of [id of a pair, paths]
    alignment // channel of [meta, path]
    panels // channel of [name of a reference or '', path]
    gene_sets // list of paths
    settings // map

    main:
    attended = settings.attention == false ? channel.empty() : mapped
    extracted = withPair(besideContrasted(attended, settings.contrast_with).join(cell_clusters), models)
    EXTRACT_TAGS(
        extracted.item,
        extracted.own,
        [top: settings.top_tags, permutations: settings.permutations, contrast: settings.contrast, seed: settings.seed],
    )
    tags = EXTRACT_TAGS.out.tags
    slot_tags = EXTRACT_TAGS.out.slot_tags
    contrasts = EXTRACT_TAGS.out.contrasts.filter { _meta, table -> table.name.endsWith('.contrasts.tsv') }
    tested = withPair(settings.faithfulness == false ? channel.empty() : attended, models)
    FAITHFULNESS(tested.item, tested.own, [cells_per_label: settings.faithfulness_cells, seed: settings.seed])

    rankings = gene_sets || settings.enrichr ? tags.join(slot_tags).join(alignment) : channel.empty()
    profiled = settings.gsea == false
        ? rankings.map { found -> found + [[]] }
        : rankings.join(EXTRACT_TAGS.out.profiles)
    // Which queries have contrasts is known when all are extracted: only then is it waited for.
    contrasted = settings.contrast || settings.contrast_with
        ? profiled.join(contrasts, remainder: true).filter { found -> found[1] }.map { found -> found[0..-2] + [found[-1] ?: []] }
        : profiled.map { found -> found + [[]] }
    ranked = withReference(contrasted, panels)
    ENRICH(ranked.item, ranked.own, gene_sets, [top: settings.enrich_top, enrichr: settings.enrichr, seed: settings.seed])
    faithfulness = FAITHFULNESS.out.faithfulness
    enrichment = ENRICH.out.enrichment
    profiles = settings.attention == false ? mapped.map { meta, _query -> [meta, []] } : EXTRACT_TAGS.out.profiles
    versions = EXTRACT_TAGS.out.versions.mix(FAITHFULNESS.out.versions, ENRICH.out.versions)

    emit:
    tags // [meta, path], as all that follow
    slot_tags
    contrasts
    faithfulness
    enrichment
    profiles // [] where attention was not kept
    versions
}

/** Every mapped query beside the one that all are contrasted with: [meta, path, path]. Itself is beside [], and without one all are. */
def besideContrasted(mapped, name) {
    if (!name) {
        return mapped.map { meta, query -> [meta, query, []] }
    }
    def others = mapped.filter { meta, _query -> sampleOf(meta) == name }.map { meta, query -> [meta.reference ?: '', query] }
    return mapped
        .map { meta, query -> [meta.reference ?: '', meta, query] }
        .combine(others, by: 0)
        .map { _reference, meta, query, other -> [meta, query, sampleOf(meta) == name ? [] : other] }
}

// A page for each query on each reference, and one for all queries on a reference.

include { detailCount; gapsOf; linksOfPair; linksOfRun; pageFacts } from '../functions/pages.nf'
include { sampleOf; withReference } from '../functions/pairs.nf'

include { REPORT as REPORT_RUN } from '../modules/report/main.nf'
include { REPORT as REPORT_SAMPLE } from '../modules/report/main.nf'

workflow WRITE_REPORTS {
    take:
    ordered // list of all queries, [meta, file], in the order of their pages
    mapped // channel of [meta, path]
    details // channel of [meta, path]: what there is about a pair, a file each
    models // channel of [name of a reference or '', paths]
    inputs // channel of [name of a reference or '', path]
    agreed // channel of [meta of a query, path]: the summary of its consensus
    gene_sets // list of paths
    settings // map

    main:
    grouped = details
        .map { meta, path -> [groupKey(meta, detailCount(meta, gene_sets, settings)), path] }
        .groupTuple(sort: { a, b -> a.name <=> b.name })
        .map { meta, found -> [meta.groupTarget, found] }
    complete = mapped.join(grouped)
    about = models.join(inputs) // [name of a reference, files of its model, what was found in the inputs]

    own = withReference(complete, about.map { reference, model, found -> [reference, [model, found]] })
    facts = own.item.map { meta, query, found -> pageFacts(settings, linksOfPair(meta, query, found, settings)) }
    REPORT_SAMPLE(own.item, own.own.map { model, _found -> model }, own.own.map { _model, found -> found }, gene_sets, facts)

    places = ordered.flatMap { rows -> rows.withIndex().collect { row, place -> [row[0].id, place] } }
    agreements = agreed
        .map { meta, path -> [meta.id, path] }
        .join(places)
        .toSortedList { a, b -> a[2] <=> b[2] }
        .map { found -> [found.collect { _sample, path, _place -> path }] }
    run = complete
        .map { meta, query, found -> [sampleOf(meta), meta, query, found] }
        .combine(places, by: 0)
        .map { _sample, meta, query, found, place -> [meta.reference ?: '', [place, meta, query, found]] }
        .groupTuple(sort: { a, b -> a[0] <=> b[0] })
        .join(about)
        .combine(agreements)
        .multiMap { reference, pages, model, found, agreement ->
            pages: [[id: reference], pages.collect { page -> page[2] }, pages.collectMany { page -> page[3] } + agreement]
            model: model
            inputs: found
            facts: pageFacts(settings, linksOfRun(reference, pages.collect { page -> page[1] }))
        }
    REPORT_RUN(run.pages, run.model, run.inputs, gene_sets, run.facts)
    REPORT_SAMPLE.out.figures.mix(REPORT_RUN.out.figures).subscribe { figures, tables, count ->
        def gaps = gapsOf(figures, tables, count)
        if (gaps) {
            error(gaps)
        }
    }
    sample_reports = REPORT_SAMPLE.out.html
    run_reports = REPORT_RUN.out.html
    multiqc = REPORT_RUN.out.multiqc
    pages = complete.join(sample_reports).map { meta, query, found, page -> [meta, [query] + found + [page]] }
    versions = REPORT_SAMPLE.out.versions.mix(REPORT_RUN.out.versions)

    emit:
    sample_reports // [meta, path]
    run_reports // [meta, path]; meta.id: name of the reference or ''
    multiqc // paths
    pages // [meta, paths]: the mapped query, what there is about it, and its page
    versions
}

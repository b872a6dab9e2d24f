#!/usr/bin/env nextflow

// nf-cellmemory: labels the cells of any query with the labels of a reference. See README.md.

include { cellRanges; firstCell } from './functions/cells.nf'
include { geneSetPaths; helpText; isMissing; isTrue; readParameters } from './functions/parameters.nf'
include { runRecord; writeProvenance } from './functions/provenance.nf'
include { readSamplesheet } from './functions/samplesheet.nf'
include { isOnPath; siteProblems } from './functions/site.nf'

include { CHECK_INPUTS } from './modules/check_inputs/main.nf'
include { CHECKSUMS as CHECKSUMS_MODEL } from './modules/checksums/main.nf'
include { CHECKSUMS as CHECKSUMS_SAMPLE } from './modules/checksums/main.nf'
include { ENRICH } from './modules/enrich/main.nf'
include { EVALUATE } from './modules/evaluate/main.nf'
include { EXTRACT_TAGS } from './modules/extract_tags/main.nf'
include { FAITHFULNESS } from './modules/faithfulness/main.nf'
include { GATHER } from './modules/gather/main.nf'
include { MAP_QUERY } from './modules/map_query/main.nf'
include { PREPROCESS_QUERY } from './modules/preprocess_query/main.nf'
include { PREPROCESS_REFERENCE } from './modules/preprocess_reference/main.nf'
include { REPORT as REPORT_RUN } from './modules/report/main.nf'
include { REPORT as REPORT_SAMPLE } from './modules/report/main.nf'
include { TRAIN } from './modules/train/main.nf'

/**
 * The whole of it, for other pipelines to include (tests/including shows how). Nothing here or below reads params.
 *
 * Inputs that are not used are []. settings are named like the parameters; what is left out takes the scripts' defaults.
 */
workflow CELLMEMORY {
    take:
    queries // channel of [meta, file]; meta: id, and of the samplesheet's columns what is known; row orders the run's report
    reference // path: a model is trained on it
    model // path of a folder: this trained model is used instead
    gene_map // path
    gene_sets // list of paths: GMT files to test the genes for
    settings // map

    main:
    // Channels may come in any order; the tasks that see all queries must not, or they would never be resumed.
    ordered = queries.toSortedList { a, b -> (a[0].row ?: 0) <=> (b[0].row ?: 0) ?: a[0].id <=> b[0].id }
    // A query's place in the sheet is no business of its own tasks: another row above it changes nothing for them.
    samples = queries.map { meta, query -> [meta.findAll { key, _value -> key != 'row' }, query] }

    CHECK_INPUTS(
        ordered.map { rows -> rows.collect { meta, query -> [sample: meta.id, h5ad: query.toUriString()] + meta } },
        ordered.map { rows -> rows.collect { _meta, query -> query } },
        reference,
        bundle(model),
        gene_map,
        gene_sets,
        settings.subMap([
            'label_key', 'label_levels', 'batch_key', 'counts_layer', 'gene_column', 'n_genes', 'min_coverage', 'contrast',
        ]),
    )
    versions = CHECK_INPUTS.out.versions

    if (model) {
        // Waits for the check, as training does.
        trained = CHECK_INPUTS.out.inputs.map { _inputs -> model }
        panel = trained.map { folder -> folder.resolve('panel.tsv') }
    }
    else {
        PREPROCESS_REFERENCE(
            reference,
            CHECK_INPUTS.out.query_genes,
            settings.subMap(['label_key', 'batch_key', 'counts_layer', 'gene_column', 'n_genes']),
        )
        TRAIN(
            PREPROCESS_REFERENCE.out.reference,
            PREPROCESS_REFERENCE.out.panel,
            settings.subMap([
                'label_key', 'label_levels', 'batch_key', 'mode', 'binning', 'max_epochs', 'patience', 'batch_size', 'sampling',
                'learning_rate', 'variant', 'd_model', 'n_layers', 'device', 'devices', 'precision', 'seed',
            ]) + [checkpoint: checkpointFolder(settings.checkpoint_dir)],
        )
        trained = TRAIN.out.model
        panel = PREPROCESS_REFERENCE.out.panel
        versions = versions.mix(PREPROCESS_REFERENCE.out.versions, TRAIN.out.versions)
    }
    model_files = trained.map { folder -> bundle(folder) }

    PREPROCESS_QUERY(samples, panel, gene_map, settings.subMap(['min_coverage']))
    // A large query is mapped by a task for each range of its cells; '' is all cells, for a task that needs no gathering.
    ranges = PREPROCESS_QUERY.out.alignment.map { meta, alignment -> [meta, cellRanges(alignment, settings.cells_per_task ?: 0)] }
    MAP_QUERY(
        PREPROCESS_QUERY.out.aligned.join(ranges).transpose(by: 2),
        model_files,
        settings.subMap(['novelty_alpha', 'alpha', 'min_confidence', 'attention', 'device', 'precision', 'seed']),
    )
    slices = MAP_QUERY.out.slice
        .combine(ranges, by: 0)
        .map { meta, slice, all -> [groupKey(meta, all.size()), slice] }
        .groupTuple(sort: { a, b -> firstCell(a) <=> firstCell(b) })
        .map { meta, paths -> [meta.groupTarget, paths] }
    GATHER(PREPROCESS_QUERY.out.aligned.join(slices), model_files)
    mapped = MAP_QUERY.out.mapped.mix(GATHER.out.mapped)
    labels = MAP_QUERY.out.labels.mix(GATHER.out.labels)
    versions = versions.mix(PREPROCESS_QUERY.out.versions, MAP_QUERY.out.versions, GATHER.out.versions)

    EVALUATE(mapped.filter { meta, _query -> meta.truth_key }, model_files)
    versions = versions.mix(EVALUATE.out.versions)

    tags = channel.empty()
    slot_tags = channel.empty()
    contrasts = channel.empty()
    faithfulness = channel.empty()
    enrichment = channel.empty()
    if (settings.attention != false) {
        // Every query beside the one that all are contrasted with, which has itself nothing to be contrasted with.
        compared = settings.contrast_with
            ? mapped
                .combine(mapped.filter { meta, _query -> meta.id == settings.contrast_with }.map { _meta, query -> query })
                .map { meta, query, other -> [meta, query, meta.id == settings.contrast_with ? [] : other] }
            : mapped.map { meta, query -> [meta, query, []] }
        EXTRACT_TAGS(
            compared,
            model_files,
            [top: settings.top_tags, permutations: settings.permutations, contrast: settings.contrast, seed: settings.seed],
        )
        tags = EXTRACT_TAGS.out.tags
        slot_tags = EXTRACT_TAGS.out.slot_tags
        contrasts = EXTRACT_TAGS.out.contrasts
        versions = versions.mix(EXTRACT_TAGS.out.versions)
        if (settings.faithfulness != false) {
            FAITHFULNESS(mapped, model_files, [cells_per_label: settings.faithfulness_cells, seed: settings.seed])
            faithfulness = FAITHFULNESS.out.faithfulness
            versions = versions.mix(FAITHFULNESS.out.versions)
        }
        if (gene_sets || settings.enrichr) {
            rankings = tags.join(slot_tags).join(PREPROCESS_QUERY.out.alignment)
            rankings = settings.gsea == false
                ? rankings.map { found -> found + [[]] }
                : rankings.join(EXTRACT_TAGS.out.profiles)
            // Which queries have contrasts is known when all are extracted: only then is it waited for.
            rankings = settings.contrast || settings.contrast_with
                ? rankings.join(contrasts, remainder: true).map { found -> found[0..-2] + [found[-1] ?: []] }
                : rankings.map { found -> found + [[]] }
            ENRICH(rankings, panel, gene_sets, [top: settings.enrich_top, enrichr: settings.enrichr, seed: settings.seed])
            enrichment = ENRICH.out.enrichment
            versions = versions.mix(ENRICH.out.versions)
        }
    }

    // What there is about each query, by its id: how many files that will be is known, so its page waits for no other's.
    details = PREPROCESS_QUERY.out.alignment
        .mix(tags, slot_tags, contrasts, faithfulness, enrichment, EVALUATE.out.metrics)
        .map { meta, path -> [groupKey(meta.id, detailCount(meta, gene_sets, settings)), path] }
        .groupTuple(sort: { a, b -> a.name <=> b.name })
        .map { id, paths -> [id.toString(), paths] }
    pages = mapped.map { meta, query -> [meta.id, query] }.join(details)
    about = provenance(settings)

    REPORT_SAMPLE(
        pages.map { id, query, paths -> ["${id}.report", query, paths] },
        model_files,
        CHECK_INPUTS.out.inputs,
        about,
    )
    places = ordered.flatMap { rows -> rows.withIndex().collect { row, place -> [row[0].id, place] } }
    REPORT_RUN(
        pages.join(places)
            .toSortedList { a, b -> a[3] <=> b[3] }
            .map { found -> ['report', found.collect { page -> page[1] }, found.collectMany { page -> page[2] }] },
        model_files,
        CHECK_INPUTS.out.inputs,
        about,
    )
    versions = versions.mix(REPORT_SAMPLE.out.versions, REPORT_RUN.out.versions)

    results = pages
        .join(labels.map { meta, path -> [meta.id, path] })
        .join(REPORT_SAMPLE.out.html.map { page -> [page.name - ~/\.report\.html$/, page] })
        .map { id, query, paths, table, page -> [id, [query, table, page] + paths] }
    if (settings.attention != false) {
        results = results
            .join(EXTRACT_TAGS.out.profiles.map { meta, path -> [meta.id, path] })
            .map { id, files, profile -> [id, files + [profile]] }
    }
    CHECKSUMS_SAMPLE(
        samples.map { meta, query -> [meta.id, [query] + listed(gene_map) + gene_sets] }.join(results),
        model_files,
    )
    CHECKSUMS_MODEL(
        model ? channel.empty() : model_files.map { files -> ['model', [reference] + listed(gene_map), files] },
        model_files,
    )
    versions = versions.mix(CHECKSUMS_SAMPLE.out.versions, CHECKSUMS_MODEL.out.versions)

    emit:
    inputs = CHECK_INPUTS.out.inputs // path: what was found in the inputs
    trained // path: the folder of the model
    alignment = PREPROCESS_QUERY.out.alignment // [meta, path], as all that follow
    mapped
    labels
    tags
    slot_tags
    contrasts
    faithfulness
    enrichment
    metrics = EVALUATE.out.metrics
    sample_reports = REPORT_SAMPLE.out.html // path, one a query
    report = REPORT_RUN.out.html // path
    multiqc = REPORT_RUN.out.multiqc // paths
    checksums = CHECKSUMS_SAMPLE.out.checksums // [id, path of a JSON file]: of a query's files and of what they were made from
    model_checksums = CHECKSUMS_MODEL.out.checksums // the same of the model, if it was trained
    versions // path of a versions.yml, one a task
}

workflow {
    if (isTrue(params.help)) {
        println(helpText(workflow.manifest))
    }
    else if (isTrue(params.version)) {
        println("${workflow.manifest.name} ${workflow.manifest.version}")
    }
    else {
        def (settings, problems) = readParameters(params)
        def (queries, sheet_problems) = settings.input && !isMissing(settings.input) ? readSamplesheet(file(settings.input)) : [[], []]
        if (settings.contrast_with && queries && !queries.any { meta, _query -> meta.id == settings.contrast_with }) {
            problems += ["--contrast_with ${settings.contrast_with}: the samplesheet has no such sample; it has ${queries.collect { meta, _query -> meta.id }.join(', ')}."]
        }
        def config = nextflow.Global.session.config
        def site_problems = siteProblems(config, settings, workflow.workDir.toUriString(), System.getenv()) { command -> isOnPath(command) }
        if (problems + sheet_problems + site_problems) {
            error((problems + sheet_problems + site_problems).join('\n'))
        }

        CELLMEMORY(
            channel.fromList(queries),
            settings.reference ? file(settings.reference) : [],
            settings.model ? file(settings.model) : [],
            settings.gene_map ? file(settings.gene_map) : [],
            geneSetPaths(settings.gmt).collect { path -> file(path) },
            settings,
        )
        CELLMEMORY.out.versions
            .map { path -> path.text }
            .unique()
            .collectFile(name: 'versions.yml', storeDir: "${settings.outdir}/pipeline_info", sort: true)

        // Groovy's lists are not made for two threads; the end of the run comes after the last of these.
        def records = Collections.synchronizedList([])
        def common = ([settings.reference, settings.gene_map] + geneSetPaths(settings.gmt)).findAll().collect { path -> file(path) }
        CELLMEMORY.out.checksums.subscribe { id, path ->
            def query = queries.find { meta, _query -> meta.id == id }[1]
            records.add([name: id, folder: "samples/${id}", beside: "samples/${id}", checksums: path, sources: common + [query]])
        }
        CELLMEMORY.out.model_checksums.subscribe { name, path ->
            records.add([name: name, folder: name, beside: '', checksums: path, sources: common])
        }

        workflow.onComplete = {
            def folder = file(settings.outdir)
            if (workflow.success) {
                writeProvenance(folder, runRecord(workflow, settings), records.sort { record -> record.folder })
            }
            log.info(summary(workflow, queries.size(), folder))
        }
    }
}

/** The files of a model's folder: the hash of a task sees a change in each of them, but not in a folder. */
def bundle(folder) {
    return folder ? files("${folder}/*").sort { path -> path.name } : []
}

/**
 * Where trainings leave their checkpoints: a retried task has a new folder of its own, so this one must outlive the task.
 * None where the work folder is an object store, which a training cannot write to as it goes.
 */
def checkpointFolder(given) {
    if (!given && workflow.workDir.scheme != 'file') {
        return null
    }
    def folder = given ? file(given).toAbsolutePath() : workflow.workDir.resolve('checkpoints')
    // Here, since a container's engine would make it for root alone.
    folder.mkdirs()
    return folder.toString()
}

/** A path as a list of it; [], which stands for none, as it is. */
def listed(path) {
    return path ? [path] : []
}

/** How many files there will be about a query, beside the mapped one. */
def detailCount(meta, gene_sets, settings) {
    def contrasted = settings.contrast || (settings.contrast_with && settings.contrast_with != meta.id)
    def attended = settings.attention == false
        ? 0
        : 2 + [gene_sets || settings.enrichr, contrasted, settings.faithfulness != false].count { given -> given }
    return 1 + attended + (meta.truth_key ? 1 : 0)
}

/** What a page says of where it comes from. No dates or run names: the same run again must be resumed, not repeated. */
def provenance(settings) {
    def given = settings.findAll { name, value -> value != null && !(name in ['help', 'version', 'outdir', 'publish_dir_mode', 'queue', 'checkpoint_dir']) }
    def about = [
        pipeline: workflow.manifest.name,
        version: workflow.manifest.version,
        revision: workflow.commitId,
        nextflow: workflow.nextflow.version.toString(),
        parameters: given,
    ]
    return groovy.json.JsonOutput.toJson(about.findAll { _name, value -> value != null })
}

/** What is said at the end. */
def summary(run, count, folder) {
    if (!run.success) {
        return "The run stopped before its end. What is finished is kept: mend the cause, and run the same command with -resume."
    }
    def tasks = "${run.stats.succeedCount} tasks run, ${run.stats.cachedCount} taken from earlier runs, ${run.stats.failedCount} failed and repeated"
    return """\
        |${count} ${count == 1 ? 'query' : 'queries'} mapped in ${run.duration} (${tasks}).
        |Report:  ${folder.resolve('report.html').toUriString()}
        |Results: ${folder.toUriString()}""".stripMargin()
}

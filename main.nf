#!/usr/bin/env nextflow

// nf-cellmemory: labels the cells of any query with the labels of a reference. See README.md.

include { cellRanges; firstCell } from './functions/cells.nf'
include { folderOf; named; pairOf; sampleOf; withPair; withReference } from './functions/pairs.nf'
include { geneSetPaths; helpText; isTrue; readParameters; shortened } from './functions/parameters.nf'
include { filesOf; folderProblems; isMissing; pathAt } from './functions/paths.nf'
include { crateFile; runRecord; writeProvenance } from './functions/provenance.nf'
include { labelMapProblems; readReferences } from './functions/references.nf'
include { readSamplesheet } from './functions/samplesheet.nf'
include { isOnPath; siteProblems } from './functions/site.nf'

include { ADAPT } from './modules/adapt/main.nf'
include { CHECK_INPUTS } from './modules/check_inputs/main.nf'
include { CHECKSUMS as CHECKSUMS_CONSENSUS } from './modules/checksums/main.nf'
include { CHECKSUMS as CHECKSUMS_MODEL } from './modules/checksums/main.nf'
include { CHECKSUMS as CHECKSUMS_SAMPLE } from './modules/checksums/main.nf'
include { CONSENSUS } from './modules/consensus/main.nf'
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
    references // list of [meta, path]: an h5ad that a model is trained on, or with meta.trained the folder of a trained model.
    // meta: label_key, batch_key; and id where there are several references, whose results are then named <sample>.<reference>
    gene_map // path
    gene_sets // list of paths: GMT files to test the genes for
    label_map // path: labels that several references write differently
    settings // map

    main:
    // Channels may come in any order; the tasks that see all queries must not, or they would never be resumed.
    ordered = queries.toSortedList { a, b -> (a[0].row ?: 0) <=> (b[0].row ?: 0) ?: a[0].id <=> b[0].id }
    // A query's place in the sheet is no business of its own tasks: another row above it changes nothing for them.
    samples = queries.map { meta, query -> [meta.findAll { key, _value -> key != 'row' }, query] }

    several = references.size() > 1
    paths = references.collectEntries { meta, path -> [meta.id ?: '', path] }
    CHECK_INPUTS(
        ordered.map { rows -> rows.collect { meta, query -> [sample: meta.id, h5ad: query.toUriString()] + meta } },
        ordered.map { rows -> rows.collect { _meta, query -> query } },
        references.collect { meta, path -> meta + [path: path.toUriString(), files: meta.trained ? stateOf(path) : null] },
        // A folder that was published as a link is mounted in containers where it really is.
        references.collect { meta, path -> meta.trained ? path.toRealPath() : path },
        gene_map,
        gene_sets,
        settings.subMap(['input', 'label_levels', 'counts_layer', 'gene_column', 'n_genes', 'min_coverage', 'contrast']),
    )
    versions = CHECK_INPUTS.out.versions
    inputs = CHECK_INPUTS.out.inputs.flatten().map { found -> [found.name - ~/\.?inputs\.json$/, found] }
    // What there is for each reference once all have passed. One reference is a value: its tasks are then named without a number.
    query_genes = several
        ? CHECK_INPUTS.out.query_genes.flatMap { found -> references.collect { meta, _path -> [meta, byContent(ofReference(meta, found))] } }
        : CHECK_INPUTS.out.query_genes.map { found -> [references[0][0], byContent(found)] }

    trained = channel.empty()
    panels = channel.empty()
    if (references.any { meta, _path -> meta.trained }) {
        given = query_genes.filter { meta, _genes -> meta.trained }.map { meta, _genes -> [meta, paths[meta.id ?: '']] }
        trained = trained.mix(given)
        panels = panels.mix(given.map { meta, folder -> [meta.id ?: '', folder.resolve('panel.tsv')] })
    }
    if (references.any { meta, _path -> !meta.trained }) {
        PREPROCESS_REFERENCE(
            query_genes.filter { meta, _genes -> !meta.trained }.map { meta, genes -> [meta, paths[meta.id ?: ''], genes] },
            settings.subMap(['counts_layer', 'gene_column', 'n_genes']),
        )
        TRAIN(
            PREPROCESS_REFERENCE.out.prepared,
            settings.subMap([
                'label_levels', 'mode', 'binning', 'max_epochs', 'patience', 'batch_size', 'sampling', 'learning_rate', 'variant',
                'd_model', 'n_layers', 'device', 'devices', 'precision', 'seed',
            ]) + [checkpoint: checkpointFolder(settings.checkpoint_dir)],
        )
        trained = trained.mix(TRAIN.out.model)
        panels = panels.mix(PREPROCESS_REFERENCE.out.panel.map { meta, panel -> [meta.id ?: '', panel] })
        versions = versions.mix(PREPROCESS_REFERENCE.out.versions, TRAIN.out.versions)
    }
    models = trained.map { meta, folder -> [meta.id ?: '', bundle(folder)] }

    pairs = samples
        .combine(channel.fromList(references.collect { meta, _path -> meta.id ?: '' }))
        .map { meta, query, reference -> [pairOf(meta, reference), query] }
    queried = withReference(pairs, panels)
    PREPROCESS_QUERY(queried.item, queried.own, gene_map, settings.subMap(['min_coverage']))
    // A large query is mapped by a task for each range of its cells; '' is all cells, for a task that needs no gathering.
    ranges = PREPROCESS_QUERY.out.alignment.map { meta, alignment -> [meta, cellRanges(alignment, settings.cells_per_task ?: 0)] }
    // The model that maps a pair, by the pair's id: its reference's as it is, or adapted to the query.
    if (settings.adapt) {
        unadapted = withReference(PREPROCESS_QUERY.out.aligned, models)
        ADAPT(unadapted.item, unadapted.own, settings.subMap(['seed']))
        pair_models = ADAPT.out.model.map { meta, folder -> [meta.id, bundle(folder)] }
        versions = versions.mix(ADAPT.out.versions)
    }
    else {
        pair_models = pairs
            .map { meta, _query -> [meta.reference ?: '', meta.id] }
            .combine(models, by: 0)
            .map { _reference, id, files -> [id, files] }
    }
    ranged = withPair(PREPROCESS_QUERY.out.aligned.join(ranges).transpose(by: 2), pair_models)
    MAP_QUERY(
        ranged.item,
        ranged.own,
        settings.subMap(['novelty_alpha', 'alpha', 'min_confidence', 'attention', 'device', 'precision', 'seed']),
    )
    whole = MAP_QUERY.out.mapped.filter { _meta, cells, _query, _labels -> !cells }
    slices = MAP_QUERY.out.mapped
        .filter { _meta, cells, _slice, _same -> cells }
        .map { meta, _cells, slice, _same -> [meta, slice] }
        .combine(ranges, by: 0)
        .map { meta, slice, all -> [groupKey(meta, all.size()), slice] }
        .groupTuple(sort: { a, b -> firstCell(a) <=> firstCell(b) })
        .map { meta, found -> [meta.groupTarget, found] }
    sliced = withPair(PREPROCESS_QUERY.out.aligned.join(slices), pair_models)
    GATHER(sliced.item, sliced.own)
    mapped = whole.map { meta, _cells, query, _labels -> [meta, query] }.mix(GATHER.out.mapped)
    labels = whole.map { meta, _cells, _query, table -> [meta, table] }.mix(GATHER.out.labels)
    versions = versions.mix(PREPROCESS_QUERY.out.versions, MAP_QUERY.out.versions, GATHER.out.versions)

    known = withPair(mapped.filter { meta, _query -> meta.truth_key }, pair_models)
    EVALUATE(known.item, known.own)
    versions = versions.mix(EVALUATE.out.versions)

    consensus = channel.empty()
    consensus_summaries = channel.empty()
    consensus_multiqc = channel.empty()
    consensus_checksums = channel.empty()
    if (several) {
        names = references.collect { meta, _path -> meta.id }
        votes = labels
            .map { meta, table -> [groupKey(sampleOf(meta), names.size()), [meta.reference, table]] }
            .groupTuple()
            .map { sample, found -> [[id: sample.toString()], found.sort { vote -> names.indexOf(vote[0]) }] }
        CONSENSUS(votes.map { meta, found -> [meta, names, found.collect { _name, table -> table }] }, label_map)
        consensus = CONSENSUS.out.consensus
        consensus_summaries = CONSENSUS.out.summary
        consensus_multiqc = CONSENSUS.out.multiqc
        voted = votes.join(CONSENSUS.out.consensus).join(CONSENSUS.out.summary)
        CHECKSUMS_CONSENSUS(
            voted.map { meta, found, table, counts ->
                ["${meta.id}.consensus", found.collect { _name, own -> own } + listed(label_map), [table, counts]]
            },
            [],
        )
        consensus_checksums = CHECKSUMS_CONSENSUS.out.checksums
        versions = versions.mix(CONSENSUS.out.versions)
    }

    tags = channel.empty()
    slot_tags = channel.empty()
    contrasts = channel.empty()
    faithfulness = channel.empty()
    enrichment = channel.empty()
    if (settings.attention != false) {
        // Every query beside the one that all are contrasted with, which has itself nothing to be contrasted with.
        others = mapped
            .filter { meta, _query -> sampleOf(meta) == settings.contrast_with }
            .map { meta, query -> [meta.reference ?: '', query] }
        compared = settings.contrast_with
            ? mapped
                .map { meta, query -> [meta.reference ?: '', meta, query] }
                .combine(others, by: 0)
                .map { _reference, meta, query, other -> [meta, query, sampleOf(meta) == settings.contrast_with ? [] : other] }
            : mapped.map { meta, query -> [meta, query, []] }
        attended = withPair(compared, pair_models)
        EXTRACT_TAGS(
            attended.item,
            attended.own,
            [top: settings.top_tags, permutations: settings.permutations, contrast: settings.contrast, seed: settings.seed],
        )
        tags = EXTRACT_TAGS.out.tags
        slot_tags = EXTRACT_TAGS.out.slot_tags
        contrasts = EXTRACT_TAGS.out.contrasts.filter { _meta, table -> table.name.endsWith('.contrasts.tsv') }
        versions = versions.mix(EXTRACT_TAGS.out.versions)
        if (settings.faithfulness != false) {
            tested = withPair(mapped, pair_models)
            FAITHFULNESS(tested.item, tested.own, [cells_per_label: settings.faithfulness_cells, seed: settings.seed])
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
            ranked = withReference(rankings, panels)
            ENRICH(ranked.item, ranked.own, gene_sets, [top: settings.enrich_top, enrichr: settings.enrichr, seed: settings.seed])
            enrichment = ENRICH.out.enrichment
            versions = versions.mix(ENRICH.out.versions)
        }
    }

    // What there is about each pair, by its id: how many files that will be is known, so its page waits for no other's.
    details = PREPROCESS_QUERY.out.alignment
        .mix(tags, slot_tags, contrasts, faithfulness, enrichment, EVALUATE.out.metrics)
        .map { meta, path -> [groupKey(meta.id, detailCount(meta, gene_sets, settings)), path] }
        .groupTuple(sort: { a, b -> a.name <=> b.name })
        .map { id, found -> [id.toString(), found] }
    pages = mapped.map { meta, query -> [meta.id, meta, query] }.join(details).map { _id, meta, query, found -> [meta, query, found] }
    about = provenance(settings)

    sample_pages = withReference(pages, models.join(inputs).map { reference, model, found -> [reference, [model, found]] })
    REPORT_SAMPLE(
        sample_pages.item.map { meta, query, found -> ["${meta.id}.report", query, found] },
        sample_pages.own.map { model, _found -> model },
        sample_pages.own.map { _model, found -> found },
        about,
    )
    places = ordered.flatMap { rows -> rows.withIndex().collect { row, place -> [row[0].id, place] } }
    run_pages = pages
        .map { meta, query, found -> [sampleOf(meta), meta.reference ?: '', query, found] }
        .combine(places, by: 0)
        .map { _sample, reference, query, found, place -> [reference, [place, query, found]] }
        .groupTuple(sort: { a, b -> a[0] <=> b[0] })
        .map { reference, found -> [reference, found.collect { page -> page[1] }, found.collectMany { page -> page[2] }] }
        .join(models)
        .join(inputs)
    agreements = consensus_summaries
        .map { meta, path -> [meta.id, path] }
        .join(places)
        .toSortedList { a, b -> a[2] <=> b[2] }
        .map { found -> [found.collect { _sample, path, _place -> path }] }
    all_pages = several ? run_pages.combine(agreements) : run_pages.map { page -> page + [[]] }
    REPORT_RUN(
        all_pages.map { reference, mapped_files, found, _model, _inputs, agreed ->
            [named(reference, 'report'), mapped_files, found + agreed]
        },
        all_pages.map { _reference, _mapped, _found, model, _inputs, _agreed -> model },
        all_pages.map { _reference, _mapped, _found, _model, found_inputs, _agreed -> found_inputs },
        about,
    )
    versions = versions.mix(REPORT_SAMPLE.out.versions, REPORT_RUN.out.versions)
    REPORT_SAMPLE.out.figures.mix(REPORT_RUN.out.figures).subscribe { figures, tables, n_files ->
        def missing = n_files.toInteger() - filesOf(figures).size() - [tables].flatten().size()
        if (missing) {
            error("${figures.parent.toUriString()}: ${missing} of ${n_files} figures and tables are gone. Delete this folder, and run the same command with -resume.")
        }
    }

    results = pages
        .join(labels)
        .map { meta, query, found, table -> [meta.id, meta, [query, table] + found] }
        .join(REPORT_SAMPLE.out.html.map { page -> [page.name - ~/\.report\.html$/, page] })
        .map { _id, meta, files, page -> [meta, files + [page]] }
    if (settings.attention != false) {
        results = results.join(EXTRACT_TAGS.out.profiles).map { meta, files, profile -> [meta, files + [profile]] }
    }
    made = withPair(pairs.join(results), pair_models)
    CHECKSUMS_SAMPLE(
        made.item.map { meta, query, files -> [meta.id, [query] + listed(gene_map) + gene_sets, files] },
        made.own,
    )
    new_models = trained.filter { meta, _folder -> !meta.trained }.map { meta, folder -> [meta, bundle(folder)] }
    CHECKSUMS_MODEL(
        new_models.map { meta, files ->
            [named(meta.id, 'model'), [paths[meta.id ?: '']] + listed(gene_map), files]
        },
        new_models.map { _meta, files -> files },
    )
    versions = versions.mix(CHECKSUMS_SAMPLE.out.versions, CHECKSUMS_MODEL.out.versions)

    emit:
    inputs = CHECK_INPUTS.out.inputs // path, or paths of several references: what was found in the inputs
    trained // [meta of the reference, path of the model's folder]
    alignment = PREPROCESS_QUERY.out.alignment // [meta, path], as all that follow; of several references' pairs, with meta.reference
    mapped
    labels
    tags
    slot_tags
    contrasts
    faithfulness
    enrichment
    metrics = EVALUATE.out.metrics
    consensus // of several references: [meta, path of a CSV file] of a query, and the same of its summary as JSON
    consensus_summaries
    sample_reports = REPORT_SAMPLE.out.html // path, one a pair
    report = REPORT_RUN.out.html // path, one a reference
    multiqc = REPORT_RUN.out.multiqc.mix(consensus_multiqc) // paths
    checksums = CHECKSUMS_SAMPLE.out.checksums // [id, path of a JSON file]: of a pair's files and of what they were made from
    model_checksums = CHECKSUMS_MODEL.out.checksums // the same of each model that was trained: [[<reference>.]model, path]
    consensus_checksums // the same of each query's consensus: [<sample>.consensus, path]
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
        def (references, reference_problems) = allReferences(settings)
        def (queries, sheet_problems) = settings.input && !isMissing(settings.input) ? readSamplesheet(pathAt(settings.input)) : [[], []]
        if (settings.contrast_with && queries && !queries.any { meta, _query -> meta.id == settings.contrast_with }) {
            problems += ["--contrast_with ${settings.contrast_with}: the samplesheet has no such sample; it has ${queries.collect { meta, _query -> meta.id }.join(', ')}."]
        }
        def config = nextflow.Global.session.config
        def site_problems = siteProblems(config, settings, workflow.workDir.toUriString(), System.getenv()) { command -> isOnPath(command) }
        // The code's folder stands in double quotes in each task, on the PATH.
        def folder_problems = folderProblems('The pipeline\'s folder', projectDir, '["$`\\\\:\\p{Cntrl}]')
        folder_problems += folderProblems('-work-dir', workflow.workDir, '[$*?\\[\\]{}\\p{Cntrl}]')
        problems += sheet_problems + reference_problems + site_problems + folder_problems
        if (problems) {
            error(shortened(problems).join('\n'))
        }

        CELLMEMORY(
            channel.fromList(queries),
            references,
            settings.gene_map ? pathAt(settings.gene_map) : [],
            geneSetPaths(settings.gmt).collect { path -> pathAt(path) },
            settings.label_map ? pathAt(settings.label_map) : [],
            settings,
        )
        // A stub's file is empty.
        CELLMEMORY.out.inputs.flatten().filter { path -> path.size() > 0 }.subscribe { path ->
            new groovy.json.JsonSlurper().parse(path).reference?.warnings?.each { sentence -> log.warn(sentence) }
        }
        CELLMEMORY.out.consensus_summaries.subscribe { _meta, path ->
            new groovy.json.JsonSlurper().parse(path).warnings.each { sentence -> log.warn(sentence) }
        }
        CELLMEMORY.out.versions
            .map { path -> path.text }
            .unique()
            .collectFile(name: 'versions.yml', storeDir: "${settings.outdir}/pipeline_info", sort: true)

        // Groovy's lists are not made for two threads; the end of the run comes after the last of these.
        def records = Collections.synchronizedList([])
        def common = ([settings.gene_map] + geneSetPaths(settings.gmt)).findAll().collect { path -> pathAt(path) }
        def pairs = [queries, references].combinations().collectEntries { query, reference ->
            def meta = pairOf(query[0], reference[0].id)
            [meta.id, [folder: folderOf(meta), query: query[1]]]
        }
        CELLMEMORY.out.checksums.subscribe { id, path ->
            def folder = pairs[id].folder
            records.add([name: id, folder: folder, beside: folder, checksums: path, sources: common + [pairs[id].query]])
        }
        CELLMEMORY.out.model_checksums.subscribe { name, path ->
            def (meta, reference) = references.find { found, _path -> named(found.id, 'model') == name }
            def beside = runFolder(meta)
            def folder = [beside, 'model'].findAll().join('/')
            records.add([name: 'model', folder: folder, beside: beside, checksums: path, sources: common + [reference]])
        }

        CELLMEMORY.out.consensus_checksums.subscribe { name, path ->
            def sample = name - ~/\.consensus$/
            def folder = folderOf([id: sample])
            def own = references.collect { meta, _path -> pairOf([id: sample], meta.id) }
            def tables = own.collect { meta -> pathAt(settings.outdir).resolve("${folderOf(meta)}/${meta.id}.labels.csv") }
            def mapped = [settings.label_map].findAll().collect { given -> pathAt(given) }
            records.add([name: name, folder: folder, beside: folder, checksums: path, sources: tables + mapped])
        }

        def expected = resultNames(pairs.keySet(), queries, references)
        CELLMEMORY.out.checksums
            .mix(CELLMEMORY.out.model_checksums, CELLMEMORY.out.consensus_checksums)
            .map { name, _path -> name }
            .mix(CELLMEMORY.out.report.map { page -> page.name })
            .toList()
            .subscribe { found ->
                // A channel that lost a pair says nothing. After a failure of a task there is a sentence about that.
                def missing = expected - found.collect { name -> name.toString() }
                if (missing && nextflow.Global.session.success) {
                    error("There are no results of ${missing.join(', ')}, though no task failed. Run the same command with -resume; if they are missing again, report it as a bug.")
                }
            }

        workflow.onComplete = {
            def folder = pathAt(settings.outdir)
            if (workflow.success) {
                writeProvenance(folder, runRecord(workflow, settings), records.sort { record -> record.folder }, otherParts(references))
            }
            log.info(summary(workflow, queries.size(), folder, references))
        }
    }
}

/** What a complete run leaves, by the names of the records of its files, and of its pages: those of pairs, models, and queries. */
def resultNames(pairs, queries, references) {
    def models = references.findAll { meta, _path -> !meta.trained }.collect { meta, _path -> named(meta.id, 'model') }
    def pages = references.collect { meta, _path -> named(meta.id, 'report.html') }
    def agreed = references.size() > 1 ? queries.collect { meta, _query -> "${meta.id}.consensus".toString() } : []
    return pairs + models + pages + agreed
}

/** The references of the parameters as [meta, path], and what is wrong with them, a sentence each. */
def allReferences(settings) {
    if (settings.references) {
        def (references, problems) = isMissing(settings.references) ? [[], []] : readReferences(pathAt(settings.references), settings)
        def map_problems = references && settings.label_map && !isMissing(settings.label_map)
            ? labelMapProblems(pathAt(settings.label_map), references.collect { meta, _path -> meta.id })
            : []
        return [references, problems + map_problems]
    }
    if (settings.model) {
        return [[[[trained: true], pathAt(settings.model)]], []]
    }
    def keys = settings.subMap(['label_key', 'batch_key']).findAll { _name, value -> value }
    return [settings.reference ? [[keys, pathAt(settings.reference)]] : [], []]
}

/** The folder of what a run leaves about a reference, below that of the run; '' where it has no name. */
def runFolder(meta) {
    return meta.id ? "references/${meta.id}" : ''
}

/** What else is in the folder of the results, beside that which has records of its own. */
def otherParts(references) {
    def reports = references.collectMany { meta, _path ->
        def folder = meta.id ? "${runFolder(meta)}/" : ''
        def about = meta.id ? " on ${meta.id}" : ''
        [
            ['@id': "${folder}report.html", '@type': 'File', name: "Report of the run${about}", encodingFormat: 'text/html'],
            ['@id': "${folder}figures/", '@type': 'Dataset', name: "Figures of the report${about}"],
        ]
    }
    def checks = references.findAll { meta, _path -> meta.id }.collect { meta, _path -> "${runFolder(meta)}/inputs.json" }
    return reports + checks.collect { path -> crateFile([path: path.toString()]) }
}

/** The files of a model's folder: the hash of a task sees a change in each of them, but not in a folder. */
def bundle(folder) {
    return folder ? filesOf(folder) : []
}

/** What changes with the files of a model's folder, where the folder itself is what a task takes. */
def stateOf(folder) {
    return bundle(folder).collect { path -> [path.name, path.size(), path.lastModified()] }
}

/**
 * The same file under a name that its content alone decides: a check that is repeated, for another reference among many, say,
 * and finds the same repeats no training.
 */
def byContent(path) {
    def stored = workflow.workDir.resolve("by_content/${path.bytes.md5()}/${path.name}")
    if (!stored.exists()) {
        stored.parent.mkdirs()
        def partial = stored.resolveSibling("${path.name}.${UUID.randomUUID()}")
        path.copyTo(partial)
        partial.renameTo(stored.toUriString())
    }
    return stored
}

/** The file of a reference among those of all. */
def ofReference(meta, files) {
    return files.find { path -> path.name.startsWith("${meta.id}.") }
}

/**
 * Where trainings leave their checkpoints: a retried task has a new folder of its own, so this one must outlive the task.
 * None where the work folder is an object store, which a training cannot write to as it goes.
 */
def checkpointFolder(given) {
    if (!given && workflow.workDir.scheme != 'file') {
        return null
    }
    def folder = given ? pathAt(given).toAbsolutePath() : workflow.workDir.resolve('checkpoints')
    // Here, since a container's engine would make it for root alone.
    folder.mkdirs()
    return folder.toString()
}

/** A path as a list of it; [], which stands for none, as it is. */
def listed(path) {
    return path ? [path] : []
}

/** How many files there will be about a pair, beside the mapped one. */
def detailCount(meta, gene_sets, settings) {
    def contrasted = settings.contrast || (settings.contrast_with && settings.contrast_with != sampleOf(meta))
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
def summary(run, count, folder, references) {
    if (!run.success) {
        return "The run stopped before its end. What is finished is kept: mend the cause, and run the same command with -resume."
    }
    def tasks = "${run.stats.succeedCount} tasks run, ${run.stats.cachedCount} taken from earlier runs, ${run.stats.failedCount} failed and repeated"
    def onto = references.size() > 1 ? " onto ${references.size()} references" : ''
    def reports = references
        .collect { meta, _path -> folder.resolve(runFolder(meta)).resolve('report.html') }
        .findAll { page -> page.exists() }
        .collect { page -> "Report:  ${page.toUriString()}" }
    def lines = ["${count} ${count == 1 ? 'query' : 'queries'} mapped${onto} in ${run.duration} (${tasks})."] + reports
    return (lines + ["Results: ${folder.toUriString()}"]).join('\n')
}

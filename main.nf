#!/usr/bin/env nextflow

// nf-cellmemory: labels the cells of any query with the labels of a reference. See README.md.

include { changedProblems; markAsUnfinished; placesOf; rememberResults } from './functions/changed_results.nf'
include { readInputs; shortened } from './functions/inputs.nf'
include { helpText; isTrue } from './functions/parameter_schema.nf'
include { checksumsByPlace; runRecord; writeProvenance } from './functions/provenance.nf'
include { expectedRecords; otherParts; resultNames; warningsIn } from './functions/records.nf'
include { isGoingWell } from './functions/site.nf'
include { howToFollow; orEndBadly; summary } from './functions/summary.nf'

include { CELLMEMORY } from './workflows/cellmemory.nf'

workflow {
    if (isTrue(params.help)) {
        println(helpText(workflow.manifest))
    }
    else if (isTrue(params.version)) {
        println("${workflow.manifest.name} ${workflow.manifest.version}")
    }
    else {
        def (inputs, problems) = readInputs(params)
        if (problems) {
            error(shortened(problems).join('\n'))
        }
        def expected = expectedRecords(inputs)
        def places = placesOf(expected, inputs.references)
        def changed = changedProblems(inputs.settings.outdir, places)
        if (changed) {
            error(changed.join('\n'))
        }
        def since = workflow.preview ? null : markAsUnfinished(inputs.settings.outdir)
        log.info(howToFollow(workflow))
        CELLMEMORY(
            channel.fromList(inputs.queries),
            inputs.references,
            inputs.gene_map,
            inputs.gene_sets,
            inputs.label_map,
            inputs.ontology_map,
            inputs.settings,
        )
        CELLMEMORY.out.inputs
            .mix(CELLMEMORY.out.consensus_summaries)
            .subscribe { _name, path -> warningsIn(path).each { sentence -> log.warn(sentence) } }
        CELLMEMORY.out.versions
            .map { path -> path.text }.unique()
            .collectFile(name: 'versions.yml', storeDir: "${inputs.settings.outdir}/pipeline_info", sort: true)

        // Groovy's lists are not made for two threads; the end of the run comes after the last of these.
        def records = Collections.synchronizedList([])
        CELLMEMORY.out.checksums.subscribe { kind, name, path -> records.add(expected[kind][name] + [checksums: path]) }
        CELLMEMORY.out.checksums
            .map { _kind, name, _path -> name }
            .mix(CELLMEMORY.out.report.map { _meta, page -> page.name })
            .toList()
            .subscribe { found ->
                // A channel that lost a pair says nothing. After a failure of a task there is a sentence about that.
                def missing = resultNames(expected, inputs.references) - found.collect { name -> name.toString() }
                if (missing && isGoingWell()) {
                    error("There are no results of ${missing.join(', ')}, though no task failed. Run the same command with -resume; if they are missing again, report it as a bug.")
                }
            }

        workflow.onComplete = {
            if (!workflow.preview) {
                def folder = file(inputs.settings.outdir, glob: false)
                orEndBadly("the records of the run cannot be written into ${folder.toUriString()}") {
                    writeRecords(folder, inputs, records, since, places)
                }
                log.info(summary(workflow, inputs.queries.size(), folder, inputs.references))
            }
        }
    }
}

/** What a run writes last: of one that ended well what its results are made from, and of any what it wrote. */
def writeRecords(folder, inputs, records, since, places) {
    if (workflow.success) {
        writeProvenance(folder, runRecord(workflow, inputs.settings), records.sort { record -> record.folder }, otherParts(inputs.references))
    }
    rememberResults(folder, since, places, checksumsByPlace(records))
}

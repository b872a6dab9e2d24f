// The records of a run: which there are, and what each is about.

include { folderOf; named; pairOf; runFolder } from './pairs.nf'
include { pathAt } from './paths.nf'
include { crateFile } from './provenance.nf'

/**
 * The records that a complete run leaves, by their kind (pair, model, consensus) and the name that their checksums come under.
 *
 * folder: that of the files; beside: that of the record; sources: the user's files that they may have been made from.
 */
def expectedRecords(inputs) {
    def common = [inputs.gene_map, inputs.gene_sets, inputs.ontology_map].flatten()
    def pairs = [inputs.queries, inputs.references].combinations().collectEntries { query, reference ->
        def meta = pairOf(query[0], reference[0].id)
        [meta.id, [name: meta.id, folder: folderOf(meta), beside: folderOf(meta), sources: common + [query[1]]]]
    }
    def models = inputs.references.findAll { meta, _path -> !meta.trained }.collectEntries { meta, path ->
        def folder = [runFolder(meta), 'model'].findAll().join('/')
        [named(meta.id, 'model'), [name: 'model', folder: folder, beside: runFolder(meta), sources: common + [path]]]
    }
    return [pair: pairs, model: models, consensus: inputs.references.size() > 1 ? consensusRecords(inputs) : [:]]
}

def consensusRecords(inputs) {
    return inputs.queries.collectEntries { query, _path ->
        def name = "${query.id}.consensus".toString()
        def own = inputs.references.collect { meta, _own -> pairOf([id: query.id], meta.id) }
        def tables = own.collect { meta -> pathAt(inputs.settings.outdir).resolve("${folderOf(meta)}/${meta.id}.labels.csv") }
        def folder = folderOf([id: query.id])
        [name, [name: name, folder: folder, beside: folder, sources: tables + [inputs.label_map].flatten()]]
    }
}

/** What a complete run leaves, by the names of its records and of its pages. */
def resultNames(records, references) {
    return records.values().collectMany { found -> found.keySet() } + references.collect { meta, _path -> named(meta.id, 'report.html') }
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

/** What the JSON file of a task warns of; nothing, where it is a stub's, which is empty. */
def warningsIn(path) {
    def found = path.size() > 0 ? new groovy.json.JsonSlurper().parse(path) : [:]
    return (found.warnings ?: []) + (found.reference?.warnings ?: [])
}

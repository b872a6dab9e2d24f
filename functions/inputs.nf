// All that a user hands to a run: parameters, sheets, and the place where it runs; read and checked at the start.

include { engineProblems; isSuccess } from './engines.nf'
include { readParameters; geneSetPaths } from './parameters.nf'
include { folderProblems; isMissing; pathAt } from './paths.nf'
include { allReferences } from './references.nf'
include { resultsFolderProblems } from './results_folder.nf'
include { readSamplesheet } from './samplesheet.nf'
include { isOnPath; resolvedConfig; siteProblems } from './site.nf'

/** [settings, queries, references, gene_map, gene_sets, label_map, ontology_map] as CELLMEMORY takes them, and what is wrong, a sentence each. */
def readInputs(given) {
    def (settings, problems) = readParameters(given)
    def (references, reference_problems) = allReferences(settings)
    def (queries, sheet_problems) = settings.input && !isMissing(settings.input) ? readSamplesheet(pathAt(settings.input)) : [[], []]
    def inputs = [
        settings: settings,
        queries: queries,
        references: references,
        gene_map: settings.gene_map ? pathAt(settings.gene_map) : [],
        gene_sets: geneSetPaths(settings.gmt).collect { path -> pathAt(path) },
        label_map: settings.label_map ? pathAt(settings.label_map) : [],
        ontology_map: settings.ontology_map ? pathAt(settings.ontology_map) : [],
    ]
    def place_problems = placeProblems(settings) + (settings.outdir ? resultsFolderProblems(inputs) : [])
    return [inputs, problems + contrastProblems(settings, queries) + sheet_problems + reference_problems + place_problems]
}

def contrastProblems(settings, queries) {
    def names = queries.collect { meta, _query -> meta.id }
    return settings.contrast_with && names && !(settings.contrast_with in names)
        ? ["--contrast_with ${settings.contrast_with}: the samplesheet has no such sample; it has ${names.join(', ')}."]
        : []
}

def placeProblems(settings) {
    def work_folder = workflow.workDir
    def config = resolvedConfig()
    def problems = siteProblems(config, settings, work_folder.toUriString(), System.getenv()) { command -> isOnPath(command) }
    problems += engineProblems(config, settings, work_folder, System.getenv(), { command -> isOnPath(command) }, { command -> isSuccess(command) })
    // The code's folder stands in double quotes in each task, on the PATH.
    problems += folderProblems('The pipeline\'s folder', workflow.projectDir, '["$`\\\\:\\p{Cntrl}]')
    return problems + folderProblems('-work-dir', work_folder, '[$*?\\[\\]{}\\p{Cntrl}]')
}

/** The problems as they are shown: the first twenty of a long list, and how many there are in all. */
def shortened(problems) {
    return problems.size() <= 20 ? problems : problems.take(20) + ["... and ${problems.size() - 20} more problems (${problems.size()} in all).".toString()]
}

// The folder of the results: what a run would destroy in it.

include { modelFiles } from './models.nf'
include { isMissing; pathAt; visible } from './paths.nf'

/**
 * A sentence for each thing that --outdir holds and that results would replace, though this pipeline did not make it, and for each
 * input that lies where results are written.
 */
def resultsFolderProblems(inputs) {
    def folder = pathAt(inputs.settings.outdir)
    def name = "--outdir ${visible(folder.toUriString())}"
    def models = inputs.references.findAll { meta, _path -> meta.trained }.collect { _meta, path -> path }
    def problems = models.findAll { model -> isWithin(folder, model) }.collect { model ->
        "${name} lies in the model ${visible(model.toUriString())}, an input. Give another folder.".toString()
    }
    def trained = inputs.references.findAll { meta, _path -> !meta.trained }.collect { meta, _path -> meta.id ? "references/${meta.id}/model".toString() : 'model' }
    def records = ['model.provenance.json', 'ro-crate-metadata.json', 'pipeline_info/versions.yml']
    def written = ['report.html', 'figures', 'multiqc', 'samples', 'references'] + records + (trained ? ['model'] : [])
    def others = isMissing(folder) || isOurs(folder) ? [] : written.findAll { part -> folder.resolve(part).exists() }
    if (others) {
        problems += ["${name} holds ${others.join(', ')}, which this pipeline did not write. Give another folder.".toString()]
    }
    else {
        problems += mixedModels(folder, trained).collect { model, strangers ->
            "${name}: the model ${visible(model.toUriString())} is replaced, but holds what is not of it (${strangers.join(', ')}). Move this away.".toString()
        }
    }
    def files = inputs.queries.collect { _meta, path -> path } + (inputs.references.collect { _meta, path -> path } - models)
    files += [inputs.gene_map, inputs.gene_sets, inputs.label_map, inputs.ontology_map].flatten()
    // A model of an earlier run may lie there: only what is trained now replaces it.
    def replaced = files.findAll { file -> written.any { part -> isWithin(file, folder.resolve(part)) } } +
        models.findAll { model -> (trained + (written - ['references', 'model'])).any { part -> isWithin(model, folder.resolve(part)) } }
    return problems + replaced.collect { file ->
        "${name}: the input ${visible(file.toUriString())} lies where results are written. Give another folder.".toString()
    }
}

/**
 * Models of an earlier run that hold more than a model does, [folder, names of that]: Nextflow replaces a folder as a whole, but
 * of a link only the link.
 */
def mixedModels(folder, places) {
    return places.collect { place -> folder.resolve(place) }.findAll { model -> !isMissing(model) && !java.nio.file.Files.isSymbolicLink(model) }
        .collect { model -> [model, model.listFiles().findAll { file -> !modelFiles(model.toUriString()).contains(file.toUriString()) }] }
        .findAll { _model, strangers -> strangers }
        .collect { model, strangers -> [model, strangers.collect { file -> visible(file.name) }.sort()] }
}

/** Whether an earlier run wrote into the folder: the check of the inputs leaves its findings before anything else is there. */
def isOurs(folder) {
    def references = folder.resolve('references')
    return folder.resolve('pipeline_info/inputs.json').exists()
        || (references.isDirectory() && references.listFiles().any { each -> each.resolve('inputs.json').exists() })
}

/** Whether a path is a folder or lies below it, on the same storage. */
def isWithin(path, folder) {
    return path.scheme == folder.scheme && path.toAbsolutePath().normalize().startsWith(folder.toAbsolutePath().normalize())
}

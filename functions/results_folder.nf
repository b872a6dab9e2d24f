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
    def written = ['report.html', 'figures', 'multiqc', 'samples', 'references'] + (models.size() < inputs.references.size() ? ['model'] : [])
    def others = isMissing(folder) || isOurs(folder) ? [] : written.findAll { part -> folder.resolve(part).exists() }
    if (others) {
        problems += ["${name} holds ${others.join(', ')}, which this pipeline did not write. Give another folder.".toString()]
    }
    else {
        problems += mixedModels(folder, inputs.references).collect { model, strangers ->
            "${name}: the model ${visible(model.toUriString())} is replaced, but holds what is not of it (${strangers.join(', ')}). Move this away.".toString()
        }
    }
    def files = inputs.queries.collect { _meta, path -> path } + (inputs.references.collect { _meta, path -> path } - models)
    files += [inputs.gene_map, inputs.gene_sets, inputs.label_map].flatten()
    return problems + files.findAll { file -> written.any { part -> isWithin(file, folder.resolve(part)) } }.collect { file ->
        "${name}: the input ${visible(file.toUriString())} lies where results are written. Give another folder.".toString()
    }
}

/** Models of an earlier run that hold more than a model does, [folder, names of that]: Nextflow replaces a folder as a whole. */
def mixedModels(folder, references) {
    def places = references.findAll { meta, _path -> !meta.trained }.collect { meta, _path -> meta.id ? "references/${meta.id}/model" : 'model' }
    return places.collect { place -> folder.resolve(place) }.findAll { model -> !isMissing(model) }
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

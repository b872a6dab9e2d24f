// A trained model for each reference: trained here, or given as one.

include { filesOf } from '../functions/paths.nf'
include { byContent; checkpointFolder } from '../functions/work_folder.nf'

include { COPY_MODEL } from '../modules/copy_model/main.nf'
include { PREPROCESS_REFERENCE } from '../modules/preprocess_reference/main.nf'
include { TRAIN } from '../modules/train/main.nf'

workflow TRAIN_REFERENCES {
    take:
    references // list of [meta, path]
    query_genes // channel of [meta of a reference, path]: there once all inputs have passed
    settings // map

    main:
    paths = references.collectEntries { meta, path -> [meta.id ?: '', path] }
    ready = query_genes.map { meta, genes -> [meta, paths[meta.id ?: ''], genes] }
    given = ready
        .filter { meta, _path, _genes -> meta.trained }
        .map { meta, path, _genes -> [meta, path] }
        .branch { _meta, path ->
            folder: path.isDirectory()
            archive: true
        }
    COPY_MODEL(given.archive)
    trained = given.folder.mix(COPY_MODEL.out.model)
    panels = trained.map { meta, folder -> [meta.id ?: '', folder.resolve('panel.tsv')] }
    made = channel.empty()
    versions = COPY_MODEL.out.versions
    if (references.any { meta, _path -> !meta.trained }) {
        PREPROCESS_REFERENCE(
            ready.filter { meta, _path, _genes -> !meta.trained }.map { meta, path, genes -> [meta, path, byContent(genes)] },
            settings.subMap(['counts_layer', 'gene_column', 'n_genes']),
        )
        TRAIN(
            PREPROCESS_REFERENCE.out.prepared,
            settings.subMap([
                'label_levels', 'mode', 'binning', 'max_epochs', 'patience', 'batch_size', 'sampling', 'learning_rate', 'variant',
                'd_model', 'n_layers', 'device', 'devices', 'precision', 'seed',
            ]) + [checkpoint: checkpointFolder(settings.checkpoint_dir)],
        )
        made = TRAIN.out.model.map { meta, folder -> [meta, paths[meta.id ?: ''], folder] }
        trained = trained.mix(TRAIN.out.model)
        panels = panels.mix(PREPROCESS_REFERENCE.out.panel.map { meta, panel -> [meta.id ?: '', panel] })
        versions = versions.mix(PREPROCESS_REFERENCE.out.versions, TRAIN.out.versions)
    }
    models = trained.map { meta, folder -> [meta.id ?: '', filesOf(folder)] }

    emit:
    trained // [meta of a reference, path of the model's folder]
    models // [name of a reference or '', paths]
    panels // [name of a reference or '', path]
    made // [meta of a reference, its file, path of the model's folder], of what was trained here
    versions
}

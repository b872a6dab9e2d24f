// The folder of a trained model.

/** Its files, below the folder. */
def modelFiles(folder) {
    return [
        'model.safetensors', 'config.json', 'panel.tsv', 'labels.tsv', 'calibration.json', 'history.tsv', 'history.png', 'model_card.md',
    ].collect { name -> "${folder}/${name}".toString() }
}

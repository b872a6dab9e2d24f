// Where results come from: a record next to each, and one RO-Crate of the whole run.

/** What all records of a run say alike. */
def runRecord(run, settings) {
    return [
        pipeline: [name: run.manifest.name, version: run.manifest.version, revision: run.commitId].findAll { _key, value -> value },
        nextflow: run.nextflow.version.toString(),
        run: run.runName,
        session: run.sessionId.toString(),
        command: run.commandLine,
        profile: run.profile,
        containers: run.containerEngine,
        started: run.start.toString(),
        completed: run.complete.toString(),
        parameters: settings.findAll { _name, value -> value != null },
    ]
}

/**
 * Writes the record of each result next to it, and the RO-Crate into the folder of the results.
 *
 * records: of each result its name, the folder of its files and that of its record, the JSON file of its checksums, and the
 * sources: the user's files that it may have been made from. others: entities of the crate for what has no record.
 */
def writeProvenance(outdir, about, records, others) {
    def versions = new org.yaml.snakeyaml.Yaml().load(outdir.resolve('pipeline_info/versions.yml').text) ?: [:]
    def written = records.collect { record ->
        def found = new groovy.json.JsonSlurper().parse(record.checksums)
        def paths = record.sources.collectEntries { path -> [path.name, path.toUriString()] }
        def inputs = found.inputs.collect { input -> [path: paths[input.name.tokenize('/').first()]] + input }
        def content = about + [model: found.model, inputs: inputs, results: found.results, versions: versions]
        def path = [record.beside, "${record.name}.provenance.json"].findAll().join('/')
        writeJson(outdir.resolve(path), content)
        [path: path, inputs: inputs, results: found.results.collect { file -> [path: "${record.folder}/${file.name}"] + file }]
    }
    writeJson(outdir.resolve('ro-crate-metadata.json'), crate(about, written, others, versions))
}

/** What tasks have found of results (name, bytes, sha256), by their places in the folder of the results. */
def checksumsByPlace(records) {
    return records.collectMany { record ->
        new groovy.json.JsonSlurper().parse(record.checksums).results.collect { file -> ["${record.folder}/${file.name}".toString(), file] }
    }.collectEntries()
}

/** Writes a JSON file: the whole of it, or nothing. */
def writeJson(path, content) {
    def partial = path.resolveSibling(".partial-${path.name}")
    path.parent.mkdirs()
    partial.text = groovy.json.JsonOutput.prettyPrint(groovy.json.JsonOutput.toJson(content)) + '\n'
    java.nio.file.Files.move(partial, path, java.nio.file.StandardCopyOption.REPLACE_EXISTING)
}

/** The run as RO-Crate 1.1: what the run was, what it took, and every result with its checksum. */
def crate(about, records, others, versions) {
    def results = records.collectMany { record -> (record.results + [[path: record.path]]).collect { file -> crateFile(file) } }
    def inputs = records.collectMany { record -> record.inputs }.unique { input -> [input.path, input.name, input.sha256] }
    def input_entities = inputs.collect { input ->
        [
            '@id': "#input-${input.sha256}",
            '@type': 'CreativeWork',
            name: input.name,
            identifier: input.path,
            contentSize: input.bytes.toString(),
            sha256: input.sha256,
        ]
    }.unique { entity -> entity['@id'] }
    def parameters = about.parameters.collect { name, value ->
        ['@id': "#parameter-${name}", '@type': 'PropertyValue', name: name, value: value]
    }
    def packages = versions.values().collectEntries { found -> found }.collect { name, version ->
        ['@id': "#software-${name}", '@type': 'SoftwareApplication', name: name, softwareVersion: version.toString()]
    }
    def whole = others + [
        ['@id': 'multiqc/', '@type': 'Dataset', name: 'Content for MultiQC'],
        ['@id': 'pipeline_info/', '@type': 'Dataset', name: "Inputs as they were found, versions, and Nextflow's account of the run"],
    ]
    def parts = whole + results
    def root = [
        '@id': './',
        '@type': 'Dataset',
        name: "Cells labelled by ${about.pipeline.name} ${about.pipeline.version}, run ${about.run}",
        description: 'Labels of single cells transferred from a reference, with confidence, novelty and the genes they were read from.',
        datePublished: about.completed,
        license: ['@id': '#licence'],
        hasPart: references(parts),
        mentions: ['@id': '#run'],
    ]
    def action = [
        '@id': '#run',
        '@type': 'CreateAction',
        name: "Run ${about.run} of ${about.pipeline.name}",
        description: about.command,
        startTime: about.started,
        endTime: about.completed,
        actionStatus: ['@id': 'http://schema.org/CompletedActionStatus'],
        instrument: ['@id': '#pipeline'],
        object: references(input_entities + parameters),
        result: references(parts),
    ]
    def pipeline = [
        '@id': '#pipeline',
        '@type': 'SoftwareApplication',
        name: about.pipeline.name,
        softwareVersion: [about.pipeline.version, about.pipeline.revision].findAll().join(' '),
        softwareRequirements: references([['@id': '#nextflow']] + packages),
    ]
    def nextflow = ['@id': '#nextflow', '@type': 'SoftwareApplication', name: 'Nextflow', softwareVersion: about.nextflow]
    // Whose data they are is not known here, so neither is what may be done with them.
    def licence = [
        '@id': '#licence',
        '@type': 'CreativeWork',
        name: 'Not stated',
        description: 'Whoever owns the data says how these results may be used.',
    ]
    def descriptor = [
        '@id': 'ro-crate-metadata.json',
        '@type': 'CreativeWork',
        conformsTo: ['@id': 'https://w3id.org/ro/crate/1.1'],
        about: ['@id': './'],
    ]
    return [
        '@context': ['https://w3id.org/ro/crate/1.1/context', [sha256: 'https://schema.org/sha256']],
        '@graph': [descriptor, root, action, pipeline, nextflow, licence] + parts + input_entities + parameters + packages,
    ]
}

def crateFile(file) {
    def formats = [
        json: 'application/json', csv: 'text/csv', tsv: 'text/tab-separated-values', html: 'text/html', md: 'text/markdown',
        h5ad: 'application/x-hdf5',
    ]
    return [
        '@id': file.path,
        '@type': 'File',
        name: file.path.tokenize('/').last(),
        encodingFormat: formats[file.path.tokenize('.').last()] ?: 'application/octet-stream',
        contentSize: file.bytes?.toString(),
        sha256: file.sha256,
    ].findAll { _key, value -> value != null }
}

def references(entities) {
    return entities.collect { entity -> ['@id': entity['@id']] }
}

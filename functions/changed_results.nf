// Results that somebody worked on since a run wrote them, and files that no run wrote: none is replaced.

include { inFolder; runFolder } from './pairs.nf'
include { isMissing; pathAt; visible } from './paths.nf'
include { writeJson } from './provenance.nf'

/** Sentences for what a run would replace in its folder, though it is not, or not as it is, of an earlier run. See placesOf. */
def changedProblems(outdir, places) {
    def folder = pathAt(outdir)
    def name = "--outdir ${visible(folder.toUriString())}"
    def known = remembered(folder)
    if (known == null) {
        return ["${name}: pipeline_info/written.json, by which results that were changed are told, cannot be read. Remove it, and move away what you worked on; or give another folder.".toString()]
    }
    def since = isMissing(unfinishedMark(folder)) ? Long.MAX_VALUE : changeOf(unfinishedMark(folder))
    def changed = known.findAll { place, about -> isOf(place, places) && isChanged(folder.resolve(place), about, since) }.collect { place, _about -> place }
    def strange = places.files.findAll { place -> !known[place] && !isMissing(folder.resolve(place)) && changeOf(folder.resolve(place)) < since }
    return [
        [changed, 'since this pipeline wrote them, these results were changed, and would be replaced'],
        [strange, 'these files are not known to be of a run of this pipeline, and would be replaced'],
    ].findAll { found, _words -> found }.collect { found, words ->
        def shown = found.take(5).join(', ') + (found.size() > 5 ? ", ... (${found.size()} in all)" : '')
        "${name}: ${words}: ${shown}. Move them away, or give another folder.".toString()
    }
}

/**
 * Where a run writes in the folder of its results. records: see expectedRecords.
 *
 * folders: those in which all files are results; files: what is there after every run with all of its steps.
 */
def placesOf(records, references) {
    def runs = references.collect { meta, _path -> runFolder(meta) }
    def within = records.values().collectMany { kind -> kind.values() }
    def pages = runs.collect { run -> inFolder(run, 'report.html') }
    def kinds = [
        pair: [
            'alignment.json', 'annotated.h5ad', 'cell_clusters.csv', 'cluster_markers.tsv', 'clusters.tsv', 'contrasts.tsv', 'enrichment.tsv', 'faithfulness.tsv', 'labels.csv',
            'mapped.h5ad', 'metrics.json', 'provenance.json', 'report.html', 'slot_tags.tsv', 'tag_profiles.h5ad', 'tags.tsv',
        ],
        consensus: ['csv', 'json', 'provenance.json'],
    ]
    def files = kinds.collectMany { kind, ends ->
        records[kind].values().collectMany { record -> ends.collect { end -> "${record.folder}/${record.name}.${end}".toString() } }
    }
    def models = records.model.values().collect { record -> "${record.folder}/config.json".toString() }
    return [
        folders: within.collectMany { record -> [record.folder, "${record.folder}/figures".toString()] } + runs.collect { run -> inFolder(run, 'figures') } + ['multiqc'],
        files: files + models + pages,
        others: pages + ['model.provenance.json', 'inputs.json'].collectMany { end -> runs.collect { run -> inFolder(run, end) } } + ['ro-crate-metadata.json', 'pipeline_info/inputs.json', 'pipeline_info/versions.yml'],
    ]
}

/** Whether a run writes, or may write, at a place. */
def isOf(place, places) {
    return place in places.others || places.folders.any { own -> place.startsWith("${own}/") }
}

/**
 * Says that a run writes into the folder from now on. Until `rememberResults` has been called, what is newer than this is of
 * a run that was cut off, or of those after it. Returns since when.
 */
def markAsUnfinished(outdir) {
    def mark = unfinishedMark(pathAt(outdir))
    if (isMissing(mark)) {
        mark.parent.mkdirs()
        mark.text = 'A run writes into this folder, or was cut off while it did.\n'
    }
    return changeOf(mark)
}

/**
 * Keeps what the run that ends wrote into the folder, whether it ends well or not: sizes, dates and checksums.
 *
 * since: of markAsUnfinished; places: of placesOf; known: bytes and checksums by place, as far as tasks have made them.
 */
def rememberResults(folder, since, places, known) {
    def found = places.folders.collectMany { own -> filesBelow(folder.resolve(own), own == 'multiqc' ? 3 : 1) } + places.others.collect { place -> folder.resolve(place) }
    def written = found.findAll { path -> !isMissing(path) && changeOf(path) >= since }.collectEntries { path ->
        def place = folder.relativize(path).toString()
        def digest = known[place]?.bytes == path.size() ? known[place].sha256 : sha256Of(path)
        [place, [bytes: path.size(), modified: path.lastModified(), sha256: digest]]
    }
    def others = (remembered(folder) ?: [:]).findAll { place, _about -> !isMissing(folder.resolve(place)) }
    writeJson(rememberedFile(folder), (others + written).sort())
    unfinishedMark(folder).delete()
}

def unfinishedMark(folder) {
    return folder.resolve('pipeline_info/unfinished')
}

def rememberedFile(folder) {
    return folder.resolve('pipeline_info/written.json')
}

/** What runs have written into the folder: by its place there its bytes, date and checksum. Null where that cannot be told. */
def remembered(folder) {
    try {
        def found = isMissing(rememberedFile(folder)) ? [:] : new groovy.json.JsonSlurper().parse(rememberedFile(folder))
        def is_as_written = found instanceof Map && found.values().every { about ->
            about instanceof Map && about.bytes instanceof Number && about.modified instanceof Number && about.sha256 instanceof String
        }
        return is_as_written ? found : null
    }
    catch (groovy.json.JsonException error) {
        log.debug("Cannot read ${rememberedFile(folder)}", error)
        return null
    }
}

/** Whether a file is another than what was remembered. What a run wrote that was cut off is not looked at. */
def isChanged(path, about, since) {
    if (isMissing(path) || changeOf(path) >= since || (path.size() == about.bytes && path.lastModified() == about.modified)) {
        return false
    }
    return path.size() != about.bytes || sha256Of(path) != about.sha256
}

/** The files of a folder, and of the folders in it down to a depth. What is not there has none. */
def filesBelow(folder, depth) {
    def found = []
    if (depth > 0 && java.nio.file.Files.isDirectory(folder)) {
        // By Java's own means: for a link to a folder, listFiles() gives the link.
        java.nio.file.Files.newDirectoryStream(folder).withCloseable { entries -> entries.each { path -> found.add(path) } }
    }
    return found.collectMany { path -> java.nio.file.Files.isRegularFile(path) ? [path] : filesBelow(path, depth - 1) }
}

/** When a file came to its place, in milliseconds: an old file is new where it, or its folder, is there by a new link. */
def changeOf(path) {
    def folder = java.nio.file.Files.isSymbolicLink(path.parent) ? [path.parent] : []
    return (folder + [path]).collect { each -> ownChangeOf(each) }.max()
}

def ownChangeOf(path) {
    try {
        return java.nio.file.Files.getAttribute(path, 'unix:ctime', java.nio.file.LinkOption.NOFOLLOW_LINKS).toMillis()
    }
    catch (UnsupportedOperationException | IllegalArgumentException _error) {
        return path.lastModified()
    }
}

def sha256Of(path) {
    def digest = java.security.MessageDigest.getInstance('SHA-256')
    path.withInputStream { stream -> stream.eachByte(1 << 20) { bytes, n -> digest.update(bytes, 0, n) } }
    return digest.digest().encodeHex().toString()
}

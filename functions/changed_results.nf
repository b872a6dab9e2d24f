// Results that somebody worked on since the last run: none is replaced.

include { isMissing; pathAt; visible } from './paths.nf'

/** A sentence where what a run wrote into the folder was changed since, and this one would replace it; records: see expectedRecords. */
def changedProblems(outdir, records) {
    def folder = pathAt(outdir)
    def changed = changedResults(folder, records.values().collectMany { kind -> kind.values() }.collect { record -> record.folder })
    def shown = changed.take(5).join(', ') + (changed.size() > 5 ? ", ... (${changed.size()} in all)" : '')
    return changed
        ? ["--outdir ${visible(folder.toUriString())}: since this pipeline wrote them, these results were changed, and would be replaced: ${shown}. Move them away, or give another folder.".toString()]
        : []
}

/**
 * Says that a run writes into the folder from now on. Until `rememberResults` has been called, what is newer than this is of
 * a run that was cut off, or of those after it.
 */
def markAsUnfinished(folder) {
    def mark = unfinishedMark(folder)
    if (isMissing(mark)) {
        mark.parent.mkdirs()
        mark.text = 'A run writes into this folder, or was cut off while it did.\n'
    }
}

/**
 * Keeps what the run that ends wrote into the folder, whether it ends well or not: sizes, dates and checksums.
 *
 * known: bytes and checksums by place, as far as tasks have made them.
 */
def rememberResults(folder, known) {
    def since = changeOf(unfinishedMark(folder))
    def written = resultsIn(folder).findAll { path -> changeOf(path) >= since }.collectEntries { path ->
        def place = folder.relativize(path).toString()
        def digest = known[place]?.bytes == path.size() ? known[place].sha256 : sha256Of(path)
        [place, [bytes: path.size(), modified: path.lastModified(), sha256: digest]]
    }
    def others = remembered(folder).findAll { place, _about -> !isMissing(folder.resolve(place)) }
    rememberedFile(folder).text = groovy.json.JsonOutput.prettyPrint(groovy.json.JsonOutput.toJson((others + written).sort())) + '\n'
    unfinishedMark(folder).delete()
}

def unfinishedMark(folder) {
    return folder.resolve('pipeline_info/unfinished')
}

def rememberedFile(folder) {
    return folder.resolve('pipeline_info/written.json')
}

/** What runs have written into the folder: by its place there its bytes, date and checksum. */
def remembered(folder) {
    return isMissing(rememberedFile(folder)) ? [:] : new groovy.json.JsonSlurper().parse(rememberedFile(folder))
}

/** The places of changed results, but for samples that are not in these folders. */
def changedResults(folder, folders) {
    def since = isMissing(unfinishedMark(folder)) ? Long.MAX_VALUE : changeOf(unfinishedMark(folder))
    return remembered(folder)
        .findAll { place, _about -> !place.find('(^|/)samples/') || folders.any { own -> place.startsWith("${own}/") } }
        .findAll { place, about -> isChanged(folder.resolve(place), about, since) }
        .collect { place, _about -> place }
}

/** Whether a file is another than what was remembered. What a run wrote that was cut off is not looked at. */
def isChanged(path, about, since) {
    if (isMissing(path) || changeOf(path) >= since || (path.size() == about.bytes && path.lastModified() == about.modified)) {
        return false
    }
    return path.size() != about.bytes || sha256Of(path) != about.sha256
}

/** All files where results lie. What Nextflow itself keeps of each run is none of them. */
def resultsIn(folder) {
    def own = folder.listFiles().findAll { path ->
        path.name in ['figures', 'model', 'multiqc', 'references', 'samples', 'report.html', 'ro-crate-metadata.json'] || path.name.endsWith('.provenance.json')
    }
    def kept = ['inputs.json', 'versions.yml'].collect { name -> folder.resolve("pipeline_info/${name}") }
    return (own + kept).collectMany { path -> filesBelow(path) }
}

def filesBelow(path) {
    return path.isDirectory() ? path.listFiles().collectMany { each -> filesBelow(each) } : (isMissing(path) ? [] : [path])
}

/** When a file came to its place: a link to an old file is new. In milliseconds. */
def changeOf(path) {
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

// Results that somebody worked on since the last run: none is replaced.

include { isMissing; pathAt; visible } from './paths.nf'

/** A sentence where results in the folder are not as the last complete run recorded them; records: see expectedRecords. */
def changedProblems(outdir, records) {
    def folder = pathAt(outdir)
    def changed = isMissing(unfinishedMark(folder)) ? changedResults(folder, records) : []
    def shown = changed.take(5).join(', ') + (changed.size() > 5 ? ", ... (${changed.size()} in all)" : '')
    return changed
        ? ["--outdir ${visible(folder.toUriString())}: since this pipeline wrote them, these results were changed, and would be replaced: ${shown}. Move them away, or give another folder.".toString()]
        : []
}

/** A file that stands in the results while a run writes them: what is there then may be of a run that was cut off. */
def unfinishedMark(folder) {
    return folder.resolve('pipeline_info/unfinished')
}

/** The changed results by their places in the folder. */
def changedResults(folder, records) {
    return records.values().collectMany { kind -> kind.values() }.collectMany { record ->
        def file = folder.resolve([record.beside, "${record.name}.provenance.json"].findAll().join('/'))
        def results = isMissing(file) ? [] : new groovy.json.JsonSlurper().parse(file).results
        results.collect { result -> ["${record.folder}/${result.name}".toString(), result] }
            .findAll { place, result -> isChanged(folder.resolve(place), result, file.lastModified()) }
            .collect { place, _result -> place }
    }
}

/** Whether a file is another than its record says, which was written after it: only what is newer is looked into. */
def isChanged(path, result, recorded) {
    return !isMissing(path) && path.lastModified() > recorded && (path.size() != result.bytes || sha256Of(path) != result.sha256)
}

def sha256Of(path) {
    def digest = java.security.MessageDigest.getInstance('SHA-256')
    path.withInputStream { stream -> stream.eachByte(1 << 20) { bytes, n -> digest.update(bytes, 0, n) } }
    return digest.digest().encodeHex().toString()
}

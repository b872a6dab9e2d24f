// What is said of a run when it ends.

include { runFolder } from './pairs.nf'

/** How many queries and tasks there were, and where the results are. */
def summary(run, count, folder, references) {
    if (!run.success) {
        return "The run stopped before its end. What is finished is kept: remove the cause, and run the same command with -resume."
    }
    def tasks = "${run.stats.succeedCount} tasks run, ${run.stats.cachedCount} taken from earlier runs, ${run.stats.failedCount} failed and repeated"
    def onto = references.size() > 1 ? " onto ${references.size()} references" : ''
    def reports = references
        .collect { meta, _path -> folder.resolve(runFolder(meta)).resolve('report.html') }
        .findAll { page -> page.exists() }
        .collect { page -> "Report:  ${page.toUriString()}" }
    def lines = ["${count} ${count == 1 ? 'query' : 'queries'} mapped${onto} in ${run.duration} (${tasks})."] + reports
    return (lines + ["Results: ${folder.toUriString()}"]).join('\n')
}

/**
 * Does the last work of a run; where it fails, the run ends with status 1, and a sentence that begins with `what`.
 *
 * What fails after the last task would leave Nextflow's status at 0, and what is logged by then may not reach the screen.
 */
def orEndBadly(what, work) {
    try {
        work.call()
    }
    catch (Exception failure) {
        log.debug(what, failure)
        System.err.println("ERROR ~ ${what}: ${failure.message}. Remove the cause, and run the same command with -resume.")
        System.err.flush()
        Runtime.runtime.halt(1)
    }
}

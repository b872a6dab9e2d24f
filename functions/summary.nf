// What is said of a run when it begins and when it ends.

include { quoted } from './command_line.nf'
include { runFolder } from './pairs.nf'

/** How to watch a long task while it runs: by its log, which grows with each epoch of a training and each part of a query. */
def howToFollow(run) {
    def work = run.workDir
    return work.scheme == 'file'
        ? "To follow a task that is shown as [ab/123456]: tail -f ${quoted(work.toString())}/ab/123456*/.command.log"
        : 'To follow a task, look at its log with the tools of the cluster that runs it.'
}

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

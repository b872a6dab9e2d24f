// What lies in the work folder beside the folders of tasks.

include { pathAt } from './paths.nf'

/**
 * The same file under a name that only its content decides: a check that is repeated, for another reference for example,
 * and finds the same repeats no training.
 */
def byContent(path) {
    def stored = workflow.workDir.resolve("by_content/${path.bytes.md5()}/${path.name}")
    if (!stored.exists()) {
        stored.parent.mkdirs()
        def partial = stored.resolveSibling("${path.name}.${UUID.randomUUID()}")
        path.copyTo(partial)
        partial.renameTo(stored.toUriString())
    }
    return stored
}

/**
 * Where trainings leave their checkpoints: a retried task has a new folder of its own, so this one must outlive the task.
 * None where the work folder is an object store, which a training cannot write to as it goes.
 */
def checkpointFolder(given) {
    if (!given && workflow.workDir.scheme != 'file') {
        return null
    }
    def folder = given ? pathAt(given).toAbsolutePath() : workflow.workDir.resolve('checkpoints')
    // Here, since a container's engine would make it for root only.
    folder.mkdirs()
    return folder.toString()
}

// How large inputs are, for the memory that tasks ask for.

/** Bytes of the largest of these queries that has to be read whole: an mtx folder is, files are read in parts. */
def bytesReadWhole(queries) {
    return queries.collect { path -> path.isDirectory() ? folderBytes(path) : 0L }.max()
}

def folderBytes(folder) {
    // The path of a task's input knows no files: what it stands for does.
    return folder.toRealPath().listFiles().collect { path -> path.size() }.sum() ?: 0L
}

// How large inputs are, for the memory that tasks ask for.

/** Bytes of the largest of these queries that has to be read whole: an .h5ad is read in parts, other files and folders are not. */
def bytesReadWhole(queries) {
    return queries.collect { path -> path.isDirectory() ? folderBytes(path) : path.name.endsWith('.h5ad') ? 0L : path.size() }.max()
}

def folderBytes(folder) {
    return folder.listFiles().collect { path -> path.size() }.sum() ?: 0L
}

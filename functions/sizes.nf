// How large inputs are, for the memory that tasks ask for.

/** Bytes of the largest of these queries that has to be read whole: an .h5ad is read in parts, a file or folder of 10x is not. */
def bytesReadWhole(queries) {
    return queries.collect { path -> path.isDirectory() ? folderBytes(path) : path.name.endsWith('.h5') ? path.size() : 0L }.max()
}

def folderBytes(folder) {
    return folder.listFiles().collect { path -> path.size() }.sum() ?: 0L
}

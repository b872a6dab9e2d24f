// Ranges of a query's cells, for its mapping by several tasks.

/** The ranges START:STOP of at most `size` cells that a query is mapped in; only '', for all cells, if one is enough. */
def cellRanges(alignment, size) {
    def count = new groovy.json.JsonSlurper().parseText(alignment.text).cells
    return size == 0 || count <= size
        ? ['']
        : (0L..<count).step(size as int).collect { start -> "${start}:${Math.min(start + size, count)}".toString() }
}

/** What a file with this range of cells is called: <sample>.<start>-<stop>.slice.h5ad. */
def sliceName(sample, cells) {
    return "${sample}.${cells.replace(':', '-')}.slice.h5ad"
}

/** What the mapped file of these cells is called, and what their labels: of a slice, both are the slice. */
def mappedName(sample, cells) {
    return cells ? sliceName(sample, cells) : "${sample}.mapped.h5ad"
}

def labelsName(sample, cells) {
    return cells ? sliceName(sample, cells) : "${sample}.labels.csv"
}

/** The number of the first cell of a slice, by its name. */
def firstCell(slice) {
    return (slice.name =~ /\.(\d+)-\d+\.slice\.h5ad$/)[0][1].toLong()
}

// The columns of the samplesheet, and writing it for the task that looks into the files.

def requiredColumns() {
    return ['sample', 'h5ad']
}

def optionalColumns() {
    return ['counts_layer', 'gene_column', 'batch_key', 'spatial_key', 'truth_key']
}

/** A samplesheet of queries as CSV lines, for a task whose files lie elsewhere than the user's sheet says. */
def samplesheetLines(rows) {
    def columns = requiredColumns() + optionalColumns()
    return [columns.join(',')] + rows.collect { row ->
        columns.collect { column -> "\"${(row[column] ?: '').toString().replace('"', '""')}\"" }.join(',')
    }
}

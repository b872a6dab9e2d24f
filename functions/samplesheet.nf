// The samplesheet: reading and checking it at the start, and writing it for the task that looks into the files.

include { filesOf; isCellFile; isMissing; stagingProblems; visible } from './paths.nf'
include { duplicateProblems; lengthProblems; placeOf; readRows; sheetPath } from './sheets.nf'

def requiredColumns() {
    return ['sample', 'h5ad']
}

def optionalColumns() {
    return ['counts_layer', 'gene_column', 'batch_key', 'spatial_key', 'truth_key']
}

/**
 * The queries as [meta, file] in the sheet's order, and what is wrong with the sheet, a sentence each.
 *
 * meta holds id, row (1 for the first query), and those of the optional columns that are filled in.
 */
def readSamplesheet(sheet) {
    def (rows, form_problems) = readRows(sheet, requiredColumns(), optionalColumns(), 'query')
    def problems = form_problems + rows.collectMany { row -> rowProblems(sheet, row) } + duplicateProblems(sheet.name, rows, 'sample', 'query')
    if (problems) {
        return [[], problems]
    }
    def queries = rows.withIndex(1).collect { row, number ->
        def given = row.subMap(optionalColumns()).findAll { _column, cell -> cell }
        [[id: row.sample, row: number] + given, sheetPath(sheet, row.h5ad)]
    }
    return [queries, []]
}

/** A samplesheet of queries as CSV lines, for a task whose files lie elsewhere than the user's sheet says. */
def samplesheetLines(rows) {
    def columns = requiredColumns() + optionalColumns()
    return [columns.join(',')] + rows.collect { row ->
        columns.collect { column -> "\"${(row[column] ?: '').toString().replace('"', '""')}\"" }.join(',')
    }
}

def rowProblems(sheet, row) {
    def where = placeOf(sheet, row)
    def problems = []
    // Names become names of files and folders.
    if (row.sample && !(row.sample ==~ /[A-Za-z0-9][A-Za-z0-9._-]*/)) {
        problems += ["${where}: the sample name '${row.sample}' may hold only letters, digits, '.', '_' and '-', and begins with a letter or digit."]
    }
    problems += lengthProblems(where, 'sample', row.sample ?: '')
    return row.h5ad ? problems + fileProblems(where, sheetPath(sheet, row.h5ad)) : problems
}

def fileProblems(where, path) {
    if (isMissing(path)) {
        return ["${where}: there is no file ${visible(path.toUriString())}."]
    }
    if (path.isDirectory()) {
        // GEO puts a prefix before the names of the three files; the first task names what else is wrong with them.
        def matrices = filesOf(path).count { file -> file.name ==~ /.*\.mtx(\.gz)?/ }
        return matrices == 1
            ? stagingProblems(where, path)
            : ["${where}: the folder ${path.toUriString()} has ${matrices ?: 'no'} .mtx or .mtx.gz ${matrices > 1 ? 'files' : 'file'}, but a 10x folder has one."]
    }
    return isCellFile(path)
        ? stagingProblems(where, path)
        : ["${where}: ${path.name} is neither an .h5ad or 10x .h5 file nor a 10x mtx folder."]
}

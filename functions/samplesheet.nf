// The samplesheet: reading and checking it at the start.

include { optionalColumns; requiredColumns } from './columns.nf'
include { filesOf; isCellFile; isMissing; sheetPath; stagingProblems; visible } from './paths.nf'
include { duplicateProblems; lengthProblems; placeOf; readRows } from './sheets.nf'

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

// The samplesheet: reading and checking it at the start.

include { optionalColumns; rowSchema } from './columns.nf'
include { filesOf; isCellFile; isMissing; sheetPath; stagingProblems; visible } from './paths.nf'
include { placeOf; readRows } from './sheets.nf'

/**
 * The queries as [meta, file] in the sheet's order, and what is wrong with the sheet, a sentence each.
 *
 * meta holds id, row (1 for the first query), and those of the optional columns that are filled in.
 */
def readSamplesheet(sheet) {
    def (rows, form_problems) = readRows(sheet, rowSchema('input'), 'query')
    def problems = form_problems + rows.findAll { row -> row.h5ad }.collectMany { row -> fileProblems(placeOf(sheet, row), sheetPath(sheet, row.h5ad)) }
    if (problems) {
        return [[], problems]
    }
    def queries = rows.withIndex(1).collect { row, number ->
        def given = row.subMap(optionalColumns('input')).findAll { _column, cell -> cell }
        [[id: row.sample, row: number] + given, sheetPath(sheet, row.h5ad)]
    }
    return [queries, []]
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

// The samplesheet: reading and checking it at the start, and writing it for the task that looks into the files.

include { isMissing } from './parameters.nf'

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
    def lines = sheet.text.replace('\uFEFF', '').readLines()
    // Empty lines are passed over; the numbers stay those that an editor shows.
    def records = lines.withIndex(1).findAll { text, _line -> text.trim() }.collect { text, line ->
        [line: line, cells: csvCells(text)]
    }
    if (!records) {
        return [[], ["${sheet.name} is empty: it needs a line with the columns ${requiredColumns().join(',')} and a line for each query."]]
    }
    def columns = records.first().cells
    def problems = columnProblems(sheet.name, columns)
    if (problems) {
        return [[], problems]
    }
    def rows = records.tail().collect { record ->
        [line: record.line, size: record.cells.size()] + [columns, record.cells].transpose().collectEntries()
    }
    if (!rows) {
        return [[], ["${sheet.name} names no query: add a line for each below its columns."]]
    }
    problems = rows.collectMany { row -> rowProblems(sheet, columns, row) } + duplicateProblems(sheet.name, rows)
    if (problems) {
        return [[], problems]
    }
    def queries = rows.withIndex(1).collect { row, number ->
        def given = row.subMap(optionalColumns()).findAll { _column, cell -> cell }
        [[id: row.sample, row: number] + given, queryPath(sheet, row.h5ad)]
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

/** A query's path: absolute, a URL, or relative to the sheet's own folder. */
def queryPath(sheet, text) {
    return text.contains('://') ? file(text, glob: false) : sheet.parent.resolve(text)
}

/** The cells of a line of CSV: bare, or in quotes, with quotes inside doubled. */
def csvCells(line) {
    return ",${line}".toString().findAll(/,\s*("(?:[^"]|"")*"|[^,]*)/) { match ->
        def cell = match[1].trim()
        cell.startsWith('"') ? cell[1..-2].replace('""', '"') : cell
    }
}

def columnProblems(name, columns) {
    def known = requiredColumns() + optionalColumns()
    def problems = requiredColumns().findAll { column -> !(column in columns) }.collect { column ->
        "${name} lacks the column ${column}; its first line is ${columns.join(',')}."
    }
    problems += columns.findAll { column -> !(column in known) }.collect { column ->
        "${name} has a column '${column}' that means nothing here; the columns are ${known.join(', ')}."
    }
    return problems + columns.countBy { column -> column }.findAll { _column, count -> count > 1 }.collect { column, count ->
        "${name} has the column ${column} ${count} times."
    }
}

def rowProblems(sheet, columns, row) {
    def where = "${sheet.name}, line ${row.line}"
    if (row.size != columns.size()) {
        return ["${where}: ${row.size} cells, but there are ${columns.size()} columns."]
    }
    def problems = requiredColumns().findAll { column -> !row[column] }.collect { column -> "${where}: ${column} is empty." }
    // Names become names of files and folders.
    if (row.sample && !(row.sample ==~ /[A-Za-z0-9][A-Za-z0-9._-]*/)) {
        problems += ["${where}: the sample name '${row.sample}' may hold only letters, digits, '.', '_' and '-', and begins with a letter or digit."]
    }
    return row.h5ad ? problems + fileProblems(where, queryPath(sheet, row.h5ad)) : problems
}

def fileProblems(where, path) {
    if (isMissing(path)) {
        return ["${where}: there is no file ${path.toUriString()}."]
    }
    if (path.isDirectory()) {
        def isMatrixFolder = ['matrix.mtx', 'matrix.mtx.gz'].any { name -> path.resolve(name).exists() }
        return isMatrixFolder ? [] : ["${where}: the folder ${path.toUriString()} holds no matrix.mtx or matrix.mtx.gz of 10x."]
    }
    return path.name ==~ /.*\.(h5ad|h5)/ ? [] : ["${where}: ${path.name} is neither an .h5ad or 10x .h5 file nor a 10x mtx folder."]
}

def duplicateProblems(name, rows) {
    return rows.groupBy { row -> row.sample }.findAll { sample, same -> sample && same.size() > 1 }.collect { sample, same ->
        "${name}: the sample name ${sample} is used by lines ${same.collect { row -> row.line }.join(', ')}; every query needs its own."
    }
}

// CSV sheets that a user writes, with a line of column names: reading them, and what is wrong with their form.

/**
 * The rows below the columns, and what is wrong with them, a sentence each. subject: what a row is of, as 'query'.
 *
 * A row is a map of its cells by their columns; line is its number in the file. Rows of a wrong length are left out, and all
 * of them where columns are wrong.
 */
def readRows(sheet, required, optional, subject) {
    def lines = sheet.text.replace('\uFEFF', '').readLines()
    // Empty lines are passed over; the numbers stay those that an editor shows.
    def records = lines.withIndex(1).findAll { text, _line -> text.trim() }.collect { text, line ->
        [line: line, cells: csvCells(text)]
    }
    if (!records) {
        return [[], ["${sheet.name} is empty: it needs a line with the columns ${required.join(',')} and a line for each ${subject}."]]
    }
    def columns = records.first().cells
    def problems = columnProblems(sheet.name, columns, required, optional)
    if (problems) {
        return [[], problems]
    }
    def rows = records.tail().collect { record ->
        [line: record.line, size: record.cells.size()] + [columns, record.cells].transpose().collectEntries()
    }
    if (!rows) {
        return [[], ["${sheet.name} names no ${subject}: add a line for each below its columns."]]
    }
    def whole = rows.findAll { row -> row.size == columns.size() }
    return [whole, rows.collectMany { row -> formProblems(sheet, columns, required, row) }]
}

/** Where a row stands, for a sentence about it. */
def placeOf(sheet, row) {
    return "${sheet.name}, line ${row.line}"
}

/** A path in a sheet: absolute, a URL, or relative to the sheet's own folder. */
def sheetPath(sheet, text) {
    return text.contains('://') ? file(text, glob: false) : sheet.parent.resolve(text)
}

/** A sentence for each name that several rows have in the column. */
def duplicateProblems(name, rows, column, subject) {
    return rows.groupBy { row -> row[column] }.findAll { value, same -> value && same.size() > 1 }.collect { value, same ->
        "${name}: the ${column} name ${value} is used by lines ${same.collect { row -> row.line }.join(', ')}; every ${subject} needs its own."
    }
}

/** The cells of a line of CSV: bare, or in quotes, with quotes inside doubled. */
def csvCells(line) {
    return ",${line}".toString().findAll(/,\s*("(?:[^"]|"")*"|[^,]*)/) { match ->
        def cell = match[1].trim()
        cell.startsWith('"') ? cell[1..-2].replace('""', '"') : cell
    }
}

def columnProblems(name, columns, required, optional) {
    def known = required + optional
    def problems = required.findAll { column -> !(column in columns) }.collect { column ->
        "${name} lacks the column ${column}; its first line is ${columns.join(',')}."
    }
    problems += columns.findAll { column -> !(column in known) }.collect { column ->
        "${name} has a column '${column}' that means nothing here; the columns are ${known.join(', ')}."
    }
    return problems + columns.countBy { column -> column }.findAll { _column, count -> count > 1 }.collect { column, count ->
        "${name} has the column ${column} ${count} times."
    }
}

def formProblems(sheet, columns, required, row) {
    if (row.size != columns.size()) {
        return ["${placeOf(sheet, row)}: ${row.size} cells, but there are ${columns.size()} columns."]
    }
    return required.findAll { column -> !row[column] }.collect { column -> "${placeOf(sheet, row)}: ${column} is empty." }
}

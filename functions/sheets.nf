// CSV sheets that a user writes, with a line of column names: reading them, and what is wrong with their form.

/**
 * The rows below the columns, and what is wrong with them, a sentence each. schema: of a row; subject: what a row is of, as
 * 'query'.
 *
 * A row is a map of its cells by their columns; line is its number in the file. Rows of a wrong length are left out, and all
 * of them where columns are wrong. Empty rows, and empty columns behind the last, mean nothing: spreadsheets leave them.
 */
def readRows(sheet, schema, subject) {
    def (lines, text_problems) = readLines(sheet, 'CSV UTF-8')
    if (text_problems) {
        return [[], text_problems]
    }
    // The numbers of lines are those that an editor shows.
    def records = lines.withIndex(1).collect { text, line -> [line: line, cells: csvCells(text)] }
    def unquoted = records.findAll { record -> record.cells == null }.collect { record ->
        "${placeOf(sheet, record)}: a quote (\") is not closed, or not at the end of its cell. Put the whole cell in quotes, and double those in it."
    }
    if (unquoted) {
        return [[], unquoted]
    }
    def filled = records.findAll { record -> record.cells.any() }
    if (!filled) {
        return [[], ["${sheet.name} is empty: it needs a line with the columns ${schema.required.join(',')} and a line for each ${subject}."]]
    }
    def columns = withoutEmptyEnd(filled.first().cells)
    def problems = separatorProblems(sheet.name, columns) ?: columnProblems(sheet.name, columns, schema)
    if (problems) {
        return [[], problems]
    }
    def rows = filled.tail().collect { record ->
        def surplus = record.cells.drop(columns.size())
        def cells = surplus.any() ? record.cells : record.cells.take(columns.size())
        [line: record.line, size: cells.size()] + [columns, cells].transpose().collectEntries()
    }
    if (!rows) {
        return [[], [message('no_rows', [sheet: sheet.name, subject: subject])]]
    }
    def whole = rows.findAll { row -> row.size == columns.size() }
    return [whole, rows.collectMany { row -> formProblems(sheet.name, columns, schema, row) } + duplicateProblems(sheet.name, whole, schema.required.first(), subject)]
}

/** The lines of a text file that a user wrote, and what is wrong with it, a sentence. kind: what it should be, for the sentence. */
def readLines(path, kind) {
    def bytes = path.bytes
    def text = utf8Text(bytes)
    if (text == null || text.contains('\u0000')) {
        def marks = bytes.size() > 1 ? [bytes[0] & 0xff, bytes[1] & 0xff] : []
        def found = marks in [[0xff, 0xfe], [0xfe, 0xff]] ? 'is UTF-16 text' : 'is not UTF-8 text'
        return [[], ["${path.name} ${found}. Save it as ${kind}."]]
    }
    return [text.replace('\uFEFF', '').readLines(), []]
}

/** Bytes as text; null if they are not UTF-8. */
def utf8Text(bytes) {
    try {
        return java.nio.charset.StandardCharsets.UTF_8.newDecoder().decode(java.nio.ByteBuffer.wrap(bytes)).toString()
    }
    catch (java.nio.charset.CharacterCodingException error) {
        log.debug('Not UTF-8', error)
        return null
    }
}

/** Where a row stands, for a sentence about it. */
def placeOf(sheet, row) {
    return "${sheet.name}, line ${row.line}"
}

/** A sentence for each name that several rows have in the column, or that several differ from only by capitals. */
def duplicateProblems(name, rows, column, subject) {
    def about = [sheet: name, column: column, subject: subject]
    def same = rows.groupBy { row -> row[column] }.findAll { value, found -> value && found.size() > 1 }.collect { value, found ->
        message('repeated_name', about + [value: value, lines: found.collect { row -> row.line }.join(', ')])
    }
    def alike = rows.collect { row -> row[column] }.findAll().unique(false).groupBy { value -> value.toLowerCase() }.values()
    return same + alike.findAll { values -> values.size() > 1 }.collect { values ->
        message('similar_names', about + [values: values.join(', ')])
    }
}

/** A sentence of assets/schema_input.json, its names in braces replaced by what `parts` has for them. */
def message(name, parts) {
    def text = new groovy.json.JsonSlurper().parseText(file("${moduleDir}/../assets/schema_input.json").text).messages[name]
    return text.replaceAll('\\{(\\w+)\\}') { _all, key -> parts[key].toString() }
}

/** The cells of a line of CSV: bare, or in quotes, with quotes inside doubled. null if a quote is not closed. */
def csvCells(line) {
    def found = []
    def rest = ",${line}".toString().replaceAll(/\G,\s*(?:"([^"]*+(?:""[^"]*+)*+)"\s*|([^,"][^,]*+)?)(?=,|$)/) { _all, inside, bare ->
        found.add(withoutBlanks(inside == null ? (bare ?: '') : inside.replace('""', '"')))
        ''
    }
    return rest ? null : found
}

/** Without blanks at its ends, as Python knows them, also those that do not break a line. */
def withoutBlanks(text) {
    return text.replaceAll(/^[\s\p{Z}]+|[\s\p{Z}]+$/, '')
}

def withoutEmptyEnd(cells) {
    return cells.take(cells.findLastIndexOf { cell -> cell } + 1)
}

def separatorProblems(name, columns) {
    def separators = [';': 'semicolons', '\t': 'tabs'].findAll { separator, _word -> columns.size() == 1 && columns.first().contains(separator) }
    return separators.values().take(1).collect { word -> "${name} is separated by ${word}. Save it as CSV, with commas between the cells." }
}

def columnProblems(name, columns, schema) {
    def known = schema.properties.keySet().toList()
    def problems = schema.required.findAll { column -> !(column in columns) }.collect { column ->
        message('missing_column', [sheet: name, column: column, first: columns.join(',').take(200)])
    }
    problems += columns.findAll { column -> !(column in known) }.collect { column ->
        message('unknown_column', [sheet: name, column: column.take(200), columns: known.join(', ')])
    }
    return problems + columns.countBy { column -> column }.findAll { _column, count -> count > 1 }.collect { column, count ->
        message('repeated_column', [sheet: name, column: column, count: count])
    }
}

/** What is wrong with a row: its length, a cell that is empty and may not be, one that is not as its column's pattern has it. */
def formProblems(name, columns, schema, row) {
    def about = [sheet: name, line: row.line]
    if (row.size != columns.size()) {
        return [message('wrong_length', about + [found: row.size, expected: columns.size()])]
    }
    def empty = schema.required.findAll { column -> !row[column] }.collect { column -> message('empty_cell', about + [column: column]) }
    def wrong = schema.properties.findAll { column, rule -> rule.pattern && row[column] && !(row[column] ==~ rule.pattern) }
    return empty + wrong.collect { column, rule ->
        message('wrong_value', about + [column: column, value: row[column].take(100), remedy: rule.errorMessage])
    }
}

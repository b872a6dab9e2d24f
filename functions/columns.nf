// The columns of sheets, as assets/schema_*.json have them; and writing a samplesheet for the task that looks into the files.

/** The schema of a row: `input` for a samplesheet, `references` for a sheet of references. */
def rowSchema(kind) {
    return new groovy.json.JsonSlurper().parseText(file("${moduleDir}/../assets/schema_${kind}.json").text).items
}

/** The columns that a sheet may leave out. */
def optionalColumns(kind) {
    def schema = rowSchema(kind)
    return schema.properties.keySet().toList() - schema.required
}

/** A samplesheet of queries as CSV lines, for a task whose files lie elsewhere than the user's sheet says. */
def samplesheetLines(rows) {
    def columns = rowSchema('input').properties.keySet()
    return [columns.join(',')] + rows.collect { row ->
        columns.collect { column -> "\"${(row[column] ?: '').toString().replace('"', '""')}\"" }.join(',')
    }
}

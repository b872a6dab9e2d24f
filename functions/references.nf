// The sheet of several references, and the map of labels that they write differently: reading and checking at the start.

include { rowSchema } from './columns.nf'
include { isCellFile; isMissing; pathAt; sheetPath; stagingProblems; visible } from './paths.nf'
include { placeOf; readLines; readRows } from './sheets.nf'

/** The references of the parameters as [meta, path], and what is wrong with them, a sentence each. */
def allReferences(settings) {
    if (settings.references) {
        def (references, problems) = isMissing(settings.references) ? [[], []] : readReferences(pathAt(settings.references), settings)
        def map_problems = references && settings.label_map && !isMissing(settings.label_map)
            ? labelMapProblems(pathAt(settings.label_map), references.collect { meta, _path -> meta.id })
            : []
        return [references, problems + map_problems]
    }
    if (settings.model) {
        return [[[[trained: true], pathAt(settings.model)]], []]
    }
    def keys = settings.subMap(['label_key', 'batch_key']).findAll { _name, value -> value }
    return [settings.reference ? [[keys, pathAt(settings.reference)]] : [], []]
}

/**
 * The references as [meta, path] in the sheet's order, and what is wrong with the sheet, a sentence each.
 *
 * meta: id; of a trained model `trained`, else label_key and, where it is given, batch_key. defaults: the parameters of these
 * names, for rows without a value.
 */
def readReferences(sheet, defaults) {
    def (rows, form_problems) = readRows(sheet, rowSchema('references'), 'reference')
    def problems = form_problems + rows.collectMany { row -> referenceProblems(sheet, row, defaults) }
    return problems ? [[], problems] : [rows.collect { row -> oneReference(sheet, row, defaults) }, []]
}

/** What is wrong with a TSV of the columns reference, label and common_label, a sentence each. names: of the references. */
def labelMapProblems(path, names) {
    def (text, text_problems) = readLines(path, 'tab-separated text, UTF-8')
    if (text_problems) {
        return text_problems.collect { problem -> "--label_map: ${problem}".toString() }
    }
    def lines = text.collect { line -> line.split('\t', -1).collect { cell -> unquoted(cell.trim()) } }
    if (!lines || lines.first() != ['reference', 'label', 'common_label']) {
        return ["--label_map: the first line of ${path.name} must be the column names reference, label, common_label, with tabs between them."]
    }
    return lines.withIndex(1).tail().findAll { cells, _line -> cells.any() }.collectMany { cells, line ->
        cells.size() != 3 || !cells.every()
            ? ["--label_map: line ${line} of ${path.name} does not have three tab-separated texts (reference, label, common_label)."]
            : cells[0] in names ? [] : ["--label_map: line ${line} of ${path.name} names the reference '${cells[0]}'; there are ${names.join(', ')}."]
    }
}

/** A cell without the quotes that R puts around text. */
def unquoted(cell) {
    return cell.length() > 1 && cell.startsWith('"') && cell.endsWith('"') ? cell[1..-2].replace('""', '"').trim() : cell
}

def oneReference(sheet, row, defaults) {
    if (row.model) {
        return [[id: row.reference, trained: true], sheetPath(sheet, row.model)]
    }
    def keys = ['label_key', 'batch_key'].collectEntries { key -> [key, row[key] ?: defaults[key]] }.findAll { _key, value -> value }
    return [[id: row.reference] + keys, sheetPath(sheet, row.h5ad)]
}

def referenceProblems(sheet, row, defaults) {
    def where = placeOf(sheet, row)
    def problems = []
    if (!row.h5ad == !row.model) {
        problems += ["${where}: a reference needs either h5ad (to train a model) or model (a trained one), but ${row.h5ad ? 'both are' : 'neither is'} given."]
    }
    if (row.model && (row.label_key || row.batch_key)) {
        problems += ["${where}: label_key and batch_key are of an h5ad; a trained model has its own, so leave them empty."]
    }
    if (row.h5ad && !row.model && !row.label_key && !defaults.label_key) {
        problems += ["${where}: label_key is missing, here or as --label_key: it names the column of the reference with the labels."]
    }
    return problems + pathProblems(where, sheet, row)
}

def pathProblems(where, sheet, row) {
    def path = row.h5ad || row.model ? sheetPath(sheet, row.h5ad ?: row.model) : null
    if (path == null) {
        return []
    }
    if (isMissing(path)) {
        return ["${where}: there is no ${row.h5ad ? 'file' : 'file or folder'} ${visible(path.toUriString())}."]
    }
    if (row.h5ad && (!isCellFile(path) || path.isDirectory())) {
        return ["${where}: ${path.name} is not an .h5ad file."]
    }
    return stagingProblems(where, path)
}

// Pairs of a query and a reference: what they are called, where their results go, and how each meets what belongs to it.

/** A query's meta on a reference: <sample>.<reference>. Where a run has one reference, which is unnamed, the query's own. */
def pairOf(meta, reference) {
    return reference ? meta + [id: "${meta.id}.${reference}".toString(), sample: meta.id, reference: reference] : meta
}

/** The query's name in the meta of a pair. */
def sampleOf(meta) {
    return meta.sample ?: meta.id
}

/** What a file or folder of a reference is called: <reference>.<file>, or its bare name where the reference has none. */
def named(reference, file) {
    return [reference, file].findAll().join('.')
}

/** Where a task that sees all references leaves a file about one: in a folder of its name, where it has one. */
def inFolder(reference, file) {
    return [reference, file].findAll().join('/')
}

/** The file about a reference among those that such a task left. */
def ofReference(meta, files) {
    return [files].flatten().find { path -> !meta.id || path.parent.name == meta.id }
}

/** The folder of a pair's results, below that of the run. */
def folderOf(meta) {
    return ['samples', sampleOf(meta), meta.reference].findAll().join('/')
}

/** The folder of what a run leaves about a reference, below that of the run; '' where it has no name. */
def runFolder(meta) {
    return meta.id ? "references/${meta.id}" : ''
}

/** A path as a list of it; [], which stands for none, as it is. */
def listed(path) {
    return path ? [path] : []
}

/**
 * Two channels side by side, for a process: `item` as in items, [meta, ...] of pairs, and `own`, what things has for the
 * pair's reference. things: channel of [name of a reference, anything].
 */
def withReference(items, things) {
    return sideBySide(items.map { item -> [item[0].reference ?: '', item] }, things)
}

/** The same, `own` being what things has for the pair itself. things: channel of [id of a pair, anything]. */
def withPair(items, things) {
    return sideBySide(items.map { item -> [item[0].id, item] }, things)
}

def sideBySide(items, things) {
    return items
        .combine(things, by: 0)
        .multiMap { _key, item, thing ->
            item: item
            own: thing
        }
}

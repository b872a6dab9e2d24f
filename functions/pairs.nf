// Pairs of a query and a reference: what they are called, and how each meets what belongs to its reference.

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

/** The folder of a pair's results, below that of the run. */
def folderOf(meta) {
    return ['samples', sampleOf(meta), meta.reference].findAll().join('/')
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

// Everything that can be wrong with the inputs, before anything is computed.

include { ofReference } from '../functions/pairs.nf'
include { stateOf } from '../functions/paths.nf'

include { CHECK_INPUTS } from '../modules/check_inputs/main.nf'

workflow CHECK {
    take:
    queries // channel of [meta, file]
    references // list of [meta, path]
    gene_map // path
    gene_sets // list of paths
    ontology_map // path
    settings // map

    main:
    // Channels may come in any order; the tasks that see all queries must not, or they would never be resumed.
    ordered = queries.toSortedList { a, b -> (a[0].row ?: 0) <=> (b[0].row ?: 0) ?: a[0].id <=> b[0].id }
    CHECK_INPUTS(
        ordered.map { rows -> rows.collect { meta, query -> [sample: meta.id, h5ad: query.toUriString()] + meta } },
        ordered.map { rows -> rows.collect { _meta, query -> query } },
        references.collect { meta, path -> meta + [path: path.toUriString(), files: meta.trained ? stateOf(path) : null] },
        // A folder that was published as a link is mounted in containers where it really is.
        references.collect { meta, path -> meta.trained ? path.toRealPath() : path },
        gene_map,
        gene_sets,
        ontology_map,
        settings.subMap(['input', 'label_levels', 'counts_layer', 'gene_column', 'n_genes', 'min_coverage', 'contrast']),
    )
    inputs = CHECK_INPUTS.out.inputs.flatMap { found ->
        references.collect { meta, _path -> [meta.id ?: '', ofReference(meta, found)] }
    }
    query_genes = CHECK_INPUTS.out.query_genes.flatMap { found ->
        references.collect { meta, _path -> [meta, ofReference(meta, found)] }
    }
    // Drop the row number: it must not enter task hashes, or adding a row would rerun the rows below.
    samples = queries.map { meta, query -> [meta.findAll { key, _value -> key != 'row' }, query] }
    versions = CHECK_INPUTS.out.versions

    emit:
    inputs // [name of a reference or '', path of a JSON file]
    query_genes // [meta of a reference, path]: the genes that queries have
    samples // [meta, file]
    ordered // list of all queries, in the sheet's order
    versions
}

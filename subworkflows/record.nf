// Checksums of results and of what they were made from, for the records of provenance.

include { listed; named; withPair } from '../functions/pairs.nf'
include { filesOf } from '../functions/paths.nf'

include { CHECKSUMS as CHECKSUMS_CONSENSUS } from '../modules/checksums/main.nf'
include { CHECKSUMS as CHECKSUMS_MODEL } from '../modules/checksums/main.nf'
include { CHECKSUMS as CHECKSUMS_SAMPLE } from '../modules/checksums/main.nf'

workflow RECORD {
    take:
    pairs // channel of [meta, file of the query]
    results // channel of [meta, paths, ...]: what is published of a pair
    models // channel of [id of a pair, paths]
    trained // channel of [meta, file of the reference, folder of the model that was trained on it]
    agreed // channel of [meta of a query, tables of labels, files of its consensus]
    gene_map // path
    gene_sets // list of paths
    label_map // path
    ontology_map // path

    main:
    own = withPair(pairs.join(results), models)
    CHECKSUMS_SAMPLE(
        own.item.map { found -> [found[0].id, [found[1]] + listed(gene_map) + gene_sets + listed(ontology_map), found.drop(2).flatten()] },
        own.own,
    )
    CHECKSUMS_MODEL(
        trained.map { meta, reference, folder -> [named(meta.id, 'model'), [reference] + listed(gene_map), filesOf(folder)] },
        trained.map { _meta, _reference, folder -> filesOf(folder) },
    )
    CHECKSUMS_CONSENSUS(
        agreed.map { meta, tables, files -> ["${meta.id}.consensus".toString(), tables + listed(label_map), files] },
        [],
    )
    versions = CHECKSUMS_SAMPLE.out.versions.mix(CHECKSUMS_MODEL.out.versions, CHECKSUMS_CONSENSUS.out.versions)
    checksums = CHECKSUMS_SAMPLE.out.checksums
        .map { name, path -> ['pair', name, path] }
        .mix(CHECKSUMS_MODEL.out.checksums.map { name, path -> ['model', name, path] })
        .mix(CHECKSUMS_CONSENSUS.out.checksums.map { name, path -> ['consensus', name, path] })

    emit:
    checksums // [kind, name, path]: pair and its id, model and [<reference>.]model, consensus and <sample>.consensus
    versions
}

// Labels held against the true ones, and those of several references against each other.

include { sampleOf; withPair } from '../functions/pairs.nf'

include { CONSENSUS } from '../modules/consensus/main.nf'
include { EVALUATE } from '../modules/evaluate/main.nf'

workflow COMPARE {
    take:
    mapped // channel of [meta, path]
    models // channel of [id of a pair, paths]
    labels // channel of [meta, path]
    references // list of [meta, path]
    label_map // path

    main:
    known = withPair(mapped.filter { meta, _query -> meta.truth_key }, models)
    EVALUATE(known.item, known.own)

    names = references.collect { meta, _path -> meta.id }
    votes = labels
        .filter { _meta, _table -> names.size() > 1 }
        .map { meta, table -> [groupKey(sampleOf(meta), names.size()), [meta.reference, table]] }
        .groupTuple()
        .map { sample, found -> [[id: sample.toString()], found.sort { vote -> names.indexOf(vote[0]) }] }
    CONSENSUS(votes.map { meta, found -> [meta, names, found.collect { _name, table -> table }] }, label_map)
    metrics = EVALUATE.out.metrics
    consensus = CONSENSUS.out.consensus
    consensus_summaries = CONSENSUS.out.summary
    multiqc = CONSENSUS.out.multiqc
    agreed = votes
        .join(consensus)
        .join(consensus_summaries)
        .map { meta, found, table, counts -> [meta, found.collect { _name, own -> own }, [table, counts]] }
    versions = EVALUATE.out.versions.mix(CONSENSUS.out.versions)

    emit:
    metrics // [meta, path]
    consensus // [meta of a query, path]
    consensus_summaries // [meta of a query, path]
    multiqc // paths
    agreed // [meta of a query, tables of labels, files made of them]
    versions
}

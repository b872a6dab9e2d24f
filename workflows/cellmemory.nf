// The whole of it, for other pipelines to include (tests/including shows how). Nothing here or below reads params.

include { CHECK } from '../subworkflows/check.nf'
include { CLUSTER_QUERIES } from '../subworkflows/cluster_queries.nf'
include { COMPARE } from '../subworkflows/compare.nf'
include { EXPLAIN } from '../subworkflows/explain.nf'
include { GIVE_BACK } from '../subworkflows/give_back.nf'
include { MAP_QUERIES } from '../subworkflows/map_queries.nf'
include { RECORD } from '../subworkflows/record.nf'
include { TRAIN_REFERENCES } from '../subworkflows/train_references.nf'
include { WRITE_REPORTS } from '../subworkflows/write_reports.nf'

/** Inputs that are not used are []. settings are named like the parameters; what is left out takes the scripts' defaults. */
workflow CELLMEMORY {
    take:
    queries // channel of [meta, file]; meta: id, and of the samplesheet's columns what is known; row orders the run's report
    references // list of [meta, path]: an h5ad that a model is trained on, or with meta.trained a trained model, its folder or archive.
    // meta: label_key, batch_key; and id where there are several references, whose results are then named <sample>.<reference>
    gene_map // path
    gene_sets // list of paths: GMT files to test the genes for
    label_map // path: labels that several references write differently
    ontology_map // path: terms of labels in the Cell Ontology
    settings // map

    main:
    // Each names what it emits, in its order.
    (inputs, query_genes, samples, ordered, v1) = CHECK(queries, references, gene_map, gene_sets, ontology_map, settings)
    (trained, models, panels, made, v2) = TRAIN_REFERENCES(references, query_genes, settings)
    (alignment, mapped, labels, pairs, own_models, v3) = MAP_QUERIES(samples, references, panels, models, gene_map, settings)
    (cell_clusters, clustered, v4) = CLUSTER_QUERIES(mapped, own_models, gene_sets, settings)
    (tags, slot_tags, contrasts, faithfulness, enrichment, profiles, v5) = EXPLAIN(
        mapped, cell_clusters, own_models, alignment, panels, gene_sets, settings
    )
    (metrics, consensus, consensus_summaries, agreements, agreed, v6) = COMPARE(mapped, own_models, labels, references, label_map)
    (annotated, v7) = GIVE_BACK(pairs, mapped, cell_clusters, ontology_map, settings)
    details = alignment.mix(tags, slot_tags, contrasts, faithfulness, enrichment, clustered, metrics)
    (sample_reports, report, figures, pages, v8) = WRITE_REPORTS(
        ordered, mapped, details, models, inputs, consensus_summaries, gene_sets, settings
    )
    results = pages.join(labels).join(profiles).join(annotated)
    (checksums, v9) = RECORD(pairs, results, own_models, made, agreed, gene_map, gene_sets, label_map, ontology_map)
    multiqc = figures.mix(agreements)
    versions = v1.mix(v2, v3, v4, v5, v6, v7, v8, v9)

    emit:
    inputs // [name of a reference or '', path]: what was found in the inputs
    trained // [meta of the reference, path of the model's folder]
    alignment // [meta, path], as all that follow; of several references' pairs, with meta.reference
    mapped
    labels
    annotated // the query's own file, with the labels in it; [] where settings.annotated is false
    tags
    slot_tags
    contrasts
    faithfulness
    enrichment
    clustered // three files a pair: cells, clusters and their markers
    metrics
    consensus // of several references: [meta, path of a CSV file] of a query, and the same of its summary as JSON
    consensus_summaries
    sample_reports // [meta, path], one a pair
    report // [meta, path], one a reference; meta.id: its name or ''
    multiqc // paths
    checksums // [kind, name, path of a JSON file]: of the files of each pair, model and consensus, and of what they were made from
    versions // path of a versions.yml, one a task
}

#!/usr/bin/env nextflow

// Another pipeline that includes CELLMEMORY: here, after a step of its own that makes the queries.

include { CELLMEMORY } from '../../workflows/cellmemory.nf'

process MAKE_QUERY {
    tag "${meta.id}"

    input:
    tuple val(meta), path(cells)

    output:
    tuple val(meta), path("${meta.id}.h5ad")

    script:
    """
    cp ${cells} ${meta.id}.h5ad
    """

    stub:
    """
    touch ${meta.id}.h5ad
    """
}

workflow {
    donors = channel.of(
        [[id: 'donor_1', truth_key: 'author_label'], file(params.donor_1, checkIfExists: true)],
        [[id: 'donor_2'], file(params.donor_2, checkIfExists: true)],
    )
    MAKE_QUERY(donors)
    CELLMEMORY(
        MAKE_QUERY.out,
        [[[label_key: params.label_key], file(params.reference, checkIfExists: true)]],
        [],
        [],
        [],
        [],
        [max_epochs: 1],
    )
    CELLMEMORY.out.labels.view { meta, labels -> "${meta.id} has its labels in ${labels.name}" }
}

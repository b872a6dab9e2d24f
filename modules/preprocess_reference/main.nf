include { calledByOrigin; commandLine } from '../../functions/command_line.nf'

// Chooses the gene panel, and writes the reference over it.
process PREPROCESS_REFERENCE {
    tag "${meta.id ?: 'reference'}"
    label 'process_single'
    conda "${moduleDir}/../environment.yml"
    ext code: ['errors', 'log', 'io', 'cells', 'genes'], meta: { meta }

    input:
    tuple val(meta), path(reference, stageAs: 'input/*'), path(query_genes)
    val options

    output:
    tuple val(meta), path('reference.h5ad'), path('panel.tsv'), emit: prepared
    tuple val(meta), path('panel.tsv'), emit: panel
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    export TMPDIR="\$PWD" # for values that are stored by genes, and have to be put in order
    preprocess_reference.py \\
        ${commandLine([reference: reference, query_genes: query_genes])} \\
        ${calledByOrigin(reference)} \\
        ${commandLine(meta.subMap('label_key', 'batch_key') + options)} \\
        --output reference.h5ad \\
        --panel panel.tsv
    versions.py "${task.process}" anndata scikit-misc scipy > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch reference.h5ad panel.tsv versions.yml
    """
}

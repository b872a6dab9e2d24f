include { commandLine } from '../../functions/command_line.nf'

// Chooses the gene panel, and writes the reference over it.
process PREPROCESS_REFERENCE {
    label 'process_medium'
    conda "${moduleDir}/../environment.yml"
    memory { (6.GB + 8.B * reference.size()) * task.attempt }

    input:
    path reference, stageAs: 'input/*'
    path query_genes
    val options

    output:
    path 'reference.h5ad', emit: reference
    path 'panel.tsv', emit: panel
    path 'versions.yml', emit: versions, topic: versions

    script:
    """
    # code ${task.ext.code_digest}
    preprocess_reference.py \\
        --reference ${reference} \\
        ${query_genes ? "--query_genes ${query_genes}" : ''} \\
        ${commandLine(options)} \\
        --output reference.h5ad \\
        --panel panel.tsv
    versions.py "${task.process}" anndata scanpy scikit-misc scipy > versions.yml
    """

    stub:
    """
    # code ${task.ext.code_digest}
    touch reference.h5ad panel.tsv versions.yml
    """
}

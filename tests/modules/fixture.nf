// What the real tests of modules start from: a small model and a query mapped by it, made once for the code as it is.
process FIXTURE {
    storeDir { "${moduleDir}/../../.nf-test/fixture/${task.ext.code_digest}" }
    ext code: ['errors', 'log', 'sampling', 'exact', 'columns', 'io', 'cells', 'genes', 'network', 'reference', 'training', 'mapping']

    input:
    path reference
    path query

    output:
    path 'reference.h5ad', emit: reference // over the panel
    path 'panel.tsv', emit: panel
    path 'model', emit: model
    path 'model.zip', emit: archive
    path 'q.aligned.h5ad', emit: aligned
    path 'q.alignment.json', emit: alignment
    path 'q.mapped.h5ad', emit: mapped
    path 'q.*.slice.h5ad', emit: slices
    path 'inputs.json', emit: inputs

    script:
    """
    # code ${task.ext.code_digest}
    mkdir given && mv ${reference} given/ && mv ${query} given/
    printf 'sample,h5ad\\nq,given/${query}\\n' > sheet.csv
    check_inputs.py --samplesheet sheet.csv --reference given/${reference} --label_key cell_type --output inputs.json --query_genes genes.tsv
    preprocess_reference.py --reference given/${reference} --label_key cell_type --n_genes 200 --output reference.h5ad --panel panel.tsv
    train.py --reference reference.h5ad --panel panel.tsv --label_key cell_type --max_epochs 1 --threads 1 --output model
    copy_model.py --model model --output model.zip
    preprocess_query.py --query given/${query} --sample q --panel panel.tsv --truth_key author_label \\
        --output q.aligned.h5ad --alignment q.alignment.json
    map_query.py --query q.aligned.h5ad --model model --threads 1 --output q.mapped.h5ad --labels q.labels.csv
    map_query.py --query q.aligned.h5ad --model model --threads 1 --cells 0:100 --output q.0-100.slice.h5ad
    map_query.py --query q.aligned.h5ad --model model --threads 1 --cells 100:195 --output q.100-195.slice.h5ad
    """
}

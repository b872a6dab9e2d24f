// What the pages of the report are made of.

include { sampleOf } from './pairs.nf'

/** How many files there are about a pair, beside the mapped one: its page waits for these, and for nothing of another pair. */
def detailCount(meta, gene_sets, settings) {
    def contrasted = settings.contrast || (settings.contrast_with && settings.contrast_with != sampleOf(meta))
    def attended = settings.attention == false
        ? 0
        : 2 + [gene_sets || settings.enrichr, contrasted, settings.faithfulness != false].count { given -> given }
    return 1 + attended + (settings.clusters == false ? 0 : 3) + (meta.truth_key ? 1 : 0)
}

/** What a page says of where it comes from. No dates or run names: the same run again must be resumed, not repeated. */
def pageFacts(settings) {
    def given = settings.findAll { name, value -> value != null && !(name in ['help', 'version', 'outdir', 'publish_dir_mode', 'queue', 'checkpoint_dir']) }
    def about = [
        pipeline: workflow.manifest.name,
        version: workflow.manifest.version,
        revision: workflow.commitId,
        nextflow: workflow.nextflow.version.toString(),
        parameters: given,
    ]
    return groovy.json.JsonOutput.toJson(about.findAll { _name, value -> value != null })
}

/**
 * A sentence, where a page lacks figures or tables: -resume asks for one of each, whatever is left of them. Raised by the
 * workflow: an error of an included function would reach the user as an InvocationTargetException.
 */
def gapsOf(figures, tables, n_files) {
    def drawn = [figures].flatten()
    def missing = n_files.toInteger() - drawn.size() - [tables].flatten().size()
    return missing
        ? "${drawn.first().parent.parent.toUriString()}: ${missing} of ${n_files} figures and tables are gone. Delete this folder, and run the same command with -resume."
        : ''
}

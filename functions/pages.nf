// What the pages of the report are made of.

include { folderOf; runFolder; sampleOf } from './pairs.nf'

/** How many files there are about a pair, beside the mapped one: its page waits for these, and for nothing of another pair. */
def detailCount(meta, gene_sets, settings) {
    def contrasted = settings.contrast || (settings.contrast_with && settings.contrast_with != sampleOf(meta))
    def attended = settings.attention == false
        ? 0
        : 2 + [gene_sets || settings.enrichr, contrasted, settings.faithfulness != false].count { given -> given }
    return 1 + attended + (settings.clusters == false ? 0 : 3) + (meta.truth_key ? 1 : 0)
}

/**
 * What a page says of where it comes from. No names and no places of a run: the same run again must be resumed, not repeated.
 *
 * links: where the page leads, by words.
 */
def pageFacts(settings, links) {
    def given = settings.findAll { name, value -> value != null && !(name in ['help', 'version', 'outdir', 'publish_dir_mode', 'queue', 'checkpoint_dir']) }
    def about = [
        pipeline: workflow.manifest.name,
        version: workflow.manifest.version,
        revision: workflow.commitId,
        nextflow: workflow.nextflow.version.toString(),
        command: sameCommand(workflow.commandLine),
        parameters: given,
        links: links,
    ]
    return groovy.json.JsonOutput.toJson(about.findAll { _name, value -> value != null })
}

/** The command without what may differ when the same run is resumed: -resume, the name of the run, its folders, its log. */
def sameCommand(line) {
    return line
        .replaceAll(/ -resume( [0-9a-f-]{36}| [a-z]+_[a-z]+)?(?= |\z)/, '')
        .replaceAll(/ (-w|-work-dir|-name|-ansi-log|--outdir)[ =]('[^']*'|"[^"]*"|(\\.|[^ \\])+)/, '')
}

/** From the page of a pair to that of the run, and to what else there is about the pair. */
def linksOfPair(meta, mapped, details, settings) {
    def up = folderOf(meta).tokenize('/').collect { _folder -> '..' }
    def run = (up + [runFolder([id: meta.reference]), 'report.html']).findAll().join('/')
    def own = (settings.annotated == false ? [] : ['annotated.h5ad']) + ['labels.csv']
    def files = own.collect { suffix -> "${meta.id}.${suffix}".toString() } + ([mapped] + details).collect { path -> path.name }
    return ['All samples': run] + files.collectEntries { name -> [name, name] }
}

/** From the page of a run on a reference to those of its queries; metas: of the pairs, in the order of the page. */
def linksOfRun(reference, metas) {
    def up = reference ? ['..', '..'] : []
    return metas.collectEntries { meta -> [sampleOf(meta), (up + [folderOf(meta), "${meta.id}.report.html"]).join('/')] }
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

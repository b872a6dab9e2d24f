// The parameters of a run, read by their schema: in its types, and what is wrong with them.

include { parameterDefinitions } from './parameter_schema.nf'
include { isMissing; nameProblems; pathAt; stagingProblems; visible } from './paths.nf'

/** The parameters as the schema types them (unset: null), and what is wrong with them, a sentence each. */
def readParameters(given) {
    def definitions = parameterDefinitions()
    def values = definitions.collectEntries { name, definition -> [name, typed(definition, given[name])] }
    def problems = unknownParameters(given.keySet(), definitions.keySet())
    problems += definitions.collectMany { name, definition -> valueProblems(name, definition, given[name], values[name]) }
    return [values, problems + combinationProblems(values)]
}

/** The value in the schema's type; null if it is unset, or is not of that type. */
def typed(definition, value) {
    def type = definition.type
    def text = value == null ? '' : value.toString().trim()
    if (text == '') {
        return null
    }
    if (type == 'boolean') {
        return text in ['true', 'false'] ? text == 'true' : null
    }
    if (type == 'integer') {
        return text ==~ /[+-]?\d{1,18}/ ? text.toLong() : null
    }
    if (type == 'number') {
        return text.isBigDecimal() ? text.toBigDecimal() : null
    }
    // `--label_key` with its value forgotten arrives as true, and so does `--adapt`, which means it.
    return value == true && !('true' in definition['enum']) ? null : text
}

def unknownParameters(given, known) {
    // Nextflow adds a camelCase twin to every name with a hyphen: one of the two is enough to complain about.
    def twins = given.findAll { name -> name.contains('-') }.collect { name -> name.replaceAll(/-(.)/) { match -> match[1].toUpperCase() } }
    return (given - known - twins).collect { name ->
        def nearest = known.toList().closest(name.replace('-', '_'))
        "There is no parameter --${name}${nearest ? ": did you mean --${nearest.first()}?" : '; --help lists all.'}"
    }
}

def valueProblems(name, definition, given, value) {
    if (value == null) {
        if (given == null || given.toString().trim() == '') {
            return definition.required ? ["--${name} is missing. ${definition.description}"] : []
        }
        def needed = [boolean: 'true or false', integer: 'a whole number', number: 'a number', string: 'a value'][definition.type]
        return ["--${name} needs ${needed}, but is '${given}'."]
    }
    if (definition.type == 'string' && value.find('\\p{Cntrl}')) {
        return ["--${name} is '${visible(value)}', but must be text without line breaks or other control characters."]
    }
    if (definition.pattern && !(value ==~ definition.pattern)) {
        return ["--${name} is '${value}', but must be without blanks, quotes and characters that the shell takes for its own."]
    }
    if (definition['enum'] && !(value in definition['enum'])) {
        return ["--${name} is '${value}', but must be one of ${definition['enum'].join(', ')}."]
    }
    if (definition.type in ['integer', 'number'] && !isWithin(value, definition)) {
        return ["--${name} is ${value}, but must be ${limits(definition)}."]
    }
    return definition.format && !(name in ['outdir', 'checkpoint_dir']) ? pathProblems(name, value, definition.format) : []
}

/** What is wrong with a path that must exist: as a file (file-path), a folder (directory-path), or either (path). */
def pathProblems(name, path, format) {
    def kind = ['file-path': 'file', 'directory-path': 'folder', 'path': 'file or folder'][format]
    if (isMissing(path)) {
        return ["--${name}: there is no ${kind} ${path}."]
    }
    def found = pathAt(path).isDirectory() ? 'folder' : 'file'
    if (format != 'path' && found != kind) {
        return ["--${name}: ${path} is a ${found}, but must be a ${kind}."]
    }
    return stagingProblems("--${name}", pathAt(path))
}

def isWithin(value, definition) {
    return (definition.minimum == null || value >= definition.minimum)
        && (definition.maximum == null || value <= definition.maximum)
        && (definition.exclusiveMinimum == null || value > definition.exclusiveMinimum)
        && (definition.exclusiveMaximum == null || value < definition.exclusiveMaximum)
}

def limits(definition) {
    def words = [minimum: 'at least', maximum: 'at most', exclusiveMinimum: 'more than', exclusiveMaximum: 'less than']
    return words.findAll { key, _text -> definition[key] != null }.collect { key, text -> "${text} ${definition[key]}" }.join(' and ')
}

def combinationProblems(values) {
    def problems = []
    if (values.reference && values.model) {
        problems += ['--reference and --model exclude each other: a model is trained from the one, or the other is used as it is.']
    }
    if (values.references && (values.reference || values.model)) {
        problems += ['--references excludes --reference and --model: name all references in its sheet.']
    }
    if (!values.reference && !values.model && !values.references) {
        problems += ['Neither --reference (to train a model) nor --model (to use a trained one) nor --references (for several) is given: give one of them.']
    }
    if (values.label_map && !values.references) {
        problems += ['--label_map is about labels of several references, but there is no --references.']
    }
    if (values.reference && !values.label_key) {
        problems += ['--label_key is missing: it names the column of the reference with the labels.']
    }
    def finest = values.label_levels?.toString()?.split(',', -1)?.last()?.trim()
    if (values.reference && values.label_key && finest != null && finest != values.label_key.toString()) {
        problems += ["--label_levels '${values.label_levels}' ends with '${finest}', but the labels to train on (--label_key) are '${values.label_key}': put the finest level last."]
    }
    if (values.checkpoint_dir?.contains('://')) {
        problems += ["--checkpoint_dir: ${values.checkpoint_dir} is not a folder of a file system, but a training writes to it as it goes."]
    }
    else if (values.checkpoint_dir && workflow.containerEngine && !values.checkpoint_dir.startsWith('/')) {
        problems += ["--checkpoint_dir: ${values.checkpoint_dir} is a relative path, which means nothing in a container; give an absolute one."]
    }
    else if (values.checkpoint_dir && workflow.containerEngine && values.checkpoint_dir.find(/[':,]/)) {
        problems += ["--checkpoint_dir: ${values.checkpoint_dir} holds a quote, colon or comma, so that it cannot be mounted in a container; use another folder."]
    }
    problems += values.checkpoint_dir && !values.checkpoint_dir.contains('://') ? nameProblems('--checkpoint_dir', pathAt(values.checkpoint_dir)) : []
    def sets = geneSetPaths(values.gmt)
    problems += sets.collectMany { path -> pathProblems('gmt', path, 'file-path') }
    problems += sets.countBy { path -> pathAt(path).name }.findAll { _name, count -> count > 1 }.collect { name, _count ->
        "--gmt: two files have the name ${name}; their sets would be mixed up in the results, so rename one."
    }
    return problems
}

/** The paths of `--gmt a.gmt,b.gmt`. */
def geneSetPaths(text) {
    return text ? text.tokenize(',').collect { path -> path.trim() }.findAll() : []
}

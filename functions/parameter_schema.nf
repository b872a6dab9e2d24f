// nextflow_schema.json: which parameters there are, of what type and within which limits.

/** Each parameter's definition by its name; required: whether it is. */
def parameterDefinitions() {
    return schema()['$defs'].values().inject([:]) { all, group ->
        all + group.properties.collectEntries { name, definition ->
            [name, definition + [required: name in (group.required ?: [])]]
        }
    }
}

/** What `--help` shows. */
def helpText(manifest) {
    def groups = schema()['$defs'].values().findResults { group ->
        def lines = group.properties.findAll { _name, definition -> !definition.hidden }.collect { name, definition -> helpLine(name, definition) }
        lines ? "${group.title}\n${lines.join('\n')}" : null
    }
    return """\
        |${manifest.name} ${manifest.version}: ${manifest.description}.
        |
        |    nextflow run ${manifest.name} -profile docker --reference atlas.h5ad --label_key cell_type --input samplesheet.csv
        |    nextflow run ${manifest.name} -profile docker --model results/model --input samplesheet.csv
        |
        |${groups.join('\n\n')}
        |""".stripMargin()
}

/** Whether a flag was given; it may be a string, which Groovy takes for true whatever it says. */
def isTrue(value) {
    return value.toString() == 'true'
}

def schema() {
    return new groovy.json.JsonSlurper().parseText(file("${moduleDir}/../nextflow_schema.json").text)
}

def helpLine(name, definition) {
    def about = definition['enum'] ? definition['enum'].join('|') : definition.type
    def fallback = definition.default == null || definition.type == 'boolean' ? '' : " [default: ${definition.default}]"
    return "  ${"--${name} ${about}".padRight(32)} ${definition.description}${fallback}"
}

// From settings to the command line of a script.

/** `--name 'value'` of each setting that is set; true and false become --name and --no_name. */
def commandLine(settings) {
    return settings.findAll { _name, value -> value != null && value != '' }.collect { name, value -> option(name, value) }.join(' ')
}

/** The option once for each of the values, as they stand: `--gmt a.gmt --gmt b.gmt`. */
def repeated(name, values) {
    return values.collect { value -> "--${name} ${value}" }.join(' ')
}

/** The option once for each part of a text with commas: `--contrast 'a:x:y' --contrast 'b:x:y'`. */
def eachOf(name, text) {
    return repeated(name, (text ?: '').tokenize(',').collect { part -> quoted(part.trim()) })
}

/** A text as one word for the shell, whatever it holds. */
def quoted(text) {
    return "'${text.toString().replace("'", "'\\''")}'"
}

def option(name, value) {
    if (value instanceof Boolean) {
        return value ? "--${name}" : "--no_${name}"
    }
    return "--${name} ${quoted(value)}"
}

// From settings and paths to the command line of a script: whatever comes from outside is quoted for the shell here.

/** `--name 'value'` of each setting that is set; true and false become --name and --no_name. [] is a path that is not given. */
def commandLine(settings) {
    return settings.findAll { _name, value -> isSet(value) }.collect { name, value -> option(name, value) }.join(' ')
}

/** The option once for each of the values: `--gmt 'a.gmt' --gmt 'b.gmt'`. */
def repeated(name, values) {
    return values.collect { value -> option(name, value) }.join(' ')
}

/** The option once for each part of a text with commas: `--contrast 'a:x:y' --contrast 'b:x:y'`. */
def eachOf(name, text) {
    return repeated(name, (text ?: '').tokenize(',').collect { part -> part.trim() })
}

/** For errors to name a file, or each of several, as the user does, and not by where it was staged. */
def called(staged, own) {
    return "--called ${quoted(staged)} ${quoted(own)}"
}

/** The same by the paths that the files were staged from. */
def calledByOrigin(staged) {
    return [staged].flatten().collect { path -> [path, originOf(path)] }.findAll { _path, own -> own }.collect { path, own -> called(path, own) }.join(' ')
}

/** A text or path as one word for the shell, whatever it holds. */
def quoted(text) {
    return "'${text.toString().replace("'", "'\\''")}'"
}

/** Several as one word each. */
def quotedAll(texts) {
    return texts.collect { text -> quoted(text) }.join(' ')
}

def option(name, value) {
    if (value instanceof Boolean) {
        return value ? "--${name}" : "--no_${name}"
    }
    return "--${name} ${quoted(value)}"
}

def isSet(value) {
    return value != null && !(value instanceof CharSequence && value.length() == 0) && !(value instanceof Collection && value.isEmpty())
}

/** Where a staged file is really; null where its storage cannot say. */
def originOf(path) {
    try {
        return path.toRealPath().toUriString()
    }
    catch (Exception error) {
        log.debug("Cannot follow ${path}", error)
        return null
    }
}

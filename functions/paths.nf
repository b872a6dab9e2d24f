// The user's paths: read as they are written, and held to what Nextflow's own commands can take.

/** A path as it is written: a `*` or a bracket in it is part of the name. */
def pathAt(text) {
    return file(text, glob: false)
}

/** Whether a file or folder is not there, or cannot be reached. */
def isMissing(path) {
    try {
        return !pathAt(path).exists()
    }
    catch (Exception error) {
        log.debug("Cannot reach ${path}", error)
        return true
    }
}

/** The visible files of a folder, by name; none if it is not there. */
def filesOf(folder) {
    return (folder.listFiles() ?: []).findAll { path -> path.isFile() && !path.name.startsWith('.') }.sort { path -> path.name }
}

/** What changes with the files of a model's folder, where the folder itself is what a task takes. */
def stateOf(folder) {
    return filesOf(folder).collect { path -> [path.name, path.size(), path.lastModified()] }
}

/** A path in a sheet: absolute, a URL, or relative to the sheet's own folder. */
def sheetPath(sheet, text) {
    return text.contains('://') ? pathAt(text) : sheet.parent.resolve(text)
}

/** Whether a file's name says that it holds cells: which kind it is, its content decides. */
def isCellFile(path) {
    return path.name.toLowerCase() ==~ /.*\.(h5ad|h5|hdf5)/
}

/** What keeps a path from being a task's input, a sentence each, `where` first. A folder's files are looked at as well. */
def stagingProblems(where, path) {
    return ([path] + (path.isDirectory() ? filesOf(path) : [])).collectMany { each -> nameProblems(where, each) }
}

/**
 * A sentence, if the path of a task's input, or where it leads as a link, holds what the shell would take for its own.
 *
 * The commands by which Nextflow stages a file are its own. They escape blanks, quotes and parentheses, but neither `$` nor
 * patterns nor control characters: `q$HOME.h5ad` would be another file, `q[1].h5ad` would be q1.h5ad where there is one, and a
 * line break would begin another command.
 */
def nameProblems(where, path) {
    def forbidden = '[$*?\\[\\]{}\\p{Cntrl}]'
    def found = ([path.toUriString()] + linkTarget(path)).find { text -> text.find(forbidden) }
    return found ? ["${where}: the path ${visible(found)} holds ${offence(found, forbidden)}. Rename the file or folder."] : []
}

/** The same of a folder that tasks work in, or that they have their scripts from, which stands in other commands. */
def folderProblems(subject, path, forbidden) {
    def text = path.toUriString()
    return text.find(forbidden) ? ["${subject} ${visible(text)} holds ${offence(text, forbidden)}. Use another folder."] : []
}

/** A text with what cannot be seen written out: a line break as \x0a. */
def visible(text) {
    return text.toString().replaceAll('\\p{Cntrl}') { character -> String.format('\\x%02x', character.codePointAt(0)) }
}

def offence(text, forbidden) {
    return "the character ${visible(text.find(forbidden))}, which Nextflow cannot hand to the shell"
}

def linkTarget(path) {
    try {
        return [path.toRealPath().toUriString()]
    }
    catch (Exception error) {
        log.debug("Cannot follow ${path}", error)
        return []
    }
}

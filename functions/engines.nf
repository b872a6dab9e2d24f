// What conda or an engine of containers needs on this machine: asked before the run starts.

/**
 * What is missing for the engine that `config` enables, a sentence each.
 *
 * reaches: whether a command is on the PATH; succeeds: whether a command with its arguments ends with status 0.
 */
def engineProblems(config, settings, work_folder, environment, reaches, succeeds) {
    def executor = config.process?.executor ?: 'local'
    if (!(executor in ['local', 'slurm', 'lsf', 'sge'])) {
        return []
    }
    if (config.conda?.enabled) {
        def command = config.conda.useMicromamba ? 'micromamba' : config.conda.useMamba ? 'mamba' : 'conda'
        return reaches.call(command) ? [] : [noCommand(command, 'conda')]
    }
    def engine = ['docker', 'podman', 'singularity', 'apptainer', 'charliecloud'].find { name -> config[name]?.enabled }
    if (engine in ['docker', 'podman']) {
        // On a cluster the images are those of its nodes.
        return executor == 'local' ? daemonProblems(engine, config, settings, reaches, succeeds) : []
    }
    if (engine in ['singularity', 'apptainer']) {
        return imageFileProblems(engine, executor, config, settings, work_folder, environment, reaches)
    }
    return engine && executor == 'local' && !reaches.call('ch-run') ? [noCommand('ch-run', 'charliecloud')] : []
}

def noCommand(command, profile) {
    return "There is no ${command} on the PATH: install it, or leave out -profile ${profile}. Without a profile the run takes the environment that 'make setup' makes.".toString()
}

def daemonProblems(engine, config, settings, reaches, succeeds) {
    if (!reaches.call(engine)) {
        return [noCommand(engine, engine)]
    }
    if (!succeeds.call([engine, 'info'])) {
        return ["${engine} does not answer: '${engine} info' fails. Start it, and see that you may use it.".toString()]
    }
    return ownImages(config, settings)
        .findAll { image -> !succeeds.call([engine, 'image', 'inspect', image]) }
        .collect { image -> "${engine} has no image ${image}: build it by 'make images' in the pipeline's folder, or name the --registry that has it.".toString() }
}

/** Nextflow makes the files of images here, also for the nodes of a cluster. */
def imageFileProblems(engine, executor, config, settings, work_folder, environment, reaches) {
    if (config.process?.container instanceof CharSequence) {
        return executor != 'local' || reaches.call(engine) ? [] : [noCommand(engine, engine)]
    }
    def name = engine.toUpperCase()
    def folders = [
        config[engine].libraryDir,
        environment["NXF_${name}_LIBRARYDIR".toString()],
        config[engine].cacheDir,
        environment["NXF_${name}_CACHEDIR".toString()],
        "${work_folder}/${engine}",
    ].findAll()
    def missing = ownImages(config, settings).findAll { image ->
        !folders.any { folder -> new File(folder.toString(), "${image.replace(':', '-')}.img").exists() }
    }
    return (reaches.call(engine) ? [] : [noCommand(engine, engine)]) + missing.collect { image ->
        "${engine} has no image ${image}, and none is published: name the --registry that has it, or set process.container to an image file in a file for -c (docs/hpc.md).".toString()
    }
}

/** The images that must be on this machine already: our own, where no --registry and no configuration of a site says where they are. */
def ownImages(config, settings) {
    if (settings.registry || !(config.process?.container instanceof Closure)) {
        return []
    }
    return (settings.use_gpu ? [null, [request: 1]] : [null]).collect { accelerator ->
        def about = config + [task: [accelerator: accelerator]]
        config.process.container.rehydrate(about, about, about).call().toString()
    }
}

/** Whether a command ends with status 0 within half a minute. */
def isSuccess(command) {
    def process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start()
    process.waitForOrKill(30000)
    return process.exitValue() == 0
}

// What an executor needs of its site: asked before the run starts, and not after an hour of it.

/** What is missing for the executor that `config` names, a sentence each. reaches: whether a command is on the PATH. */
def siteProblems(config, settings, work_folder, environment, reaches) {
    def executor = config.process?.executor
    def needed = [
        slurm: { clusterNeeds('Slurm', 'sbatch', reaches) },
        lsf: { clusterNeeds('LSF', 'bsub', reaches) },
        sge: { clusterNeeds('Grid Engine', 'qsub', reaches) },
        awsbatch: {
            cloudNeeds('AWS Batch', 's3', config, settings, work_folder) + [
                [config.process.queue, '--queue is missing: it names the job queue of AWS Batch.'],
                [
                    config.aws?.region || environment.AWS_REGION || environment.AWS_DEFAULT_REGION,
                    "aws.region is missing: set it in a file for -c, such as aws.region = 'eu-central-1'.",
                ],
            ]
        },
        'google-batch': {
            cloudNeeds('Google Batch', 'gs', config, settings, work_folder) + [
                [
                    config.google?.project || environment.GOOGLE_APPLICATION_CREDENTIALS,
                    "google.project is missing: set it in a file for -c, such as google.project = 'my-project'.",
                ],
                [
                    config.google?.location,
                    "google.location is missing: set it in a file for -c, such as google.location = 'europe-west4'.",
                ],
            ]
        },
        'azure-batch': {
            cloudNeeds('Azure Batch', 'az', config, settings, work_folder) + [
                [config.process.queue, '--queue is missing: it names the pool of Azure Batch.'],
                [
                    !settings.use_gpu || settings.gpu_queue,
                    '--gpu_queue is missing: Azure Batch gives GPUs by a pool of machines that have them.',
                ],
                [
                    config.azure?.batch?.accountName || environment.AZURE_BATCH_ACCOUNT_NAME,
                    'azure.batch.accountName is missing: set it in a file for -c, with accountKey and location.',
                ],
                [
                    config.azure?.storage?.accountName || environment.AZURE_STORAGE_ACCOUNT_NAME,
                    'azure.storage.accountName is missing: set it in a file for -c, with accountKey.',
                ],
            ]
        },
        k8s: {
            [
                imagesNeed('Kubernetes', config, settings),
                [
                    config.k8s?.storageClaimName || config.k8s?.pod || config.fusion?.enabled,
                    'k8s.storageClaimName is missing: set it in a file for -c, with storageMountPath, to a volume that all pods share.',
                ],
            ]
        },
    ]
    return (needed[executor]?.call() ?: []).findAll { met, _sentence -> !met }.collect { _met, sentence -> sentence }
}

/** Needs are pairs of what must be true and the sentence to say where it is not. */
def clusterNeeds(name, command, reaches) {
    return [[reaches.call(command), "There is no ${command} on the PATH: run this where jobs of ${name} can be submitted."]]
}

def cloudNeeds(name, scheme, config, settings, work_folder) {
    return [
        imagesNeed(name, config, settings),
        [
            work_folder.startsWith("${scheme}://") || config.fusion?.enabled,
            "-work-dir is ${work_folder}, but ${name} needs one in its storage: -work-dir ${scheme}://bucket/folder.",
        ],
    ]
}

def imagesNeed(name, config, settings) {
    // A site that sets process.container itself knows where its images are.
    return [
        settings.registry || config.process.container instanceof CharSequence,
        "--registry is missing: the machines of ${name} fetch the images from there.",
    ]
}

/** Whether a command is on the PATH. */
def isOnPath(command) {
    return System.getenv('PATH').tokenize(File.pathSeparator).any { folder -> new File(folder, command).canExecute() }
}

/** The configuration as Nextflow resolved it. No public name leads to it: this one was tried with 24.10 and 25.04. */
def resolvedConfig() {
    return nextflow.Global.session.config
}

/** Whether no task has failed for good. No public name leads to that while a run lasts; tried with 24.10 and 25.04. */
def isGoingWell() {
    return nextflow.Global.session.success
}

#!/usr/bin/env bash
# The test profile on a real Slurm of one node, this machine: `make test-slurm`. On the way a task is killed for memory and
# must succeed with more, and the node is drained and resumed. Needs Debian's packages slurm-wlm and munge, and root.
#
# It is a cluster of its own, in a folder of its own and on ports of its own, and ends with the test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
project=$PWD
PATH=$PATH:/usr/sbin:/sbin

say() { echo "test-slurm: $*" >&2; }

for command in munged slurmctld slurmd sbatch; do
    if ! command -v "$command" >/dev/null; then
        say "left out: $command is not on the PATH (on Debian: apt-get install slurm-wlm munge)."
        exit 0
    fi
done
if [ "$(id -u)" != 0 ]; then
    say "left out: only root can start a node of Slurm."
    exit 0
fi

folder=$(mktemp -d)
node=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

stop() {
    local name
    for name in nextflow slurmd slurmctld munged; do
        if [ -e "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" 2>/dev/null || true; fi
    done
    sleep 1
    rm -rf "$folder"
}
trap stop EXIT

start() {
    mkdir "$folder/state" "$folder/spool"
    mungekey --create --keyfile "$folder/munge.key"
    # The folder of a test is no place that munge trusts by itself.
    munged --force --key-file "$folder/munge.key" --socket "$folder/munge.socket" --pid-file "$folder/munged.pid" \
        --log-file "$folder/munged.log" --seed-file "$folder/munge.seed" 2>/dev/null
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Without cgroups, memory is watched from outside: a job that takes more than it asked for is killed. Pages that processes
# share count once: a process that has just forked would be counted twice, and killed for it.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill,UsePss
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(free --mebi | awk '/^Mem/ { print $2 }') State=UNKNOWN
PartitionName=main Nodes=$node Default=YES State=UP
CONF
    slurmctld
    slurmd
    local _
    for _ in $(seq 30); do
        if [ "$(sinfo --noheader --format %T 2>/dev/null)" = idle ]; then return; fi
        sleep 1
    done
    say "the node never became idle:"
    cat "$folder/slurmctld.log" "$folder/slurmd.log" >&2
    exit 1
}

# Waits for a line in the run's output.
wait_for() {
    until grep -qs "$1" run.log; do
        if ! kill -0 "$nextflow" 2>/dev/null; then
            say "the run ended before '$1':"
            cat run.log >&2
            exit 1
        fi
        sleep 1
    done
}

# Drains the node while a job runs on it, and takes it back when that job has ended and another waits.
drain_and_resume() {
    wait_for "Submitted process > CELLMEMORY:TRAIN_REFERENCES:TRAIN"
    until squeue --noheader --states R --format %j | grep -q TRAIN; do sleep 1; done
    scontrol update "nodename=$node" state=drain reason=test
    say "the node is drained: what runs goes on, nothing new starts"
    local _
    for _ in $(seq 600); do
        if [ "$(sinfo --noheader --format %T)" = drained ] && squeue --noheader --format '%T %r' | grep -q '^PENDING'; then
            say "a job waits: $(squeue --noheader --format '%j (%r)' | head -1)"
            scontrol update "nodename=$node" state=resume
            return
        fi
        sleep 1
    done
    say "no job ever waited for the drained node."
    exit 1
}

start
mkdir "$folder/run"
cd "$folder/run"
cat >site.config <<'CONFIG'
process {
    withName: 'MAP_QUERY' { memory = { meta.id == 'unseen_type' && task.attempt == 1 ? 300.MB : 2.GB } }
}
executor.exitReadTimeout = '15 s'
executor.pollInterval = '2 s'
CONFIG
"$project/.venv/bin/nextflow" run "$project" -profile test,slurm -c site.config --queue main -ansi-log false >run.log 2>&1 &
nextflow=$!
echo "$nextflow" >"$folder/nextflow.pid"
drain_and_resume
if ! wait "$nextflow"; then
    say "the run failed:"
    cat run.log >&2
    exit 1
fi
rm "$folder/nextflow.pid"

"$project/.venv/bin/python" - <<'PYTHON'
import csv
import json
from collections import Counter
from pathlib import Path

trace = list(csv.DictReader(open("results/pipeline_info/execution_trace.tsv"), delimiter="\t"))
done = Counter(task["name"].split(" ")[0].split(":")[-1] for task in trace if task["status"] == "COMPLETED")
killed = [task for task in trace if task["status"] == "FAILED"]
assert len({task["native_id"] for task in trace}) == len(trace), "not every task was a job of its own"
assert [task["name"] for task in killed] == ["CELLMEMORY:MAP_QUERIES:MAP_QUERY (unseen_type)"], killed
assert done["MAP_QUERY"] == 2 and done["REPORT_RUN"] == 1, done
headers = [path.read_text() for path in Path("work").glob("*/*/.command.run")]
assert all("#SBATCH -p main" in text for text in headers)
metrics = json.loads(Path("results/samples/reduced_panel/reduced_panel.metrics.json").read_text())
assert metrics["accuracy"] > 0.75, metrics["accuracy"]
print(f"test-slurm: passed, {len(trace)} jobs; one was killed for memory and run again with more")
PYTHON

#!/usr/bin/env bash
# Sets up what the pipeline needs, all of it inside the project's folder: Python packages in .venv, tools in .tools.
#
#     scripts/setup.sh [test] [docs] [integration] [bench] [lint] [galaxy]
#
# Without arguments: what a run needs. `test`, `docs` and `integration` add the packages of those extras, `bench` makes a second
# environment, .venv-bench, of the methods that ours is compared with, `lint` adds the strict Nextflow linter, `galaxy` a Galaxy
# server in an environment of its own. A second call finds everything in place and installs nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv_version=0.13.9
nextflow_version=24.10.0 # the tested one; a newer one on the PATH is taken instead
linter_version=25.04.0
oldest_java=17

# What is on the machine is looked for outside of our own environment, which may be active.
PATH=":$PATH:"
PATH=${PATH//:"$PWD/.venv/bin":/:}
unset VIRTUAL_ENV

say() { echo "setup: $*" >&2; }

# Was this extra asked for, now or by an earlier call? Setting up for a run must not take the tests' packages away.
wanted() { [[ " $extras " == *" $1 "* ]]; }

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

java_is_new_enough() {
    local version
    version=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p') || return 1
    [ "${version:-0}" -ge "$oldest_java" ]
}

# The user's own Nextflow, if there is one and it is new enough.
find_nextflow() {
    local path version
    path=$(command -v nextflow) || return 1
    version=$(NXF_DISABLE_CHECK_LATEST=true "$path" -v 2>/dev/null | sed -n 's/.*version \([0-9.]*[0-9]\).*/\1/p')
    [ -n "$version" ] && printf '%s\n' "$nextflow_version" "$version" | sort -V -C && echo "$path"
}

nextflow_is_linked() {
    [ -x .venv/bin/nextflow ] || return 1
    [ "$(readlink .venv/bin/nextflow)" != ../../scripts/nextflow ] || jars_are_there "$nextflow_version"
}

jars_are_there() { [ -e ".tools/nextflow/$1/.complete" ]; }

# All that is missing is said at once, a sentence each, before anything is downloaded.
check_machine() {
    local problems=()
    find_python >/dev/null ||
        problems+=("Python 3.11 or newer is missing: install it (on Debian and Ubuntu: apt-get install python3 python3-venv).")
    java_is_new_enough ||
        problems+=("Java $oldest_java or newer is missing: install it (on Debian and Ubuntu: apt-get install openjdk-17-jre-headless), or set JAVA_HOME to it.")
    if [ -n "$jars" ] && ! command -v mvn >/dev/null; then
        problems+=("Maven is missing, which fetches Nextflow ($jars) where none is on the PATH: install it (on Debian and Ubuntu: apt-get install maven), or put Nextflow $nextflow_version or newer on the PATH.")
    fi
    [ ${#problems[@]} -eq 0 ] && return
    printf 'setup: %s\n' "${problems[@]}" >&2
    exit 1
}

# The packages of some locks in an environment: install_packages FOLDER LOCK...
install_packages() {
    local folder=$1 stamp
    shift
    stamp=$(cat "$@" | cksum)
    if [ "$(cat "$folder/.installed" 2>/dev/null)" = "$stamp" ]; then return; fi
    if [ "$(.tools/uv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
        "$(find_python)" -m venv --clear .tools/uv
        .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
    fi
    if [ ! -x "$folder/bin/python" ]; then
        .tools/uv/bin/uv venv --quiet --allow-existing --python "$(find_python)" "$folder"
    fi
    say "Python packages of $*"
    # Compiled at once: torch and its like take twice as long to import from source, and some machines never write bytecode.
    VIRTUAL_ENV=$folder .tools/uv/bin/uv pip sync --quiet --compile-bytecode "$@"
    echo "$stamp" >"$folder/.installed"
}

install_python() {
    local locks=(requirements/runtime.lock) extra
    for extra in test docs integration; do
        if wanted "$extra"; then locks+=("requirements/$extra.lock"); fi
    done
    install_packages .venv "${locks[@]}"
    # An environment of its own: CellTypist does not run with the scikit-learn of the runtime.
    if wanted bench; then install_packages .venv-bench requirements/bench.lock; fi
    if wanted galaxy; then install_packages .tools/galaxy requirements/galaxy.lock; fi
}

# The jars of the versions in $jars, each in .tools/nextflow/VERSION.
install_jars() {
    local version folder pom
    for version in $jars; do
        say "Nextflow $version"
        folder=.tools/nextflow/$version
        pom=scripts/nextflow-$version.pom.xml
        rm -rf "$folder"
        mvn --quiet --batch-mode --file "$pom" dependency:copy-dependencies -DoutputDirectory="$PWD/$folder"
        touch "$folder/.complete"
    done
}

# Lays Nextflow's classes by, as the virtual machine keeps them: the tests start it some eighty times, each a tenth sooner.
keep_classes() {
    local folder root=$PWD classes=.tools/nextflow/$nextflow_version/classes.jsa
    if [ -e "$classes" ]; then return; fi
    folder=$(mktemp -d)
    if (cd "$folder" && NXF_OPTS="-XX:ArchiveClassesAtExit=$root/$classes.partial" "$root/scripts/nextflow" -quiet run "$root" -profile test -stub-run) \
        >"$folder/log" 2>&1; then
        mv "$classes.partial" "$classes"
    else
        say "Nextflow's classes were not laid by: the tests take somewhat longer."
    fi
    rm -rf "$folder" "$classes.partial"
}

for extra in "$@"; do
    case $extra in
    test | docs | integration | bench | lint | galaxy) ;;
    *)
        say "there is no extra '$extra': the extras are test, docs, integration, bench, lint and galaxy."
        exit 1
        ;;
    esac
done
extras=$(tr -s ' \n' '\n' <<<"$* $(cat .tools/extras 2>/dev/null)" | sort -u | xargs)

jars=
nextflow=../../scripts/nextflow
if ! nextflow_is_linked && ! nextflow=$(find_nextflow); then
    nextflow=../../scripts/nextflow
    jars_are_there "$nextflow_version" || jars=$nextflow_version
fi
if wanted lint && ! jars_are_there "$linter_version"; then jars="$jars $linter_version"; fi

check_machine
mkdir -p .tools
echo "$extras" >.tools/extras
# Packages and jars come from different places: side by side.
install_jars &
install_python
wait $!
if ! nextflow_is_linked; then ln -sf "$nextflow" .venv/bin/nextflow; fi
if wanted test && jars_are_there "$nextflow_version"; then keep_classes; fi

# shellcheck shell=bash
# What the scripts share. A script sources it first:
#
#   . "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
#
# From then on a failed command ends the script, the working directory is the project's root, and at the end
# of the script the programs that it started are ended and its folder is removed.
#
# CARGO    the cargo to use [default: cargo]
# PYTHON   the Python to use [default: python3]

set -euo pipefail

# The shell's own cd: not one that prints, and not one that CDPATH sends elsewhere.
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

cargo="${CARGO:-cargo}"
python="${PYTHON:-python3}"
export CARGO_TERM_COLOR=never
# No bytecode beside the sources; UTF-8 whatever the locale, because some secrets here are not ASCII.
export PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1

# Programs that others wrote are kept here from run to run.
kept="target/conformance"

# --- What a machine may lack -------------------------------------------------------------------------

# skip REASON: ends the script, without an error.
skip() {
    echo "skipped: $1"
    exit 0
}

# need PROGRAM PACKAGE: installs the program from the Debian package unless it is there, or skips the script.
need() {
    if ! command -v "$1" >/dev/null \
        && ! { apt-get install -qq -y "$2" || { apt-get update -qq && apt-get install -qq -y "$2"; }; } >&2; then
        skip "there is no $1, and Debian's package $2 cannot be installed"
    fi
}

# unpack FOLDER PACKAGE…: unpacks Debian packages into the folder, and installs nothing. False where that is
# impossible.
unpack() {
    local folder="$1" package
    shift
    mkdir -p "$folder/packages"
    # The lists may be too old, or absent, in which case root can fetch them.
    (cd "$folder/packages" && { apt-get download -qq "$@" \
        || { apt-get update -qq && apt-get download -qq "$@"; }; }) >&2 || return 1
    for package in "$folder"/packages/*.deb; do
        dpkg -x "$package" "$folder" || return 1
    done
    rm -r -- "$folder/packages"
}

# venv: makes `python` the one of a venv with the packages of scripts/conformance/requirements.txt.
venv() {
    local folder="$kept/venv" list="scripts/conformance/requirements.txt"
    # The venv is as the list says if it holds a copy of it, which is written last.
    if ! "$folder/bin/python" -c '' 2>/dev/null || ! cmp -s "$list" "$folder/requirements.txt"; then
        "$python" -m venv --clear "$folder"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$list"
        cp "$list" "$folder/requirements.txt"
    fi
    python="$folder/bin/python"
}

# npm_install NAME: puts what scripts/conformance/NAME/package-lock.json lists into target/conformance/NAME.
# False without Node and npm, or where the packages cannot be had.
npm_install() {
    local from="scripts/conformance/$1" into="$kept/$1"
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        return 1
    fi
    # The folder is as the lock says if it holds a copy of it, which is written last.
    if cmp -s "$from/package-lock.json" "$into/installed.json"; then
        return 0
    fi
    mkdir -p "$into"
    rm -f "$into/installed.json"
    cp "$from/package.json" "$from/package-lock.json" "$into/"
    # No script of a package runs.
    (cd "$into" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2) || return 1
    cp "$from/package-lock.json" "$into/installed.json"
}

# --- One run -----------------------------------------------------------------------------------------

run=
started=()

clean_up() {
    local process
    # `${started[@]+…}`: to an old bash an empty array is an unset one.
    for process in ${started[@]+"${started[@]}"}; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    if [[ -n "$run" ]]; then
        rm -rf -- "$run"
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# make_run: makes $run, the folder of this run; two runs at a time do not get in each other's way.
make_run() {
    mkdir -p "$kept"
    run="$(mktemp -d "$kept/run.XXXXXX")"
}

# bare_environment: takes away the settings of our programs, and all forward proxies, so that only what a
# script sets counts. What installs something comes before it.
bare_environment() {
    local name
    for name in $(compgen -e | grep -i -e '^RUNAI_' -e '_proxy$' || true); do
        unset "$name"
    done
}

# build ARGUMENT…: builds like `cargo build`; $built is then the folder of the programs.
build() {
    "$cargo" build -q --locked "$@"
    built="$("$cargo" metadata --format-version 1 --no-deps --locked \
        | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug"
}

# wait_until PROCESS COMMAND…: runs the command until it succeeds. False if the process ends first, or after
# 20 s.
wait_until() {
    local process="$1" i
    shift
    for ((i = 0; i < 400; i++)); do
        if "$@"; then
            return 0
        fi
        kill -0 "$process" 2>/dev/null || break
        sleep 0.05
    done
    # It may have come to it just before it ended.
    "$@"
}

# has_line FILE: whether a whole line is in it.
has_line() { [[ "$(wc -l <"$1")" -gt 0 ]]; }

# start NAME COMMAND…: starts a program in the background, and waits for the line of JSON that it prints when
# it is ready: $run/NAME.json. What it says on its standard error is in $run/NAME.log. $latest is its process.
start() {
    local name="$1"
    shift
    # Both are there before they are read.
    : >"$run/$name.json" >"$run/$name.log"
    "$@" >"$run/$name.json" 2>"$run/$name.log" &
    latest="$!"
    started+=("$latest")
    if ! wait_until "$latest" has_line "$run/$name.json"; then
        cat -- "$run/$name.log"
        echo "FAILED: $name did not start"
        exit 1
    fi
}

# member NAME TEXT: the text of that name in the line of JSON of the program NAME.
member() { sed -n 's/.*"'"$2"'":"\([^"]*\)".*/\1/p' "$run/$1.json"; }

# --- Checks ------------------------------------------------------------------------------------------

say() { printf '\n== %s\n' "$*"; }

failures=0

# check WHAT COMMAND…: one line, by whether the command succeeds.
check() {
    local what="$1"
    shift
    if "$@"; then
        echo "ok: $what"
    else
        echo "FAILED: $what"
        failures=$((failures + 1))
    fi
}

# same WHAT FOUND EXPECTED: one line, by whether the texts are the same.
same() {
    if [[ "$2" == "$3" ]]; then
        echo "ok: $1"
    else
        echo "FAILED: $1: found '$2', not '$3'"
        failures=$((failures + 1))
    fi
}

not() { ! "$@"; }

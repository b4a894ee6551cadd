# shellcheck shell=bash
# Sourced by the scripts that need a program from npm.

# npm_install NAME: puts what scripts/conformance/NAME/package-lock.json says into
# target/conformance/NAME. False if there is no Node or no npm, or the packages cannot be had.
npm_install() {
    local from="scripts/conformance/$1" into="target/conformance/$1"
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
    # No script of a package's own is run.
    (cd "$into" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2) || return 1
    cp "$from/package-lock.json" "$into/installed.json"
}

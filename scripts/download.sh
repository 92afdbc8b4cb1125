# shellcheck shell=sh disable=SC2154  # program is set by those who read this
# What the scripts that fetch data share; `.` reads it. The name of the script is $program.

fail() {
    echo "$program: $*" >&2
    exit 1
}

download() { # URL FILE
    if command -v curl > /dev/null; then
        curl --fail --silent --show-error --location --connect-timeout 20 --retry 2 --output "$2" "$1"
    elif command -v wget > /dev/null; then
        wget --quiet --timeout=20 --tries=3 --output-document="$2" "$1"
    else
        fail "needs curl or wget"
    fi
}

# Makes the folder, and a file in it that is removed at the end.
open_folder() { # DIR
    mkdir -p "$1" || fail "cannot create $1"
    temporary=$(mktemp "$1/fetch.XXXXXX") || fail "cannot write to $1"
    trap 'rm -f "$temporary"' EXIT
    trap 'exit 1' HUP INT TERM
}

# shellcheck shell=sh disable=SC2154  # program is set by those who read this
# What the scripts that fetch data share; `.` reads it. The script's name is $program, and `usage` prints how it is used.

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

# Reads the command line, a folder; makes it, and a file in it that is removed at the end.
open_folder() { # ARGUMENT...
    case ${1:-} in
    -h | --help)
        usage
        exit 0
        ;;
    '' | -*)
        usage >&2
        exit 2
        ;;
    esac
    if [ $# -ne 1 ]; then
        usage >&2
        exit 2
    fi
    folder=$1
    mkdir -p "$folder" || fail "cannot create $folder"
    temporary=$(mktemp "$folder/fetch.XXXXXX") || fail "cannot write to $folder"
    trap 'rm -f "$temporary"' EXIT
    trap 'exit 1' HUP INT TERM
}

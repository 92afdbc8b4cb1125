# shellcheck shell=sh
# The argument that test scripts take: the folder of a build.
# shellcheck disable=SC2034
[ "${1:-}" = -h ] && set -- --help
if [ "${1:-}" = --help ] || [ $# -gt 1 ]; then
    echo "Usage: ${0##*/} [BUILD]   (default: build)"
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
build=${1:-build}
train=$build/examples/train_digits

#!/bin/sh
# Downloads MNIST (LeCun, Cortes and Burges) into a folder, as four gzip files.
#
# Mirrors compress anew now and then, so what is checked is the SHA-256 of the content, not of the .gz file. A file
# gets its name only when it is whole and right; one that already is right is kept.
set -u
program=fetch_mnist.sh
# shellcheck source=scripts/download.sh
. "$(dirname "$0")/download.sh"

mirrors="https://ossci-datasets.s3.amazonaws.com/mnist https://storage.googleapis.com/cvdf-datasets/mnist"
if [ -n "${MNIST_MIRROR:-}" ]; then mirrors=${MNIST_MIRROR%/}; fi

usage() {
    echo "Usage: fetch_mnist.sh DIR"
    echo "Downloads the four files of MNIST into DIR (created) and checks them. Needs curl or wget."
    echo "MNIST_MIRROR=URL: another place to take them from; file:///folder works with curl."
}

# Prints the SHA-256 of what is in a .gz file; fails if it is not a whole one.
content_sum() {
    [ -f "$1" ] && gzip -t < "$1" 2> /dev/null && gzip -dc < "$1" | sha256sum | cut -d ' ' -f 1
}

fetch() { # NAME SHA-256-OF-CONTENT
    file=$folder/$1.gz
    if [ "$(content_sum "$file")" = "$2" ]; then
        echo "$file: already there"
        return
    fi
    for mirror in $mirrors; do
        if download "$mirror/$1.gz" "$temporary"; then
            if [ "$(content_sum "$temporary")" = "$2" ]; then
                chmod 644 "$temporary"
                mv "$temporary" "$file" || fail "cannot write $file"
                echo "$file: from $mirror"
                return
            fi
            echo "fetch_mnist.sh: $mirror/$1.gz is not the file that was expected" >&2
        fi
    done
    fail "could not get $1.gz from any mirror: is there a network? (MNIST_MIRROR=URL names another mirror)"
}

open_folder "$@"

fetch train-images-idx3-ubyte ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
fetch train-labels-idx1-ubyte 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
fetch t10k-images-idx3-ubyte 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
fetch t10k-labels-idx1-ubyte ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2

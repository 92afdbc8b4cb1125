#!/bin/sh
# Downloads works of Shakespeare as one text of 1.1 MB (as char-rnn has it; public domain) into a folder, as
# shakespeare.txt. Its SHA-256 is checked; it gets its name only when it is whole and right.
set -u
program=fetch_shakespeare.sh
# shellcheck source=scripts/download.sh
. "$(dirname "$0")/download.sh"

url=${SHAKESPEARE_URL:-https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt}
expected=86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed

usage() {
    echo "Usage: fetch_shakespeare.sh DIR"
    echo "Downloads shakespeare.txt into DIR (created) and checks it. Needs curl or wget."
    echo "SHAKESPEARE_URL=URL: another place to take it from; file:///file works with curl."
}

sum_of() { # FILE
    [ -f "$1" ] && sha256sum < "$1" | cut -d ' ' -f 1
}

open_folder "$@"
file=$folder/shakespeare.txt
if [ "$(sum_of "$file")" = $expected ]; then
    echo "$file: already there"
    exit 0
fi
download "$url" "$temporary" || fail "could not get $url: is there a network? (SHAKESPEARE_URL=URL names another place)"
[ "$(sum_of "$temporary")" = $expected ] || fail "$url is not the file that was expected"
chmod 644 "$temporary"
mv "$temporary" "$file" || fail "cannot write $file"
echo "$file: from $url"

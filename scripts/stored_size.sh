#!/bin/sh
# Trains digits classifiers at ratio 16 and says in how many bytes, and how well, each type of stored values holds them.
set -eu

usage() {
    echo "Usage: stored_size.sh DATA [BUILD]   (default: build)"
    echo "DATA is a folder with MNIST's four files. Seeds 1 to 5, group size 8, grown positions (stored as deltas)."
    echo "Takes some minutes."
}

case ${1:-} in
-h | --help)
    usage
    exit 0
    ;;
esac
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    usage >&2
    exit 2
fi
data=$1
examples=${2:-build}/examples
[ -x "$examples/classify" ] || { echo "stored_size.sh: $examples/classify is not there: run make first" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

for seed in 1 2 3 4 5; do
    echo "==> seed $seed"
    "$examples/train_digits" --data "$data" --ratio 16 --group 8 --growth --seed $seed --threads 1 --out "$work" \
        > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    "$examples/classify" "$work/model.safetensors" --data "$data" --threads 1 --stores | tail -n 5
done

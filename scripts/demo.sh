#!/bin/sh
# The main job: trains the same digits classifier dense and compressed, compares them in a table, draws the curves.
set -eu

[ "${1:-}" = -h ] && set -- --help
if [ "${1:-}" = --help ] || [ $# -gt 3 ]; then
    echo "Usage: demo.sh [BUILD [OUT [DATA]]]   (default: build out data)"
    echo "Trains three digits classifiers, 784-300-100-10, on the IDX files of DATA: dense, and with hidden layers"
    echo "of 1/16 and 1/64 of the values. Prints a table, writes OUT/*/log.csv and OUT/training.png and .svg."
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
build=${1:-build}
out=${2:-out}
data=${3:-data}
program=$build/examples/train_digits
scripts=$(dirname "$0")

if [ ! -x "$program" ]; then
    echo "demo.sh: $program is not there: run make first" >&2
    exit 1
fi

train() { # NAME OPTION...
    name=$1
    shift
    mkdir -p "$out/$name"
    echo "--- $name"
    "$program" --data "$data" --batch 64 --epochs 15 --out "$out/$name" --json "$@" > "$out/$name/result.txt"
}

# The number behind "NAME": in the line of JSON that ends a result.
field() { # RESULT NAME
    tail -n 1 "$1" | sed "s/.*\"$2\":\\([-+.0-9e]*\\).*/\\1/"
}

row() { # NAME
    result=$out/$1/result.txt
    bytes=$(field "$result" weight_bytes)
    printf '%-16s %6.2f +- %.2f %10d %10d %8.1f %10.3f %8.2f\n' "$1" \
        "$(field "$result" test_error)" "$(field "$result" test_error_uncertainty)" \
        "$(field "$result" weight_values)" "$bytes" \
        "$(echo "$(field "$result" dense_bytes) $bytes" | awk '{ print $1 / $2 }')" \
        "$(field "$result" seconds_per_epoch)" \
        "$(field "$result" peak_bytes | awk '{ print $1 / 1e6 }')"
}

train dense --layer dense
train compressed-16 --layer rbe --ratio 16
train compressed-64 --layer rbe --ratio 64

echo
printf '%-16s %14s %10s %10s %8s %10s %8s\n' "" "test error" weights weights times seconds peak \
    "hidden layers" "[%]" values bytes smaller per-epoch "[MB]"
row dense
row compressed-16
row compressed-64
echo
sh "$scripts/plot_training.sh" "$out/training.png" "$out/dense/log.csv:dense" \
    "$out/compressed-16/log.csv:compressed, 1/16" \
    "$out/compressed-64/log.csv:compressed, 1/64"

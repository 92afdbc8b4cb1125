#!/bin/sh
# The three experiments about positions, pruning and block sizes, with pictures of what they measured.
set -eu

if [ "${1:-}" = --help ] || [ $# -gt 4 ]; then
    echo "Usage: experiments.sh [BUILD [OUT [DATA [SEEDS]]]]   (default: build out data 3)"
    echo "Runs growth, prune_sweep and tune_blocks, the first two on the IDX files of DATA. Prints their tables, writes"
    echo "OUT/growth.csv, OUT/prune_sweep.csv, OUT/tune_blocks.csv and a picture beside each (PNG and SVG). One thread,"
    echo "so that the numbers are the same everywhere but for the last digits."
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
build=${1:-build}
out=${2:-out}
data=${3:-data}
seeds=${4:-3}
scripts=$(dirname "$0")

if [ ! -x "$build/examples/growth" ]; then
    echo "experiments.sh: $build/examples/growth is not there: run make first" >&2
    exit 1
fi

experiment() { # NAME OPTION...
    name=$1
    shift
    echo "--- $name $*"
    "$build/examples/$name" --threads 1 --out "$out" "$@"
    sh "$scripts/plot_adapt.sh" "$name" "$out/$name.csv" "$out/$name.png"
    echo
}

experiment growth --data "$data" --seeds "$seeds"
experiment prune_sweep --data "$data" --seeds "$seeds"
experiment tune_blocks

#!/bin/sh
# The experiments about positions, pruning and block sizes, with pictures of what they measured.
set -eu

[ "${1:-}" = -h ] && set -- --help
if [ "${1:-}" = --help ] || [ $# -gt 4 ]; then
    echo "Usage: experiments.sh [BUILD [OUT [DATA [SEEDS]]]]   (default: build out data 3)"
    echo "Runs growth, prune_sweep (by score, and by threshold) and tune_blocks, all but the last on the IDX files of"
    echo "DATA. Prints their tables, writes OUT/growth.csv, OUT/prune_sweep.csv, OUT/prune_thresholds.csv,"
    echo "OUT/tune_blocks.csv and a picture beside each (PNG and SVG). One thread, so that the numbers are the same"
    echo "everywhere except for the last digits."
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

experiment() { # RESULTS PROGRAM OPTION...
    results=$1
    program=$2
    shift 2
    echo "--- $program $*"
    "$build/examples/$program" --threads 1 --out "$out" "$@"
    sh "$scripts/plot_adapt.sh" "$results" "$out/$results.csv" "$out/$results.png"
    echo
}

experiment growth growth --data "$data" --seeds "$seeds"
experiment prune_sweep prune_sweep --data "$data" --seeds "$seeds"
experiment prune_thresholds prune_sweep --data "$data" --seeds "$seeds" --threshold auto --relative
experiment tune_blocks tune_blocks --matrix local --groups 1,4,16

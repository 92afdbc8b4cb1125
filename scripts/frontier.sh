#!/bin/sh
# Error against bytes of digits classifiers, with augmented training images and without: runs the program frontier for each
# size of file, and draws the curves beside published ones. What is there already is not measured again, so it may be
# interrupted.
set -u

[ "${1:-}" = -h ] && set -- --help
if [ "${1:-}" = --help ] || [ $# -gt 3 ]; then
    echo "Usage: frontier.sh [BUILD [OUT [DATA]]]   (default: build out data)"
    echo "Writes OUT/frontier.csv, OUT/choices.csv and OUT/frontier.png (and .svg); what it has so far is in OUT/points."
    echo "JOBS=N measures N points at a time, one thread each (default: one per processor)."
    echo "BUDGETS=\"..\" are the bytes of the files, instead of some from 1,100 to 200,000."
    echo "OPTIONS=\"..\" are options of the program frontier, such as --epochs 1 --seeds 2."
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
build=${1:-build}
out=${2:-out}
data=${3:-data}
if [ ! -x "$build/examples/frontier" ]; then
    echo "frontier.sh: $build/examples/frontier is not there: run make first" >&2
    exit 1
fi
mkdir -p "$out/points" || exit 1
export build out data OPENBLAS_NUM_THREADS=1
export OPTIONS="${OPTIONS:-}"

# One point; its folder gets its name once it is complete.
# shellcheck disable=SC2016 # expanded by the shell that runs it
point='name=$(echo "$1" | tr -d " ")
[ -d "$out/points/$name" ] && exit 0
rm -rf "$out/points/.$name"
"$build/examples/frontier" --data "$data" --threads 1 --quiet --out "$out/points/.$name" --budget $1 $OPTIONS \
    > "$out/points/$name.txt" || exit 255
mv "$out/points/.$name" "$out/points/$name"
tail -n 1 "$out/points/$name.txt"'

for bytes in ${BUDGETS:-12608 7500 6100 3100 200000 40000 1100}; do
    echo "$bytes --augment"
done > "$out/points/list"
for bytes in ${BUDGETS:-16113 12608 6100 3100 200000 40000 1100}; do echo "$bytes"; done >> "$out/points/list"
xargs -I '{}' -P "${JOBS:-$(nproc)}" sh -c "$point" frontier.sh '{}' < "$out/points/list" || exit 1

for table in frontier choices; do
    {
        head -q -n 1 "$out"/points/*/$table.csv | head -n 1
        tail -q -n +2 "$out"/points/*/$table.csv | sort -s -t , -k 1,1 -k 2,2n
    } > "$out/$table.csv"
done
sh "$(dirname "$0")/plot_adapt.sh" frontier "$out/frontier.csv" "$out/frontier.png"

#!/bin/sh
# Measures the compressed layer against dense OpenBLAS and draws the ratio against rows and against density.
set -eu

usage() {
    echo "Usage: bench.sh [BUILD [OUT]]   (default: build out)"
    echo "Prints tables; writes OUT/speed.jsonl (one line of JSON a case) and OUT/speed.png and .svg. Some minutes."
}

case ${1:-} in
--help)
    usage
    exit 0
    ;;
esac
if [ $# -gt 2 ]; then
    usage >&2
    exit 2
fi
bench=${1:-build}/bench/bench_linear
out=${2:-out}
[ -x "$bench" ] || { echo "bench.sh: $bench is not there: make bench builds it" >&2; exit 1; }
mkdir -p "$out"
results=$out/speed.jsonl
: > "$results"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export OPENBLAS_NUM_THREADS=1
unset OPENBLAS_CORETYPE # the baseline is the best that OpenBLAS has for this machine
measure() { "$bench" --json --quick "$@" | tee "$work/last" >> "$results"; }

# "NAME": 1.5 of the lines on standard input.
field() { sed "s/.*\"$1\":\\([-+.0-9e]*\\).*/\\1/"; }

echo "==> products: B = 64, K = 256 (1/16), DCT, alpha on, one thread"
"$bench"
echo "==> every block positions of its own"
"$bench" --case fwd --size 1024 --group 1
"$bench" --case bwd --size 1024 --group 1
echo "==> 16 rows"
"$bench" --case fwd --size 1024 --n 16
"$bench" --case bwd --size 1024 --n 16
echo "==> two threads (each side)"
"$bench" --case fwd --size 1024 --threads 2
"$bench" --case bwd --size 1024 --threads 2
echo "==> a training step"
"$bench" --case step --size 1024
"$bench" --case step --size 1024 --coeffs 64

if ! command -v gnuplot > /dev/null; then
    echo "bench.sh: no picture, gnuplot is not there (sh scripts/deps.sh installs it)"
    exit 0
fi
echo "==> ratio against rows and density, for the picture"
rows="1 4 16 32 64 256 1024"
sizes="256 512 1024 2048"
for size in $sizes; do
    for n in $rows; do
        if [ "$n" -eq 1 ]; then kind=matvec; else kind=fwd; fi
        measure --case $kind --size "$size" --n "$n"
        echo "$n $(field ratio < "$work/last")" >> "$work/rows-$size"
    done
    for coeffs in 1024 512 256 128 64; do
        measure --case fwd --size "$size" --n 256 --coeffs $coeffs
        echo "$((4096 / coeffs)) $(field ratio < "$work/last")" >> "$work/density-$size"
    done
done

curves() { # NAME
    i=0
    for size in $sizes; do
        i=$((i + 1))
        color=$(echo '#0072B2 #D55E00 #009E73 #CC79A7' | cut -d ' ' -f $i)
        echo "'$work/$1-$size' with linespoints lc rgb '$color' lw 2.5 pt 7 ps 0.7 title '$size x $size', \\"
    done
    echo "1 with lines lc rgb '#444444' dt (6,4) lw 2 title 'dense OpenBLAS'"
}

draw() { # TERMINAL FILE
    cat << END
set terminal $1
set output '$2'
set multiplot layout 1,2
set logscale xy 2
set grid lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror
set key top left reverse Left
set yrange [0.5:64]
set ytics (0.5, 1, 2, 4, 8, 16, 32, 64)
set ylabel 'times as fast as dense'
set object 1 rectangle from graph 0, first 0.5 to graph 1, first 1 fc rgb '#eeeeee' fs solid noborder behind
set label 1 'dense is faster' at graph 0.97, first 0.7 right tc rgb '#666666'
set title 'Forward, values / 16'
set xlabel 'rows of the batch'
set xtics (1, 4, 16, 64, 256, 1024)
plot $(curves rows)
set title 'Forward, 256 rows'
set xlabel 'dense values for each stored coefficient'
set xtics (4, 8, 16, 32, 64)
plot $(curves density)
unset multiplot
END
}

draw "pngcairo size 1300,560 font 'DejaVu Sans,11' background '#ffffff'" "$out/speed.png" | gnuplot
draw "svg size 1300,560 font 'DejaVu Sans,11' background '#ffffff'" "$out/speed.svg" | gnuplot
echo "wrote $results, $out/speed.png and $out/speed.svg"

#!/bin/sh
# Measures the compressed layer against dense OpenBLAS and draws the ratio against rows and against density.
set -eu

usage() {
    echo "Usage: bench.sh [BUILD [OUT]]   (default: build out)"
    echo "Prints tables; writes OUT/speed.jsonl (one line of JSON per case) and OUT/speed.png and .svg."
    echo "Takes some minutes."
}

case ${1:-} in
-h | --help)
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
measure() { "$bench" --json --quick "$@" | tee "$work/last" >> "$results"; }

# "NAME": 1.5 or "NAME": "text" of the last line that was measured.
field() { sed "s/.*\"$1\":\"*\([-+.0-9A-Za-z_]*\).*/\1/" "$work/last"; }

# Where OpenBLAS has better kernels for this machine than those it chose, the program says so and starts again with
# them: once here, for all that follows.
"$bench" --json --quick --case matvec --size 64 > "$work/last"
OPENBLAS_CORETYPE=$(field openblas)
export OPENBLAS_CORETYPE

table() { # TITLE OPTIONS...
    echo "==> $1"
    shift
    "$bench" "$@"
}

# Forward and backward in one table.
both() { # TITLE OPTIONS...
    table "$@" --case fwd
    shift
    "$bench" "$@" --case bwd | sed 1,2d
}

table "the usual case: B = 64, K = 256 (1/16), DCT, alpha on"
both "16 rows" --n 16 --size 1024
both "every block positions of its own" --group 1 --size 1024
both "Haar" --transform haar
both "without alpha" --alpha off
both "B = 32, 1/16" --block 32 --coeffs 64
both "B = 128, 1/16" --block 128 --coeffs 1024
both "4096 inputs and outputs, 256 rows" --size 4096 --n 256 --quick
both "two threads (each side)" --size 1024 --threads 2
for shapes in "$(dirname "$0")"/../tests/bench/shapes/*.txt; do
    table "$(sed -n '1s/^# *//p' "$shapes")" --shapes "$shapes" --quick
done
table "a training step" --case step --size 1024
"$bench" --case step --size 1024 --coeffs 64
table "its tasks, and what threads could do for it" --serial --size 1024
if [ "$(nproc)" -gt 1 ]; then
    table "its time on two threads" --case scaling --threads 2 --size 1024
    "$bench" --case scaling --threads 2 --size 1024 --busy
fi

echo "==> microseconds per row and coefficient of 1024 -> 1024: cost is linear in rows and in coefficients"
for n in 64 128 256 512 1024 2048 4096; do
    measure --case fwd --size 1024 --n $n
    echo "$n $(field rbe_us)" | awk '{ printf "%6d rows %10.3f us/row\n", $1, $2 / $1 }'
done
for coeffs in 64 128 256 512 1024 2048 4096; do
    measure --case fwd --size 1024 --n 256 --coeffs $coeffs
    echo "$coeffs $(field rbe_us)" | awk '{ printf "%6d coefficients a block %10.1f us, %.3f us each\n", $1, $2, $2 / $1 }'
done

if ! command -v gnuplot > /dev/null; then
    echo "bench.sh: no picture, gnuplot is not there (sh scripts/deps.sh installs it)"
    exit 0
fi
echo "==> ratio against rows and density, for the picture"
rows="1 4 16 32 64 256 1024"
sizes="64 128 256 512 1024 2048"
largest=2048
for size in $sizes; do
    for n in $rows; do
        if [ "$n" -eq 1 ]; then kind=matvec; else kind=fwd; fi
        measure --case $kind --size "$size" --n "$n"
        echo "$n $(field ratio)" >> "$work/rows-$size"
        [ "$size" -ne $largest ] || echo "$n $(field dense_share)" >> "$work/rows-share"
    done
    for coeffs in 4096 2048 1024 512 256 128 64; do
        measure --case fwd --size "$size" --n 256 --coeffs $coeffs
        echo "$((4096 / coeffs)) $(field ratio)" >> "$work/density-$size"
        [ "$size" -ne $largest ] || echo "$((4096 / coeffs)) $(field dense_share)" >> "$work/density-share"
    done
done

# Where the curves of a picture cross 1, between two points of a logarithmic scale: printed, and kept for the picture.
crossings() { # NAME WHAT
    for size in $sizes; do
        awk '{ x = log($1); y = log($2) }
            NR > 1 && (y > 0) != (last_y > 0) { print exp(last_x - last_y * (x - last_x) / (y - last_y)), 1 }
            { last_x = x; last_y = y }' "$work/$1-$size" > "$work/crossings-$size"
        cat "$work/crossings-$size" >> "$work/$1-crossings"
        while read -r x _; do echo "crossover of $size x $size: $x $2"; done < "$work/crossings-$size"
    done
}

curves() { # NAME
    i=0
    for size in $sizes; do
        i=$((i + 1))
        color=$(echo '#999999 #56B4E9 #0072B2 #D55E00 #009E73 #CC79A7' | cut -d ' ' -f $i)
        echo "'$work/$1-$size' with linespoints lc rgb '$color' lw 2.5 pt 7 ps 0.7 title '$size x $size', \\"
    done
    if [ -s "$work/$1-crossings" ]; then
        echo "'$work/$1-crossings' with points lc rgb 'black' lw 2 pt 6 ps 2 title 'crossover', \\"
    fi
    echo "'$work/$1-share' using 1:(1/\$2) with lines lc rgb '#444444' dt 3 lw 2 \\"
    echo "title 'dense at its peak', \\"
    echo "1 with lines lc rgb '#444444' dt (6,4) lw 2 title 'OpenBLAS, dense'"
}

draw() { # TERMINAL FILE
    cat << END
set terminal $1
set output '$2'
set multiplot
set logscale xy 2
set grid lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror
set tmargin at screen 0.92
set bmargin at screen 0.3
unset key
set yrange [0.2:128]
set ytics (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
set ylabel 'times as fast as dense' offset 1.5,0
set object 1 rectangle from graph 0, first 0.2 to graph 1, first 1 fc rgb '#eeeeee' fs solid noborder behind
set label 1 'dense is faster' at graph 0.97, first 0.3 right tc rgb '#666666'
set title 'Forward, one coefficient for 16 dense values'
set lmargin at screen 0.085
set rmargin at screen 0.48
set xlabel 'rows of the batch'
set xtics (1, 4, 16, 64, 256, 1024)
set xrange [1:1024]
plot $(curves rows)
set title 'Forward, 256 rows'
set lmargin at screen 0.585
set rmargin at screen 0.98
set xlabel 'dense values for each stored coefficient'
set xtics (1, 2, 4, 8, 16, 32, 64)
set xrange [1:64.1]
plot $(curves density)
unset title
unset xlabel
unset ylabel
unset tics
unset border
unset grid
unset object 1
unset label 1
set lmargin at screen 0.03
set rmargin at screen 0.97
set bmargin at screen 0
set tmargin at screen 0.19
set key center center horizontal maxrows 3 Left reverse samplen 2.5 width 1
set yrange [1000:2000]
plot $(curves rows)
unset multiplot
END
}

crossings rows "rows, at 1/16"
crossings density "dense values for each coefficient, at 256 rows"
draw "pngcairo size 1300,760 font 'DejaVu Sans,17' background '#ffffff'" "$out/speed.png" | gnuplot
draw "svg size 1300,760 font 'DejaVu Sans,19' background '#ffffff'" "$out/speed.svg" | gnuplot
echo "wrote $results, $out/speed.png and $out/speed.svg"

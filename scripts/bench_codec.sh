#!/bin/sh
# Measures compression: memory against accuracy, with a picture, and speed.
set -eu

usage() {
    echo "Usage: bench_codec.sh [BUILD [OUT [DATA]]]   (default: build out data)"
    echo "Trains a network on the digits in DATA, compresses its middle layer of 1024 x 1024, a smooth and a random"
    echo "matrix; prints tables; writes OUT/codec.jsonl (one line of JSON a case) and OUT/codec.png and .svg."
    echo "A minute with data/, some with MNIST."
}

case ${1:-} in
--help)
    usage
    exit 0
    ;;
esac
if [ $# -gt 3 ]; then
    usage >&2
    exit 2
fi
bench=${1:-build}/bench/bench_codec
out=${2:-out}
data=${3:-data}
[ -x "$bench" ] || { echo "bench_codec.sh: $bench is not there: make bench-codec builds it" >&2; exit 1; }
mkdir -p "$out"
results=$out/codec.jsonl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export OPENBLAS_NUM_THREADS=1
unset OPENBLAS_CORETYPE # the baseline is the best that OpenBLAS has for this machine

echo "==> speed, one thread, in turns with a dense product of 1024^3"
"$bench" --case speed
echo "==> speed, two threads in turns with one; on a busy machine a waiting thread must not spin"
OMP_WAIT_POLICY=passive "$bench" --case speed --threads 2
echo "==> memory against accuracy"
"$bench" --data "$data"
"$bench" --data "$data" --json > "$results" 2> "$work/progress"
"$bench" --case speed --quick --json >> "$results"

if ! command -v gnuplot > /dev/null; then
    echo "bench_codec.sh: no picture, gnuplot is not there (sh scripts/deps.sh installs it)"
    exit 0
fi

# "NAME": 1.5 of the lines on standard input.
field() { sed "s/.*\"$1\":\\([-+.0-9e]*\\).*/\\1/"; }

columns() { # PATTERN X Y LABEL: the lines with the pattern as columns
    grep -e "$1" "$results" > "$work/lines"
    for name in "$2" "$3" "$4"; do field "$name" < "$work/lines" > "$work/column-$name"; done
    paste -d ' ' "$work/column-$2" "$work/column-$3" "$work/column-$4"
}

for matrix in trained smooth random; do
    columns "\"matrix\":\"$matrix\",\"fitted\":false" smaller error block > "$work/$matrix"
done
columns '"case":"theory"' smaller error share > "$work/theory"
columns '"matrix":"trained","fitted":false' smaller test_error block > "$work/plain"
columns '"matrix":"trained","fitted":true' smaller test_error block > "$work/fitted"
dense=$(grep '"case":"dense"' "$results" | field test_error)

draw() { # TERMINAL FILE
    cat << END
set terminal $1
set output '$2'
set multiplot layout 1,2
set logscale xy
set grid lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror
set xlabel 'times smaller, all bytes'
set xrange [5:70]
set xtics (5, 10, 20, 50)
set key bottom right reverse Left
set title 'Error of the matrix, 1024 x 1024'
set ylabel "||W - W'|| / ||W||"
set yrange [5e-6:2]
set format y '10^{%T}'
set label 1 'B, K: 32, 100   64, 200   128, 400   256, 800, left to right' at graph 0.02, graph 0.63 tc rgb '#666666'
plot '$work/theory' using 1:2 with lines lc rgb '#444444' dt (6,4) lw 2 title 'random: theory', \\
    '$work/random' using 1:2 with points lc rgb '#444444' pt 6 ps 1.6 lw 2 title 'random', \\
    '$work/trained' using 1:2 with linespoints lc rgb '#0072B2' pt 7 lw 2.5 title 'trained layer', \\
    '$work/smooth' using 1:2 with linespoints lc rgb '#009E73' pt 7 lw 2.5 title 'smooth'
unset label 1
set title 'Test error of the network, middle layer compressed'
set ylabel 'wrong answers [%]'
set yrange [1:100]
set ytics (1, 2, 5, 10, 20, 50, 100)
set format y '%g'
set key top left
plot '$work/plain' using 1:2 with linespoints lc rgb '#0072B2' pt 7 lw 2.5 title 'largest coefficients', \\
    '$work/fitted' using 1:2 with linespoints lc rgb '#D55E00' pt 7 lw 2.5 title 'fitted to activations', \\
    $dense with lines lc rgb '#444444' dt (6,4) lw 2 title 'dense'
unset multiplot
END
}

draw "pngcairo size 1300,560 font 'DejaVu Sans,11' background '#ffffff'" "$out/codec.png" | gnuplot
draw "svg size 1300,560 font 'DejaVu Sans,11' background '#ffffff'" "$out/codec.svg" | gnuplot
echo "wrote $results, $out/codec.png and $out/codec.svg"

#!/bin/sh
# Measures compression: memory against accuracy, with a picture, and speed.
set -eu

usage() {
    echo "Usage: bench_codec.sh [BUILD [OUT [DATA]]]   (default: build out data)"
    echo "Trains a network on the digits in DATA, compresses its middle layer of 1024 x 1024, a smooth and a random"
    echo "matrix; prints tables; writes OUT/codec.jsonl (one line of JSON per case) and OUT/codec.png and .svg."
    echo "Takes a minute with data/, several with MNIST."
}

case ${1:-} in
-h | --help)
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

columns() { # PATTERN NAME...: these fields of the lines with the pattern, as columns
    grep -e "$1" "$results" > "$work/lines"
    shift
    : > "$work/columns"
    for name in "$@"; do
        field "$name" < "$work/lines" | paste -d ' ' "$work/columns" - > "$work/wider"
        mv "$work/wider" "$work/columns"
    done
    cat "$work/columns"
}

for matrix in trained smooth random; do
    columns "\"matrix\":\"$matrix\",\"fitted\":false" smaller error block coeffs > "$work/$matrix"
done
columns '"case":"theory"' smaller error > "$work/theory"
columns '"matrix":"trained","fitted":false' smaller test_error > "$work/plain"
columns '"matrix":"trained","fitted":true' smaller test_error block coeffs > "$work/fitted"
dense=$(grep '"case":"dense"' "$results" | field test_error)

draw() { # TERMINAL FILE
    cat << END
set terminal $1
set output '$2'
set multiplot
set logscale xy
set grid lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror
set xlabel 'times smaller, all bytes (at the points: B, K)'
set xrange [5:70]
set xtics (5, 10, 20, 50)
set tmargin at screen 0.9
set bmargin at screen 0.15
block_and_coeffs(b, k) = sprintf('%d, %d', b, k)
set title 'Error of a matrix of 1024 x 1024'
set ylabel "||W - W'|| / ||W||"
set yrange [5e-6:4]
set format y '10^{%T}'
set lmargin at screen 0.09
set rmargin at screen 0.48
set key at graph 0.98, graph 0.62 right reverse Left
plot '$work/theory' using 1:2 with lines lc rgb '#444444' dt (6,4) lw 2 title 'random: theory', \\
    '$work/random' using 1:2 with points lc rgb '#444444' pt 6 ps 2 lw 2 title 'random', \\
    '$work/trained' using 1:2 with linespoints lc rgb '#0072B2' pt 7 lw 3 title 'trained layer', \\
    '$work/smooth' using 1:2 with linespoints lc rgb '#009E73' pt 7 lw 3 title 'smooth', \\
    '' using 1:2:(block_and_coeffs(\$3, \$4)) with labels offset 0, 1 tc rgb '#666666' notitle
set title 'Test error, middle layer compressed'
set ylabel 'wrong answers [%]'
set yrange [1:200]
set ytics (1, 2, 5, 10, 20, 50, 100)
set format y '%g'
set lmargin at screen 0.59
set rmargin at screen 0.98
set key at graph 0.02, graph 0.98 left top
plot '$work/plain' using 1:2 with linespoints lc rgb '#0072B2' pt 7 lw 3 title 'largest coefficients', \\
    '$work/fitted' using 1:2 with linespoints lc rgb '#D55E00' pt 7 lw 3 title 'fitted to activations', \\
    '' using 1:(1.3):(block_and_coeffs(\$3, \$4)) with labels tc rgb '#666666' notitle, \\
    $dense with lines lc rgb '#444444' dt (6,4) lw 2 title 'dense'
unset multiplot
END
}

draw "pngcairo size 1300,620 font 'DejaVu Sans,17' background '#ffffff'" "$out/codec.png" | gnuplot
draw "svg size 1300,620 font 'DejaVu Sans,19' background '#ffffff'" "$out/codec.svg" | gnuplot
echo "wrote $results, $out/codec.png and $out/codec.svg"

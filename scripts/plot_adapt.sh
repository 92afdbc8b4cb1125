#!/bin/sh
# Draws what the experiments growth, prune_sweep and tune_blocks measured, as PNG and as SVG beside it.
set -eu

usage() {
    echo "Usage: plot_adapt.sh growth|prune_sweep|tune_blocks RESULTS.csv OUT.png"
    echo "growth:      test error against bytes on disk, of all kinds of models, mean and spread over the seeds;"
    echo "prune_sweep: points of error lost against the bytes on disk, before and after fine-tuning;"
    echo "tune_blocks: scores against the block size. Needs gnuplot, no display."
}

fail() {
    echo "plot_adapt.sh: $*" >&2
    exit 1
}

if [ "${1:-}" = --help ]; then
    usage
    exit 0
fi
if [ $# -ne 3 ]; then
    usage >&2
    exit 2
fi
kind=$1
results=$2
picture=$3
command -v gnuplot > /dev/null || fail "gnuplot is not there: sh scripts/deps.sh installs it"
[ -f "$results" ] || fail "there is no file '$results'"
case $picture in
*.png) ;;
*) fail "the picture's name should end in .png, found '$picture'" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

expect_header() { # HEADER
    [ "$(head -n 1 "$results")" = "$1" ] || fail "'$results' has another first line than $kind writes"
}

# A string of gnuplot's.
quoted() {
    printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"
}

color() { # NUMBER
    echo '#0072B2 #D55E00 #009E73 #CC79A7 #444444 #56B4E9' | cut -d ' ' -f "$1"
}

# A logarithmic x axis, a little longer than the data.
range_of_x() { # COLUMN
    awk -F, -v column="$1" 'NR > 1 {
        x = $column
        least = least && least < x ? least : x
        most = most > x ? most : x
    }
    END { print "set xrange [" 0.9 * least ":" most / 0.9 "]" }' "$results"
}

axis_of_bytes() { # LABEL COLUMN
    echo "set logscale xy"
    echo "set xlabel '$1'"
    echo "set format x '%.0s %cB'"
    range_of_x "$2"
    echo "set xtics (5e3, 1e4, 2e4, 3e4, 4e4, 5e4, 7e4, 1e5, 1.5e5, 2e5, 3e5, 5e5, 1e6, 2e6, 5e6, 1e7)"
}

# A curve with error bars from the lines of $work/NAME: x y spread.
curve() { # NAME NUMBER TITLE [DASHES [POINTS]]
    [ -s "$work/$1" ] || return 0
    echo "'$work/$1' using 1:2:3 with yerrorbars lc rgb '$(color "$2")' pt 7 ps 0.4 notitle, \\"
    echo "'' using 1:2 with linespoints lc rgb '$(color "$2")' lw 2.5 ${4:-} ${5:-pt 7 ps 0.8} title $(quoted "$3"), \\"
}

growth() {
    expect_header method,ratio,seed,test_error,values,bytes,file_bytes,seconds_per_epoch
    # Method, bytes, mean error, its spread.
    awk -F, 'NR > 1 {
        key = $1 "," $2
        bytes[key] = $7; n[key]++; sum[key] += $4; square[key] += $4 * $4
    }
    END {
        for (key in n) {
            split(key, part, ",")
            mean = sum[key] / n[key]
            variance = n[key] > 1 ? (square[key] - n[key] * mean * mean) / (n[key] - 1) : 0
            print part[1], bytes[key], mean, sqrt(variance > 0 ? variance : 0)
        }
    }' "$results" | sort -k 1,1 -k 2,2n > "$work/means"
    for method in static grown identity narrow dense; do
        sed -n "s/^$method //p" "$work/means" > "$work/$method"
    done
    axis_of_bytes 'file of the trained model' 7
    echo "set ytics (1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)"
    echo "set ylabel 'test error [%]'"
    echo "plot \\"
    curve grown 1 'compressed, grown positions'
    curve static 2 'compressed, static positions'
    curve identity 3 'grown without a transform' 'dt (6,4)'
    curve narrow 4 'narrow dense net of equal size' 'dt (6,4)'
    curve dense 5 dense '' 'pt 5 ps 1.5'
}

prune_sweep() {
    expect_header score,percent,repair,original_error,points,points_spread,tuned_points,tuned_points_spread,values,bytes,file_bytes,speed,absorbed_percent
    axis_of_bytes 'file of the pruned model' 11
    echo "set format y '%g'"
    echo "set ylabel 'error more than before [percentage points; at least 0.01]'"
    echo "set yrange [0.01:*]"
    echo "plot \\"
    number=0
    for score in fisher magnitude gradient random; do
        number=$((number + 1))
        awk -F, -v score=$score '$1 == score && $3 == "absorbed" { print $11, ($5 > 0.01 ? $5 : 0.01), $6 }' "$results" \
            > "$work/$score"
        awk -F, -v score=$score '$1 == score && $3 == "absorbed" { print $11, ($7 > 0.01 ? $7 : 0.01), $8 }' "$results" \
            > "$work/$score.tuned"
        curve $score $number "$score"
        curve $score.tuned $number "$score, fine-tuned" 'dt (6,4)'
    done
}

tune_blocks() {
    expect_header given,chosen,block,group,bytes,us,error,memory_score,speed_score,accuracy_score,score
    number=0
    echo "set logscale x 2"
    echo "set xlabel 'block size'"
    echo "set ylabel 'score (the best candidate: 1)'"
    echo "set yrange [0:1.05]"
    range_of_x 3
    echo "plot \\"
    for score in memory speed accuracy together; do
        number=$((number + 1))
        column=$((7 + number))
        awk -F, -v column=$column 'NR > 1 && $1 == 0 { print $3, $column, 0 }' "$results" > "$work/$score"
        curve $score $number $score "$([ $score = together ] || echo 'dt (6,4)')"
    done
    awk -F, 'NR > 1 && $2 == 1 { print $3, $11, 0 }' "$results" > "$work/chosen"
    curve chosen 5 chosen '' 'pt 6 ps 2.5'
}

case $kind in
growth | prune_sweep | tune_blocks) "$kind" > "$work/plot" ;;
*) fail "expected growth, prune_sweep or tune_blocks, found '$kind'" ;;
esac

draw() { # TERMINAL FILE
    cat << END
set terminal $1
set output $(quoted "$2")
set grid ytics xtics lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror textcolor rgb '#222222'
set key above horizontal textcolor rgb '#222222'
END
    cat "$work/plot"
    echo "    1/0 notitle"
}

mkdir -p "$(dirname "$picture")"
draw "pngcairo size 1000,700 font 'sans,12'" "$picture" > "$work/png"
draw "svg size 1000,700 font 'sans,14' background 'white'" "${picture%.png}.svg" > "$work/svg"
if ! gnuplot "$work/png" "$work/svg" 2> "$work/errors"; then
    cat "$work/errors" >&2
    fail "gnuplot failed"
fi

#!/bin/sh
# Draws what the experiments growth, frontier, prune_sweep and tune_blocks measured, as PNG and as SVG beside it. The pictures
# are to be read at 600 pixels.
set -eu

usage() {
    echo "Usage: plot_adapt.sh growth|frontier|prune_sweep|prune_thresholds|tune_blocks RESULTS.csv OUT.png"
    echo "growth:           test error against the file's size, of all kinds of models, mean and spread over the seeds;"
    echo "frontier:         the same of digits classifiers, beside published ones;"
    echo "prune_sweep:      points of error lost by every score (absorbed into alpha), at once and fine-tuned;"
    echo "prune_thresholds: test error and coefficients kept against the threshold, with the knee;"
    echo "tune_blocks:      the scores of every candidate. Needs gnuplot, no display."
}

fail() {
    echo "plot_adapt.sh: $*" >&2
    exit 1
}

[ "${1:-}" = -h ] && set -- --help
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

# Bounds of a logarithmic axis, a little beyond the data.
bounds() { # FILE COLUMN [SPREAD_COLUMN]
    awk -v column="$2" -v spread="${3:-0}" '{
        x = $column
        s = spread > 0 ? $spread : 0
        low = x - s > 0 ? x - s : x
        least = NR == 1 || low < least ? low : least
        most = NR == 1 || x + s > most ? x + s : most
    }
    END { print "[" 0.85 * least ":" most / 0.85 "]" }' "$1"
}

# A curve with error bars from the lines of $work/NAME: x y spread.
curve() { # NAME NUMBER TITLE [STYLE [AXES]]
    [ -s "$work/$1" ] || return 0
    echo "'$work/$1' using 1:2:3 ${5:-} with yerrorbars lc rgb '$(color "$2")' lw 2 pt 7 ps 0.4 notitle, \\"
    echo "'' using 1:2 ${5:-} with linespoints lc rgb '$(color "$2")' lw 3 ${4:-pt 7 ps 1.2} title $(quoted "$3"), \\"
}

plot() {
    echo "plot \\"
}

end_plot() {
    echo "    1/0 notitle"
}

# $work/means: the first column, bytes, mean error and its spread, of rows that are equal in the first two columns.
means() { # BYTES_COLUMN ERROR_COLUMN
    awk -F, -v size="$1" -v error="$2" 'NR > 1 {
        key = $1 "," $2
        bytes[key] = $size; n[key]++; sum[key] += $error; square[key] += $error * $error
    }
    END {
        for (key in n) {
            split(key, part, ",")
            mean = sum[key] / n[key]
            variance = n[key] > 1 ? (square[key] - n[key] * mean * mean) / (n[key] - 1) : 0
            print part[1], bytes[key], mean, sqrt(variance > 0 ? variance : 0)
        }
    }' "$results" | sort -k 1,1 -k 2,2n > "$work/means"
}

growth() {
    expect_header method,ratio,seed,test_error,values,memory_bytes,file_bytes,seconds_per_epoch
    means 7 4
    for method in static grown identity narrow dense; do
        sed -n "s/^$method //p" "$work/means" > "$work/$method"
    done
    cat << END
set title 'Test error against the size of the file'
set logscale xy
set xlabel 'file of the trained model'
set format x '%.0s %cB'
set xrange $(bounds "$work/means" 2)
set xtics (5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7)
set ylabel 'test error [%]'
set yrange $(bounds "$work/means" 3 4)
set ytics (1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
END
    plot
    curve narrow 4 'narrow dense net of equal size' 'dt (6,4) pt 7 ps 1.2'
    curve identity 3 'grown, without a transform' 'dt (6,4) pt 7 ps 1.2'
    curve static 2 'compressed, static positions'
    curve grown 1 'compressed, grown positions'
    curve dense 5 dense 'pt 5 ps 2'
    end_plot
}

# What others published, as they count: those of BitNetMCU that were not augmented are a range of both.
frontier() {
    expect_header augmented,budget,width,bits,group,strength,epochs,seed,test_error,file_bytes,seconds
    means 10 9
    for augmented in 0 1; do sed -n "s/^$augmented //p" "$work/means" > "$work/$augmented"; done
    printf '%s\n' '1100 5.78' '3100 3.21' '6100 1.87' '7500 1.48' '12600 0.99' > "$work/connected"
    echo '11700 1.65 11700 17000 1.65 1.84' > "$work/plain"
    echo '27000 1.58' > "$work/deep"
    printf '%s\n' '3200 1.08' '5400 0.94' '7300 0.72' '13000 0.42' > "$work/convolutions"
    cat << END
set title 'MNIST: test error against the size of the file'
set logscale xy
set xlabel 'bytes of the file, everything counted'
set format x '%.0s %cB'
set xrange [900:260000]
set xtics (1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5)
set ylabel 'test error [%]'
set yrange [0.38:10]
set ytics (0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10)
END
    plot
    curve 0 1 'librbe'
    curve 1 2 'librbe, augmented'
    echo "'$work/plain' using 1:2:3:4:5:6 with boxxyerror lc rgb '$(color 1)' lw 2 fs empty title 'BitNetMCU', \\"
    echo "'$work/connected' with points lc rgb '$(color 2)' lw 2 pt 4 ps 1.5 title 'BitNetMCU, augmented', \\"
    echo "'$work/convolutions' with points lc rgb '$(color 3)' lw 2 pt 6 ps 1.5 \\"
    echo "    title 'BitNetMCU, augmented, convolutions', \\"
    echo "'$work/deep' with points lc rgb '$(color 4)' lw 2 pt 8 ps 1.6 title 'Deep Compression', \\"
    end_plot
}

# Losses may be 0 or less: the axis is linear around 0 and logarithmic beyond, which asinh is. The scores stand beside
# each other where they have the same share.
prune_sweep() {
    expect_header score,removed_percent,repair,original_error,loss_points,loss_points_spread,tuned_loss_points,tuned_loss_points_spread,values,memory_bytes,file_bytes,speed,absorbed_percent
    shift=-1.2
    for score in random gradient magnitude fisher; do
        awk -F, -v score=$score -v shift="$shift" -v base="$work/$score" '$1 == score && $3 == "absorbed" {
            print $2 + shift, $5, $6 > base
            print $2 + shift, $7, $8 > (base ".tuned")
        }' "$results"
        shift=$(echo "$shift" | awk '{ print $1 + 0.8 }')
    done
    floor=$(cat "$work/random" "$work/random.tuned" "$work/gradient" "$work/gradient.tuned" "$work/magnitude" \
        "$work/magnitude.tuned" "$work/fisher" "$work/fisher.tuned" |
        awk 'BEGIN { least = -0.5 } $2 - $3 < least { least = $2 - $3 } END { print 1.15 * least }')
    cat << END
set multiplot
set nonlinear y via asinh(y / 0.2) inverse 0.2 * sinh(y)
set yrange [$floor:100]
set ytics (-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50, 100)
set xrange [0:100]
set xtics 0, 20, 80
set xlabel 'coefficients removed [%]'
set tmargin at screen 0.91
set bmargin at screen 0.13
unset key
set title 'Pruned: at once'
set ylabel 'increase of the test error [points]' offset 1,0
set lmargin at screen 0.11
set rmargin at screen 0.54
END
    plot
    curve random 4 ''
    curve gradient 3 ''
    curve magnitude 2 ''
    curve fisher 1 ''
    end_plot
    cat << END
set title 'Pruned: after fine-tuning'
unset ylabel
set format y ''
set lmargin at screen 0.56
set rmargin at screen 0.985
set key top left title 'score'
END
    plot
    curve random.tuned 4 random
    curve gradient.tuned 3 '|c × gradient|'
    curve magnitude.tuned 2 'magnitude |c|'
    curve fisher.tuned 1 Fisher
    end_plot
    echo "unset multiplot"
}

prune_thresholds() {
    case $(head -n 1 "$results") in
    threshold,relative,knee,removed_percent,test_error,test_error_spread,tuned_error,tuned_error_spread,original_error,standard_error,dense_error,values,memory_bytes,file_bytes,speed*) ;;
    *) fail "'$results' has another first line than $kind writes" ;;
    esac
    awk -F, 'NR > 1 { print $1, $5, $6 }' "$results" > "$work/error"
    awk -F, 'NR > 1 { print $1, $7, $8 }' "$results" > "$work/tuned"
    awk -F, 'NR > 1 { print $1, 100 - $4, 0 }' "$results" > "$work/kept"
    awk -F, 'NR > 1 && $3 == 1 { print $1, $5, $4 }' "$results" > "$work/knee" # T, error, removed
    original=$(awk -F, 'NR == 2 { print $9 }' "$results")
    dense=$(awk -F, 'NR == 2 { print $11 }' "$results")
    { cat "$work/error" "$work/tuned"; echo "0 $original 0"; [ -z "$dense" ] || echo "0 $dense 0"; } > "$work/errors"
    unit=' of |c|'
    [ "$(awk -F, 'NR == 2 { print $2 }' "$results")" = 0 ] || unit=" [root mean square of the layer's coefficients]"
    cat << END
set title 'Pruning thresholds: |c| ≤ T is removed'
set xlabel $(quoted "threshold T$unit")
set xrange [0:$(tail -n 1 "$work/error" | cut -d ' ' -f 1)]
set logscale y
set ylabel 'test error [%]'
set yrange $(bounds "$work/errors" 2 3)
set ytics (0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
set y2label 'coefficients kept [%]'
set y2range [0:100]
set y2tics 20
set border 11
set bmargin 8
set key bmargin center horizontal
END
    plot
    [ -z "$dense" ] || echo "$dense with lines lc rgb '#444444' lw 4 title 'dense network', \\"
    echo "$original with lines lc rgb '#444444' lw 3 dt (2,3) title 'before pruning', \\"
    curve error 2 'test error, at once'
    curve tuned 3 'test error, fine-tuned' 'dt (6,4) pt 7 ps 1.2'
    curve kept 1 'coefficients kept (right)' 'pt 5 ps 1.2' 'axes x1y2'
    while read -r x _ removed; do
        echo "'$work/knee' using 1:2 with points pt 6 ps 3 lw 3 lc rgb '#000000' \\"
        echo "    title 'knee: T = $x, $(printf %.0f "$removed") % removed', \\"
        echo "'$work/knee' using 1:(1e-9):(0):(1e9) with vectors nohead lc rgb '#000000' lw 2 dt (2,3) notitle, \\"
    done < "$work/knee"
    end_plot
}

tune_blocks() {
    expect_header given,chosen,block,group,memory_bytes,us,error,memory_score,speed_score,accuracy_score,score
    # A form that was measured twice - that of the layer as it was, or a group cut to the rows there are - once.
    awk -F, 'NR == FNR { if ($2 == 1) chosen = $3 "," $4; next }
        FNR > 1 && ($2 == 1 || ($3 "," $4 != chosen && !seen[$3, $4]++))' "$results" "$results" |
        sort -t , -k 3,3n -k 4,4n > "$work/candidates"
    margin=9
    offset=-3.2
    rotation=
    label='"B = %d, G = %d\\n%.3g kB\\n%.3g µs\\nerror %.2g"'
    if [ "$(wc -l < "$work/candidates")" -gt 5 ]; then # too many for long labels
        margin=8
        offset=0
        rotation='rotate by -90'
        label='"%d, %d"'
    fi
    awk -F, -v label="$label" '{
        if (label ~ /kB/)
            printf label, $3, $4, $5 / 1000, $6, $7
        else
            printf label, $3, $4
        print "", $8, $9, $10, $11, $2
    }' "$work/candidates" > "$work/scores"
    cat << END
set title 'Block sizes: the scores of every candidate'
set style data histograms
set style histogram clustered gap 1
set style fill solid noborder
set boxwidth 0.9 relative
set ylabel 'score, 1 for the best'
set yrange [0:1.1]
set ytics 0, 0.2, 1
set xtics scale 0 $rotation
set xrange [-0.6:$(wc -l < "$work/candidates") - 0.4]
set xlabel 'candidate: block size B, G block rows that share positions' offset 0,$offset
set bmargin $margin
set key bmargin center horizontal
unset grid
set grid ytics lc rgb '#dddddd' lt 1
END
    plot
    echo "'$work/scores' using 2:xtic(1) lc rgb '$(color 1)' title 'memory', \\"
    echo "'' using 3 lc rgb '$(color 2)' title 'speed', \\"
    echo "'' using 4 lc rgb '$(color 3)' title 'accuracy', \\"
    echo "'' using 5 lc rgb '$(color 5)' title 'weighted mean', \\"
    echo "'' using 0:(\$6 == 1 ? 1.05 : 1/0):('chosen') with labels tc rgb '#222222' notitle, \\"
    end_plot
}

case $kind in
growth | frontier | prune_sweep | prune_thresholds | tune_blocks) "$kind" > "$work/plot" ;;
*) fail "expected growth, frontier, prune_sweep, prune_thresholds or tune_blocks, found '$kind'" ;;
esac

draw() { # TERMINAL FILE
    cat << END
set encoding utf8
set terminal $1
set output $(quoted "$2")
set grid ytics xtics lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror textcolor rgb '#222222'
set key top right vertical Left reverse samplen 2.5 textcolor rgb '#222222'
END
    cat "$work/plot"
}

mkdir -p "$(dirname "$picture")"
draw "pngcairo size 1000,700 font 'sans,15'" "$picture" > "$work/png"
draw "svg size 1000,700 font 'sans,18' background 'white'" "${picture%.png}.svg" > "$work/svg"
if ! gnuplot "$work/png" "$work/svg" 2> "$work/errors"; then
    cat "$work/errors" >&2
    fail "gnuplot failed"
fi

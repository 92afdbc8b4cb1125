#!/bin/sh
# Draws loss and error against the epoch, of any number of training logs, as PNG and as SVG beside it.
set -eu

usage() {
    echo "Usage: plot_training.sh OUT.png LOG.csv[:LABEL]..."
    echo "Draws the logs of rbe_fit (train_digits --out DIR writes DIR/log.csv) into OUT.png and OUT.svg: test"
    echo "curves solid, with the error's uncertainty as a band, training curves dashed. A label is by default the"
    echo "name of the log's folder. Needs gnuplot, no display."
}

fail() {
    echo "plot_training.sh: $*" >&2
    exit 1
}

case ${1:-} in
-h | --help)
    usage
    exit 0
    ;;
esac
if [ $# -lt 2 ]; then
    usage >&2
    exit 2
fi
command -v gnuplot > /dev/null || fail "gnuplot is not there: sh scripts/deps.sh installs it"

picture=$1
shift
case $picture in
*.png) ;;
*) fail "the picture's name should end in .png, found '$picture'" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

header=kind,epoch,step,train_loss,train_error,test_loss,test_error,test_error_uncertainty,learning_rate
colors='#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #000000'

# A string of gnuplot's.
quoted() {
    printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"
}

# Epoch rows as columns: epoch, train loss, train error, test loss, test error, its uncertainty; errors in percent.
# A logarithmic axis has no place for 0: such points are left out.
count=0
: > "$work/loss"
: > "$work/error"
: > "$work/legend"
for argument in "$@"; do
    log=$argument
    label=
    if [ ! -f "$log" ]; then
        log=${argument%:*}
        label=${argument##*:}
    fi
    [ -f "$log" ] || fail "there is no file '$log'"
    [ "$(head -n 1 "$log")" = "$header" ] || fail "'$log' is not a training log: its first line differs"
    [ -n "$label" ] || label=$(basename "$(dirname "$log")")
    count=$((count + 1))
    data=$work/$count
    awk -F, '
        function value(x, factor) { return x == "" || x <= 0 ? "NaN" : factor * x }
        $1 == "epoch" { print $2, value($4, 1), value($5, 100), value($6, 1), value($7, 100), 100 * $8 }
    ' "$log" > "$data"
    [ -s "$data" ] || fail "'$log' has no finished epoch"
    # shellcheck disable=SC2086 # a list
    color=$(echo $colors | cut -d ' ' -f $(((count - 1) % 7 + 1)))
    line="with linespoints lc rgb '$color' lw 2.5 pt 7 ps 0.5"
    {
        echo "'$data' using 1:2 $line dt (6,4) notitle,"
        echo "'$data' using 1:4 $line notitle,"
    } >> "$work/loss"
    {
        echo "'$data' using 1:(\$5-\$6 > 0 ? \$5-\$6 : \$5/2):(\$5+\$6) with filledcurves lc rgb '$color' \\"
        echo "    fs transparent solid 0.15 noborder notitle,"
        echo "'$data' using 1:3 $line dt (6,4) notitle,"
        echo "'$data' using 1:5 $line notitle,"
    } >> "$work/error"
    echo "NaN with lines lc rgb '$color' lw 2.5 title $(quoted "$label")," >> "$work/legend"
done

{
    echo "NaN with lines lc rgb '#444444' lw 2.5 title 'test',"
    echo "NaN with lines lc rgb '#444444' lw 2.5 dt (6,4) title 'training'"
} >> "$work/legend"

# The commas at the ends join the curves of one plot.
joined() {
    sed -e 's/,$/, \\/' "$1"
}

# The axes end a factor of 4 below the best test value (training value, without test data): how fast the training loss and
# error vanish below is of no interest.
limits() { # COLUMN of the training value; that of the test is two further
    cat "$work"/[0-9]* | awk -v train="$1" '
        $5 != "NaN" { tested = 1 }
        {
            a[NR] = $train
            b[NR] = $(train + 2)
        }
        END {
            for (n = 1; n <= NR; n++) {
                x = tested ? b[n] : a[n]
                if (x != "NaN" && (best == 0 || x < best)) best = x
                if (a[n] != "NaN" && a[n] > most) most = a[n]
                if (b[n] != "NaN" && b[n] > most) most = b[n]
            }
            print "[" (best == 0 ? "*" : best / 4) ":" (most == 0 ? "*" : 1.3 * most) "]"
        }'
}
last=$(cat "$work"/[0-9]* | awk '$1 > last { last = $1 } END { print last }')

draw() { # TERMINAL FILE
    cat << END
set terminal $1
set output $(quoted "$2")
set multiplot
set logscale y
set grid ytics xtics lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror textcolor rgb '#222222'
set xlabel 'epoch'
set xrange [1:$last + ($last == 1)]
$([ "$last" -gt 12 ] || echo "set xtics 1")
set tmargin at screen 0.91
set bmargin at screen 0.25
unset key

set title 'Loss'
set ylabel 'mean cross-entropy [nat]' offset 0.5,0
set format y '%g'
set yrange $(limits 2)
set ytics (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
set lmargin at screen 0.095
set rmargin at screen 0.485
plot \\
$(joined "$work/loss")
    1/0 notitle

set title 'Error'
set ylabel 'wrong answers [%]' offset 0.5,0
set yrange $(limits 3)
set ytics (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
set lmargin at screen 0.585
set rmargin at screen 0.975
plot \\
$(joined "$work/error")
    1/0 notitle

unset title
unset xlabel
unset ylabel
unset tics
unset border
set yrange [1:2]
set lmargin at screen 0.03
set rmargin at screen 0.97
set bmargin at screen 0.0
set tmargin at screen 0.135
set key center center horizontal Left reverse samplen 2.5 width 1 textcolor rgb '#222222'
plot \\
$(joined "$work/legend")

unset multiplot
END
}

mkdir -p "$(dirname "$picture")" || fail "cannot create the folder of '$picture'"
draw "pngcairo size 1200,640 font 'DejaVu Sans,17' noenhanced" "$picture" > "$work/png.gp"
draw "svg size 1200,640 font 'DejaVu Sans,19' noenhanced background 'white'" "${picture%.png}.svg" > "$work/svg.gp"
gnuplot "$work/png.gp" || fail "gnuplot could not draw '$picture'"
gnuplot "$work/svg.gp" || fail "gnuplot could not draw '${picture%.png}.svg'"
echo "$picture ${picture%.png}.svg"

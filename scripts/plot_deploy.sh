#!/bin/sh
# Draws the error of exported classifiers against the bytes that they take of a microcontroller's flash memory, as PNG and as
# SVG beside it.
set -eu

[ "${1:-}" = -h ] && set -- --help
if [ "${1:-}" = --help ] || [ $# -ne 2 ]; then
    echo "Usage: plot_deploy.sh TABLE OUT.png"
    echo "Draws what deploy.sh printed: the error of all test images against the bytes for a Cortex-M4, linked; a curve"
    echo "for each way to export. Needs gnuplot, no display."
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
table=$1
picture=$2

fail() {
    echo "plot_deploy.sh: $*" >&2
    exit 1
}

command -v gnuplot > /dev/null || fail "gnuplot is not there: sh scripts/deps.sh installs it"
[ -f "$table" ] || fail "there is no file '$table'"
case $picture in
*.png) ;;
*) fail "the picture's name should end in .png, found '$picture'" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Export, kB, error in percent, model; curves from small to large.
awk '
    $3 == "host" { error[$1, $2] = 100 * $(NF - 1) / $(NF - 2) }
    $3 == "cortex-m4" && ($1, $2) in error { print $2, $6 / 1000, error[$1, $2], $1 }
' "$table" | sort -k 1,1 -k 2,2g > "$work/points"
[ -s "$work/points" ] || fail "'$table' has no lines of deploy.sh for host and cortex-m4"

curves=
number=0
for export in $(cut -d ' ' -f 1 "$work/points" | uniq); do
    color=$(echo '#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #444444' | cut -d ' ' -f $((number % 6 + 1)))
    number=$((number + 1))
    awk -v export="$export" '$1 == export { print $2, $3, $4 }' "$work/points" > "$work/$number"
    title=$(echo "$export" | tr '+' ' ')
    above=$((number == 1 ? 1 : -1)) # names of points of other curves stand below
    curves="$curves '$work/$number' using 1:2 with linespoints lc rgb '$color' lw 3 pt 7 ps 1.2 title '$title',"
    curves="$curves '' using 1:2:3 with labels noenhanced offset 0,$above tc rgb '$color' notitle,"
done

draw() { # TERMINAL FILE
    cat << END
set terminal $1
set output '$2'
set title 'Digits classifiers as C files'
set xlabel 'flash memory of a Cortex-M4, code and constants [kB]'
set ylabel 'test error [%]'
set grid lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror textcolor rgb '#222222'
set key top right noenhanced
set offsets 0, graph 0.08, graph 0.15, 0
set xrange [0:*]
set yrange [0:*]
plot $curves 1/0 notitle
END
}

draw "pngcairo size 1200,800 font 'DejaVu Sans,18'" "$picture" | gnuplot
draw "svg size 1200,800 font 'DejaVu Sans,18'" "${picture%.png}.svg" | gnuplot
echo "$picture and ${picture%.png}.svg are written"

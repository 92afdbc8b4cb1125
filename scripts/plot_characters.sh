#!/bin/sh
# Means of a table of characters.sh, and a picture of some or all of them, where one is there: loss against bytes, and against
# core-seconds of training.
set -u

if [ $# -lt 2 ]; then
    echo "Usage: plot_characters.sh TABLE.csv PICTURE.png [NAME...]   (names of the table to draw; default: all)" >&2
    exit 2
fi
table=$1
picture=$2
shift 2
means=$(mktemp)
drawn=$(mktemp)
trap 'rm -f "$means" "$drawn"' EXIT
trap 'exit 1' HUP INT TERM

# name, trainings, mean and standard deviation of the loss, values, bytes, bytes of the file, seconds, peak
awk -F , 'NR > 1 {
    if (!($1 in n)) names[++count] = $1
    n[$1]++; sum[$1] += $3; squares[$1] += $3 * $3
    values[$1] = $4 + $5; bytes[$1] = $6; file[$1] = $7; seconds[$1] += $8; peak[$1] = $9
}
END {
    for (k = 1; k <= count; k++) {
        name = names[k]; m = sum[name] / n[name]
        spread = n[name] > 1 ? sqrt((squares[name] - n[name] * m * m > 0 ? squares[name] - n[name] * m * m : 0) / (n[name] - 1)) : 0
        printf "%s %d %.4f %.4f %d %d %d %.1f %d\n", name, n[name], m, spread, values[name], bytes[name], file[name],
            seconds[name] / n[name], peak[name]
    }
}' "$table" > "$means"
awk 'BEGIN { printf "%-24s %5s %8s %8s %10s %10s %10s %9s %8s\n", "", "seeds", "loss", "+-", "values", "bytes", "int8 file", "seconds", "peak MB" }
    { printf "%-24s %5d %8.4f %8.4f %10d %10d %10d %9.1f %8.1f\n", $1, $2, $3, $4, $5, $6, $7, $8, $9 / 1e6 }' "$means"

awk -v names=" $* " 'names ~ /^ +$/ || index(names, " " $1 " ")' "$means" > "$drawn"
[ -s "$drawn" ] || exit 0

curves() { # COLUMN of the abscissa
    echo "'< grep dense $drawn' using $1:3:4 with yerrorbars pt 7 ps 1.6 lw 2 lc rgb '#0072B2' title 'dense', \\"
    echo "'< grep -v dense $drawn' using $1:3:4 with yerrorbars pt 5 ps 1.6 lw 2 lc rgb '#D55E00' title 'compressed', \\"
    echo "'$drawn' using $1:3:1 with labels left offset 0.8,0.5 font ',13' tc rgb '#444444' noenhanced notitle"
}

gnuplot << END
set terminal pngcairo size 1200,600 font 'DejaVu Sans,17' background '#ffffff'
set output '$picture'
set multiplot layout 1,2 title 'Shakespeare by characters: means over seeds, bars of one standard deviation'
set grid lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror
set logscale x
set ylabel 'validation loss [nats per character]' offset 1,0
set key bmargin center horizontal
set offsets 0, 0, graph 0.1, graph 0.15
set format x '%.0s %cB'
set xtics (1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7)
stats '$drawn' using 6 name 'bytes' nooutput
stats '$drawn' using 8 name 'seconds' nooutput
set xrange [bytes_min / 1.5 : bytes_max * 4]
set xlabel 'bytes of all parameters, positions included'
plot $(curves 6)
set xlabel 'core-seconds of training'
set format x '%g'
set xtics (20, 50, 100, 200, 500, 1000, 2000, 5000)
set xrange [seconds_min / 1.5 : seconds_max * 2]
plot $(curves 8)
END

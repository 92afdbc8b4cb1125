#!/bin/sh
# Draws test error against the size of the file, as PNG and as SVG beside it: what frontier.sh measured, and published
# classifiers of MNIST. To be read at 600 pixels.
set -eu

if [ "${1:-}" = --help ] || [ $# -ne 2 ]; then
    echo "Usage: plot_frontier.sh frontier.csv OUT.png"
    echo "Means over the seeds, with their spread. Needs gnuplot, no display."
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
results=$1
picture=$2
fail() {
    echo "plot_frontier.sh: $*" >&2
    exit 1
}
command -v gnuplot > /dev/null || fail "gnuplot is not there: sh scripts/deps.sh installs it"
[ -f "$results" ] || fail "there is no file '$results'"
case $picture in
*.png) ;;
*) fail "the picture's name should end in .png, found '$picture'" ;;
esac
[ "$(head -n 1 "$results")" = augmented,budget,width,bits,group,strength,epochs,seed,test_error,file_bytes,seconds ] ||
    fail "'$results' has another first line than frontier writes"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

for augmented in 0 1; do # bytes, mean, spread
    awk -F, -v augmented=$augmented 'NR > 1 && $1 == augmented {
        n[$2]++; sum[$2] += $9; square[$2] += $9 * $9
        if ($10 > bytes[$2]) bytes[$2] = $10
    }
    END {
        for (b in n) {
            mean = sum[b] / n[b]
            variance = n[b] > 1 ? (square[b] - n[b] * mean * mean) / (n[b] - 1) : 0
            print bytes[b], mean, sqrt(variance > 0 ? variance : 0)
        }
    }' "$results" | sort -n > "$work/$augmented"
done
[ -s "$work/0" ] || [ -s "$work/1" ] || fail "'$results' has no results"

# Published, as their authors count: bytes, error.
cat > "$work/connected" << 'END'
1100 5.78
3100 3.21
6100 1.87
7500 1.48
12600 0.99
END
cat > "$work/plain" << 'END'
11700 1.84
17000 1.65
27000 1.58
END
cat > "$work/convolution" << 'END'
3200 1.08
5400 0.94
7300 0.72
13000 0.42
END

draw() { # TERMINAL FILE
    cat << END
set encoding utf8
set terminal $1
set output '$2'
set title 'MNIST: test error against the size of the file'
set logscale xy
set xlabel 'bytes of the file, everything counted'
set format x '%.0s %cB'
set xrange [900:260000]
set xtics (1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5)
set ylabel 'test error [%]'
set yrange [0.38:8]
set ytics (0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7)
set grid ytics xtics lc rgb '#dddddd' lt 1
set border 3 lc rgb '#444444'
set tics nomirror textcolor rgb '#222222'
set key top right vertical Left reverse samplen 2.5 textcolor rgb '#222222'
plot \\
END
    curve 0 '#0072B2' 'librbe'
    curve 1 '#D55E00' 'librbe, augmented training images'
    cat << END
    '$work/plain' with points lc rgb '#0072B2' lw 2 pt 8 ps 1.6 title 'published, fully connected [1, 2]', \\
    '$work/connected' with points lc rgb '#D55E00' lw 2 pt 4 ps 1.5 title 'published, fully connected, augmented [1]', \\
    '$work/convolution' with points lc rgb '#777777' lw 2 pt 6 ps 1.5 title 'published, convolutions, augmented [1]'
END
}

curve() { # NAME COLOUR TITLE
    [ -s "$work/$1" ] || return 0
    echo "    '$work/$1' using 1:2:3 with yerrorbars lc rgb '$2' lw 2 pt 7 ps 0.4 notitle, \\"
    echo "    '' using 1:2 with linespoints lc rgb '$2' lw 3 pt 7 ps 1.2 title '$3', \\"
}

mkdir -p "$(dirname "$picture")"
draw "pngcairo size 1000,700 font 'sans,15'" "$picture" > "$work/png"
draw "svg size 1000,700 font 'sans,18' background 'white'" "${picture%.png}.svg" > "$work/svg"
gnuplot "$work/png" "$work/svg" 2> "$work/errors" || {
    cat "$work/errors" >&2
    fail "gnuplot failed"
}

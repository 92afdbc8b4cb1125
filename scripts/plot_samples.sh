#!/bin/sh
# Draws ten training samples of each class of a folder with MNIST's file names; or one of each class, and what augmentation
# makes of it in nine epochs.
set -eu

[ "${1:-}" = -h ] && set -- --help
if [ "${1:-}" = --help ] || [ $# -gt 4 ] || [ $# -eq 3 ]; then
    echo "Usage: plot_samples.sh [DIR [PICTURE.png [AUGMENT ELASTIC]]]   (default: data out/digits.png)"
    echo "AUGMENT and ELASTIC are strengths, as of train_digits: 0.5 0.8."
    echo "Needs gnuplot and build/examples/make_digits; BUILD=... names another build folder."
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
folder=${1:-data}
picture=${2:-out/digits.png}
affine=${3:-0}
elastic=${4:-0}
title="Ten samples of each class: $folder"
[ $# -lt 4 ] || title="$folder: one of each class, and nine variants (affine $affine, elastic $elastic)"
program=${BUILD:-build}/examples/make_digits

if [ ! -x "$program" ]; then
    echo "plot_samples.sh: $program is not there: run make first" >&2
    exit 1
fi
pixels=$(mktemp)
trap 'rm -f "$pixels"' EXIT
trap 'exit 1' HUP INT TERM
"$program" --dump "$folder" --augment "$affine" --elastic "$elastic" > "$pixels"
mkdir -p "$(dirname "$picture")"
PIXELS=$pixels PICTURE=$picture TITLE=$title gnuplot <<'END'
set terminal pngcairo size 960,980 font "Sans,16"
set output system('printf %s "$PICTURE"')
set title system('printf %s "$TITLE"') noenhanced
set palette gray negative
set size ratio -1
set lmargin at screen 0.03
set rmargin at screen 0.97
set bmargin at screen 0.01
set tmargin at screen 0.93
set title offset 0,-0.4
set yrange [*:*] reverse
unset tics
unset colorbox
unset key
unset border
plot system('printf %s "$PIXELS"') matrix with image
END
echo "$picture"

#!/bin/sh
# Measures what docs/scaling.md says, and draws its picture.
set -eu

usage() {
    echo "Usage: scaling.sh [BUILD [OUT [PART ...]]]   (default: build out, all parts)"
    echo "steps   a step of one rank, and of two on a wire of 1 Gbit/s: OUT/steps.csv, OUT/two.csv, OUT/slices.csv"
    echo "wire    two ranks over TCP at limited rates, against the model: OUT/wire.csv (MPI=1, root)"
    echo "seeds   errors of 1, 2 and 4 ranks, five seeds each: OUT/seeds.csv (MPI=1)"
    echo "model   2 to 256 ranks, from OUT/steps.csv: OUT/scaling.csv, OUT/scaling.png and .svg"
    echo "Takes some minutes on a machine that does nothing else. Parts marked MPI=1 need a BUILD made by make MPI=1."
}

fail() {
    echo "scaling.sh: $*" >&2
    exit 1
}

case ${1:-} in
-h | --help)
    usage
    exit 0
    ;;
esac
build=${1:-build}
out=${2:-out}
[ $# -gt 2 ] && shift 2 && parts=$* || parts="steps wire seeds model"
here=$(dirname "$0")
bench=$build/bench/bench_ranks
train=$build/examples/train_digits
for program in "$bench" "$train"; do
    [ -x "$program" ] || fail "$program is not there: run make all $bench first"
done
case $(ldd "$train") in
*libmpich*) launcher="mpirun.mpich" ;;
*libmpi.so*) launcher="mpirun.openmpi --allow-run-as-root --oversubscribe" ;;
*) launcher= ;;
esac
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
export OPENBLAS_NUM_THREADS=1

# ---- steps -------------------------------------------------------------------------------------------------------

header=net,ratio,batch,ranks,gbit,overlap,slices,step_ms,over_one,low,high,bytes,layers

steps() {
    { echo $header; "$bench" --csv --dense --alone --gbit 1 --steps 15; } > "$out/two.csv"
    { echo $header; "$bench" --csv --dense --ranks 1 --slices 4 --steps 15; } > "$out/slices.csv"
    echo "net,ratio,step_ms,layers" > "$out/steps.csv"
    "$bench" --csv --dense --ranks 1 --steps 15 > "$work/steps"
    "$bench" --csv --dense --ranks 1 --net vgg --batch 32 --steps 2 --turns 1 >> "$work/steps"
    "$bench" --csv --dense --ranks 1 --net gpt --batch 12 --steps 5 --turns 3 >> "$work/steps"
    awk -F, 'BEGIN { OFS = FS } { print $1, $2, $8, $13 }' "$work/steps" >> "$out/steps.csv"
    cat "$out/two.csv" "$out/slices.csv" "$out/steps.csv"
}

# ---- TCP ---------------------------------------------------------------------------------------------------------

# Both directions go through the one bucket of the loopback device: it has twice the rate.
cat > "$work/limited" << 'END'
rate=$1
shift
ip link set lo up
if [ "$rate" = 0 ]; then
    tc qdisc add dev lo root pfifo limit 10000
else
    tc qdisc add dev lo root tbf rate $((2 * rate))mbit burst 256kb latency 200ms
fi
"$@"
status=$?
tc -s qdisc show dev lo | awk '/Sent/ { print "sent", $2 }'
exit $status
END

# Milliseconds of a step of two ranks, and the bytes that each sends in it.
over_tcp() { # MBIT OPTION...
    rate=$1
    shift
    # shellcheck disable=SC2086 # the launcher has options
    case $launcher in
    *mpich) set -- env UCX_TLS=tcp,self MPIR_CVAR_NOLOCAL=1 FI_PROVIDER=tcp $launcher -np 2 "$@" ;;
    *) set -- $launcher --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include lo --mca oob_tcp_if_include lo -np 2 "$@" ;;
    esac
    unshare -n sh "$work/limited" "$rate" "$@" > "$work/output" 2>&1 || { cat "$work/output"; fail "two ranks over TCP"; }
    awk '/^seconds per epoch/ { ms = 1000 * $4 / 20 } /^sent/ { bytes = $2 / 2 / 20 } END { printf "%.2f %.0f\n", ms, bytes }' \
        "$work/output"
}

wire() {
    [ -n "$launcher" ] || { echo "wire: not a build with MPI=1: skipped"; return; }
    unshare -n tc qdisc show > /dev/null 2>&1 || { echo "wire: needs root, and tc: skipped"; return; }
    "$build/examples/make_digits" --train 10240 --test 100 --out "$work/digits" > /dev/null
    echo layer,ranks,mbit,step_ms,model_ms,bytes > "$out/wire.csv"
    for layer in rbe dense; do
        layers=51200+66560+10250
        [ $layer = dense ] && layers=803840+1049600+10250
        "$train" --data "$work/digits" --layer $layer --hidden 1024,1024 --batch 256 --epochs 1 --threads 1 > "$work/output" 2>&1
        awk -v layer=$layer '/^seconds per epoch/ { printf "%s,1,0,%.2f,,0\n", layer, 1000 * $4 / 40 }' "$work/output" \
            >> "$out/wire.csv"
        for mbit in 0 1000 300 100; do
            # shellcheck disable=SC2046 # two words
            set -- $(over_tcp $mbit "$train" --data "$work/digits" --layer $layer --hidden 1024,1024 --batch 512 \
                --epochs 1 --threads 1)
            [ $mbit = 0 ] && unlimited=$1 model=
            [ $mbit != 0 ] && model=$(printf 'net,ratio,step_ms,layers\ndigits,16,%s,%s\n' "$unlimited" $layers |
                awk -v ranks=2 -v gbits="$(awk "BEGIN { print $mbit / 1000 }")" -f "$here/scaling.awk" | tail -n 1 | cut -d , -f 6)
            echo "$layer,2,$mbit,$1,$model,$2" >> "$out/wire.csv"
        done
    done
    cat "$out/wire.csv"
}

# ---- seeds -------------------------------------------------------------------------------------------------------

seeds() {
    [ -n "$launcher" ] || { echo "seeds: not a build with MPI=1: skipped"; return; }
    "$build/examples/make_digits" --train 6000 --test 2000 --out "$work/seeds" > /dev/null
    echo ranks,seed,test_error > "$out/seeds.csv"
    for ranks in 1 2 4; do
        for seed in 1 2 3 4 5; do
            # shellcheck disable=SC2086 # the launcher has options
            $launcher -np $ranks "$train" --data "$work/seeds" --hidden 128 --growth --batch 100 --epochs 4 --threads 1 \
                --seed $seed --out "$work/run" > "$work/output" 2>&1 || { cat "$work/output"; fail "$ranks ranks"; }
            awk -F, -v ranks=$ranks -v seed=$seed 'END { print ranks "," seed "," $7 }' "$work/run/log.csv" >> "$out/seeds.csv"
        done
    done
    awk -F, 'NR > 1 { n[$1]++; sum[$1] += $3; squares[$1] += $3 * $3 }
        END { for (r = 1; r <= 4; r *= 2) { mean = sum[r] / n[r]
            printf "%d ranks: test error %.2f %%, standard deviation of %d seeds %.2f\n", r, 100 * mean, n[r],
                100 * sqrt((squares[r] - n[r] * mean * mean) / (n[r] - 1)) } }' "$out/seeds.csv"
}

# ---- model and picture -------------------------------------------------------------------------------------------

model() {
    [ -f "$out/steps.csv" ] || fail "$out/steps.csv is not there: scaling.sh $build $out steps makes it"
    awk -f "$here/scaling.awk" "$out/steps.csv" > "$out/scaling.csv"
    command -v gnuplot > /dev/null || { echo "gnuplot is not there: no picture"; return; }
    for kind in png svg; do
        [ $kind = png ] && terminal="pngcairo size 1200,620 font 'Sans,15'"
        [ $kind = svg ] && terminal="svg size 1200,620 font 'Sans,15' background 'white'"
        {
            echo "set terminal $terminal; set output '$out/scaling.$kind'; set datafile separator ','"
            echo "set multiplot"
            echo "set logscale x 2; set logscale y; set xrange [1:300]; set xtics (1, 4, 16, 64, 256); set grid"
            echo "set key off; set border 3; set tics nomirror; set xlabel 'nodes'"
            panel=0
            for net in digits vgg gpt; do
                left=$(awk "BEGIN { print 0.08 + 0.32 * $panel }")
                right=$(awk "BEGIN { print 0.08 + 0.32 * $panel + 0.255 }")
                title="784-1024-1024-10"
                [ $net = vgg ] && title="25088-4096-4096-1000"
                [ $net = gpt ] && title="transformer, 4 x 256"
                echo "set lmargin at screen $left; set rmargin at screen $right"
                echo "set tmargin at screen 0.84; set bmargin at screen 0.14"
                echo "set title '$title'"
                plot=
                color=1
                for gbit in 1 10 100; do
                    rgb=$(echo "#D55E00 #0072B2 #009E73" | cut -d ' ' -f $color)
                    for ratio in 16 1; do
                        dash=
                        [ $ratio = 1 ] && dash="dt (6,4)"
                        awk -F, -v net=$net -v gbit=$gbit -v ratio=$ratio '$1 == net && $2 == ratio && $4 == gbit {
                            print $3 "," $6 }' "$out/scaling.csv" > "$work/$net-$gbit-$ratio"
                        plot="$plot${plot:+, }'$work/$net-$gbit-$ratio' with lines lc rgb '$rgb' lw 3 $dash"
                    done
                    color=$((color + 1))
                done
                echo "plot $plot"
                panel=$((panel + 1))
            done
            echo "unset title; unset xlabel; unset tics; unset border; unset grid; unset logscale"
            echo "set lmargin at screen 0.03; set rmargin at screen 0.97; set tmargin at screen 0.995; set bmargin at screen 0.86"
            echo "set label 'a step, ms' at screen 0.015, 0.962; set xrange [0:1]; set yrange [0:1]; set key at screen 0.97,0.985 horizontal maxcols 5 samplen 2.5 width 1"
            echo "plot NaN with lines lc rgb '#D55E00' lw 3 title '1 Gbit/s', NaN with lines lc rgb '#0072B2' lw 3 title '10', \\"
            echo "    NaN with lines lc rgb '#009E73' lw 3 title '100', \\"
            echo "    NaN with lines lc rgb '#444444' lw 3 title 'ratio 16', NaN with lines lc rgb '#444444' lw 3 dt (6,4) title 'dense'"
            echo "unset multiplot"
        } > "$work/plot"
        gnuplot "$work/plot"
    done
    echo "$out/scaling.png"
}

for part in $parts; do
    case $part in
    steps | wire | seeds | model) $part ;;
    *) fail "there is no part '$part'" ;;
    esac
done

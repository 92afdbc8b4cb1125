#!/bin/sh
# Character transformers on a text, dense and compressed: trains each configuration with several seeds, one thread each, and
# appends a line per training to OUT/characters.csv. What is there already is not trained again, so it may be interrupted.
# At the end prints all means and draws those of the main group, OUT/characters.png.
set -u

usage() {
    echo "Usage: characters.sh BUILD OUT TEXT [GROUP [SEEDS]]"
    echo "GROUP: main (default), tuning, transforms, long. SEEDS: default \"1 2 3 4 5\"."
    echo "JOBS=N trains N at a time, each on its own processor (default 1)."
}

case ${1:-} in
-h | --help)
    usage
    exit 0
    ;;
esac
if [ $# -lt 3 ] || [ $# -gt 5 ]; then
    usage >&2
    exit 2
fi
build=$1
out=$2
text=$3
group=${4:-main}
seeds=${5:-1 2 3 4 5}
jobs=${JOBS:-1}
program=$build/examples/char_model
if [ ! -x "$program" ]; then
    echo "characters.sh: $program is not there: run make first" >&2
    exit 1
fi
mkdir -p "$out" || exit 1
table=$out/characters.csv
export OPENBLAS_NUM_THREADS=1

# A name, and options. Rates of "main" are the best of those in "tuning", which leaves them out, as "transforms" leaves
# out rbe-256.
configurations() {
    case $1 in
    main)
        echo "dense-128 --layer dense --width 128 --lr 6e-3"
        echo "rbe-128 --width 128 --lr 6e-3"
        echo "rbe-256 --width 256 --lr 3e-3"
        ;;
    tuning)
        for lr in 1e-3 2e-3 3e-3 1e-2; do echo "dense-128-$lr --layer dense --width 128 --lr $lr"; done
        for lr in 1e-3 2e-3 3e-3 6e-3; do echo "dense-256-$lr --layer dense --width 256 --lr $lr"; done
        for lr in 1e-3 2e-3 3e-3 1e-2; do echo "rbe-128-$lr --width 128 --lr $lr"; done
        for lr in 1e-3 2e-3 6e-3; do echo "rbe-256-$lr --width 256 --lr $lr"; done
        ;;
    transforms)
        echo "rbe-256-growth --width 256 --lr 3e-3 --growth"
        echo "rbe-256-dct --width 256 --lr 3e-3 --transform dct"
        echo "rbe-256-dct-growth --width 256 --lr 3e-3 --transform dct --growth"
        ;;
    long) echo "rbe-256-long --width 256 --lr 3e-3 --steps 5000 --batch 16 --context 128 --dropout 0.05" ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
}

# One training: its JSON line becomes a line of the table.
train() { # NAME SEED OPTIONS...
    name=$1
    seed=$2
    shift 2
    line=$("$program" --text "$text" --threads 1 --seed "$seed" --store int8 --json "$@" 2> /dev/null | tail -n 1) ||
        return 1
    echo "$line" | sed 's/[{}"]//g' | awk -F '[:,]' -v name="$name" -v seed="$seed" '
        { for (n = 1; n < NF; n += 2) v[$n] = $(n + 1)
          printf "%s,%s,%s,%s,%s,%s,%s,%s,%s\n", name, seed, v["val_loss"], v["linear_values"], v["other_values"],
              v["weight_bytes"], v["file_bytes"], v["core_seconds"], v["peak_bytes"] }' >> "$table"
}

[ -s "$table" ] ||
    echo "name,seed,val_loss,linear_values,other_values,weight_bytes,file_bytes,core_seconds,peak_bytes" > "$table"
running=0
configurations "$group" > "$out/configurations"
while read -r name options; do
    for seed in $seeds; do
        grep -q "^$name,$seed," "$table" && continue
        # shellcheck disable=SC2086 # options are words
        train "$name" "$seed" $options &
        running=$((running + 1))
        if [ $running -ge "$jobs" ]; then
            wait
            running=0
        fi
    done
done < "$out/configurations"
wait
rm -f "$out/configurations"
# shellcheck disable=SC2046 # names are words
sh "$(dirname "$0")/plot_characters.sh" "$table" "$out/characters.png" $(configurations main | cut -d ' ' -f 1)

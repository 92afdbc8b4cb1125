#!/bin/sh
# Trainings of several ranks of which one is killed, interrupted, differs from the others or has a full disk, at random
# moments: each must end by itself, with an exit code that says so, and leave no process behind; after all of them one
# training goes on from the last checkpoint to its end. SOAK_TRIALS=50 says how many, SOAK_SEED=N repeats another run's.
# Needs a build with MPI=1, and its mpirun.
set -u

# shellcheck source=tests/arguments.sh
. "$(dirname "$0")/arguments.sh"
trials=${SOAK_TRIALS:-50}
seed=${SOAK_SEED:-$(date +%s)}

case $(ldd "$train") in
*libmpich*) launcher="mpirun.mpich" ;;
*libmpi.so*) launcher="mpirun.openmpi --allow-run-as-root --oversubscribe" ;;
*)
    echo "soak_ranks.sh: $train has been built without MPI: make MPI=1" >&2
    exit 2
    ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
checkpoint=$work/run.checkpoint
"$build/examples/make_digits" --train 300 --test 100 --out "$work/data" > /dev/null 2>&1
"$build/examples/make_digits" --train 300 --test 100 --seed 9 --out "$work/other" > /dev/null 2>&1
mkdir "$work/full"
ln -s /dev/full "$work/full/log.csv"

state=$((seed % 2147483648))
below() { # N: sets `drawn` to one of 0 .. N - 1
    state=$(((state * 1103515245 + 12345) % 2147483648))
    drawn=$((state / 65536 % $1))
}

# One rank does something else, after a while.
cat > "$work/as_one" << 'END'
victim=$1 how=$2 after=$3
shift 3
rank=${OMPI_COMM_WORLD_RANK:-$PMI_RANK}
[ "$rank" = "$victim" ] || exec "$@"
case $how in
KILL | INT | TERM)
    # In the training, which begins once MPI has begun everywhere.
    (
        tries=0
        until grep -q 'training needs' "$OUTPUT" || [ $tries -eq 200 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        sleep "$after"
        kill "-$how" $$ 2> /dev/null
    ) &
    ;;
early) (sleep "$after"; kill -KILL $$ 2> /dev/null) & ;; # while MPI begins, or before
seed) set -- "$@" --seed 7 ;;
batch) set -- "$@" --batch 31 ;;
usage) set -- "$@" --what ;;
data) set -- "$@" --data "$OTHER_DATA" ;;
esac
exec "$@"
END

run() { # RANKS VICTIM HOW AFTER OPTION...
    number=$1 victim=$2 how=$3 after=$4
    shift 4
    # shellcheck disable=SC2086 # the launcher has options
    OTHER_DATA=$work/other OUTPUT=$work/output timeout -k 1 60 $launcher -np "$number" sh "$work/as_one" "$victim" "$how" "$after" \
        "$train" --data "$work/data" --hidden 32 --batch 30 --growth --dropout 0.1 --threads 1 --epochs 100000 \
        --log-every 1 --checkpoint "$checkpoint" "$@" > "$work/output" 2>&1 < /dev/null
}

give_up() { # WHAT
    echo "soak_ranks: trial $trial of seed $seed: $number ranks, $how on rank $victim after $after s: $1"
    cat "$work/output"
    exit 1
}

trial=1
while [ "$trial" -le "$trials" ]; do
    below 10
    case $drawn in
    0 | 1 | 2) how=KILL ;;
    3) how=INT ;;
    4) how=TERM ;;
    5) how=seed ;;
    6) how=data ;;
    7) how=usage ;;
    8) how=disk ;;
    9) how=early ;;
    esac
    below 3
    number=$((drawn + 2))
    below "$number"
    victim=$drawn
    below 120
    after=$((drawn / 100)).$(printf '%02d' $((drawn % 100)))
    out=$work/out
    [ "$how" = disk ] && out=$work/full
    [ "$how" = seed ] && [ "$victim" -eq 0 ] && victim=1 # the checkpoint is rank 0's
    [ "$how" = data ] && [ "$victim" -eq 0 ] && victim=1
    resume=
    [ -e "$checkpoint" ] && [ "$how" != disk ] && resume=--resume
    start=$(date +%s)
    run "$number" "$victim" "$how" "$after" --out "$out" --every 5 $resume && give_up "exit code 0"
    [ $(($(date +%s) - start)) -lt 60 ] || give_up "it had to be ended"
    sleep 0.2
    left=$(pgrep -f "$checkpoint" | wc -l)
    [ "$left" -eq 0 ] || give_up "$left processes are left"
    trial=$((trial + 1))
done
trial=end number=2 victim=0 how=nothing after=0
if [ -e "$checkpoint" ]; then
    run 2 0 INT 4 --out "$work/out" --every 5 --resume
    grep -q 'goes on from .*, after step [1-9]' "$work/output" || give_up "it does not go on"
fi
echo "soak_ranks: $trials trainings ended as they should, seed $seed"

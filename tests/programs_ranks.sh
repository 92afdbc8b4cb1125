#!/bin/sh
# What train_digits does on several ranks, under the launcher of the MPI that it is linked with: losses, models, ranks that
# fail. Ends with a line "N passed, M failed" and fails if a check did.
set -u

# shellcheck source=tests/shell.sh
. "$(dirname "$0")/shell.sh"

data=$work/data
check "digits" "$make_digits" --train 200 --test 100 --out "$data"

# The launcher of the MPI that the programs are linked with; nothing without.
case $(ldd "$train") in
*libmpich*) launcher=mpirun.mpich ;;
*libmpi.so*) launcher=mpirun.openmpi ;;
*) launcher= ;;
esac

if [ -z "$launcher" ]; then
    expect "ranks without MPI" 1 '^train_digits: INVALID_ARGUMENT: .* built without MPI: make MPI=1$' \
        env OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 "$train" --data "$data" --epochs 1
elif ! command -v "$launcher" > /dev/null; then
    echo "$launcher is not installed: trainings of several ranks are skipped"
else
    cat > "$work/as_one" << 'END'
# as_one HOW PROGRAM ...: rank 1 does something else
how=$1
shift
# For a rank that goes before it begins all wait, under some launchers, until their alarm clocks ring.
[ "$how" = absent ] && { [ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" = 1 ] && exit 0; (sleep 2; kill -ALRM $$ 2> /dev/null) & exec "$@"; }
[ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" = 1 ] || exec "$@"
case $how in
early) kill -KILL $$ ;;
starting) (sleep 0.05; kill -KILL $$) & ;;
option) set -- "$@" --seed 7 ;;
usage) set -- "$@" --what ;;
data) set -- "$@" --data "$OTHER_DATA" ;;
kill) (sleep 1; kill -KILL $$) & ;;
interrupt) (sleep 1; kill -INT $$) & ;;
esac
exec "$@"
END
    ranks() { # NUMBER COMMAND...
        number=$1
        shift
        case $launcher in
        *openmpi) set -- --allow-run-as-root --oversubscribe -np "$number" "$@" ;;
        *) set -- -np "$number" "$@" ;;
        esac
        timeout -k 1 100 "$launcher" "$@"
    }
    shared() { # RANKS OUT OPTION...
        number=$1 out=$2
        shift 2
        ranks "$number" "$train" --data "$data" --epochs 2 --batch 50 --hidden 32 --growth --dropout 0.2 --threads 1 \
            --log-every 1 --out "$out" "$@"
    }
    # The numbers of two logs, but for rounding.
    near() { # LOG LOG
        paste -d, "$1" "$2" | awk -F, 'NR > 1 { for (n = 4; n <= NF / 2; n++) {
            d = $n - $(n + NF / 2); if (d > 1e-4 || d < -1e-4) exit 1 } rows++ } END { exit rows < 10 }'
    }
    fails() { # RANKS NAME HOW PATTERN OPTION...
        number=$1 name=$2 how=$3 pattern=$4
        shift 4
        OTHER_DATA=$work/other ranks "$number" sh "$work/as_one" "$how" "$train" --data "$data" --hidden 32 --batch 50 \
            --threads 1 "$@" > "$work/output" 2>&1 < /dev/null
        found=$?
        # A rank that is killed says nothing; what its launcher says, if anything, is the launcher's affair.
        if [ $found -ne 0 ] && [ $found -ne 124 ] && { [ -z "$pattern" ] || grep -q "$pattern" "$work/output"; }; then
            pass
        else
            fail "$name: exit code $found, expected another than 0 and 124, and '$pattern'"
            sed 's/^/    /' "$work/output"
        fi
    }
    expect "one rank" 0 '^test error' shared 1 "$work/rank1"
    expect "two ranks" 0 '^test error' shared 2 "$work/rank2"
    check "rank 0 alone prints" test "$(grep -c '^test error' "$work/output")" -eq 1
    expect "two ranks again" 0 '^test error' shared 2 "$work/rank2_again"
    expect "four ranks" 0 '^test error' shared 4 "$work/rank4"
    check "two ranks have the losses of one" near "$work/rank1/log.csv" "$work/rank2/log.csv"
    check "four ranks have the losses of one" near "$work/rank1/log.csv" "$work/rank4/log.csv"
    check "two ranks repeat their log" cmp "$work/rank2/log.csv" "$work/rank2_again/log.csv"
    check "two ranks repeat their model" cmp "$work/rank2/model.safetensors" "$work/rank2_again/model.safetensors"

    "$make_digits" --train 200 --test 100 --seed 9 --out "$work/other" > "$work/output" 2>&1
    fails 3 "a rank with another option" option 'rank 1: fit: seed: "7" here, "1" on rank 0'
    fails 3 "a rank with other data" data 'rank 1: fit: train checksum: .* here, .* on rank 0'
    fails 3 "a rank with an unknown option" usage "Try 'train_digits --help'"
    fails 3 "a rank that is killed" kill '' --epochs 100000
    fails 3 "a rank that is killed before MPI begins" early '' --epochs 100000
    fails 3 "a rank that is killed while MPI begins" starting '' --epochs 100000
    fails 3 "a rank that ends before MPI begins" absent 'the other ranks have not begun within a minute' --epochs 100000
    if [ -w /dev/full ]; then
        mkdir -p "$work/full_disk"
        ln -s /dev/full "$work/full_disk/log.csv"
        fails 2 "rank 0's disk is full" disk 'IO_ERROR: .*log.csv: cannot write: No space left on device' \
            --out "$work/full_disk" --log-every 1 --epochs 100000
    fi
    fails 3 "a rank that is interrupted" interrupt '^interrupted: the training was asked to stop' --epochs 100000 \
        --checkpoint "$work/rank.checkpoint"
    check "an interrupted rank leaves a checkpoint to rank 0" test -s "$work/rank.checkpoint"
    fails 2 "two ranks go on where three were" interrupt 'goes on from .*/rank.checkpoint, after step [1-9]' \
        --epochs 100000 --checkpoint "$work/rank.checkpoint" --resume
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

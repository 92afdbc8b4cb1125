#!/bin/sh
# Trainings of train_digits that are killed again and again, at random moments, on a disk that is full at times, until
# they are complete: then the model and the log must be, byte for byte, those of a training that nothing happened to.
# Prints what has happened, and fails with what differs. SOAK_SECONDS=60 says how long, SOAK_SEED=N repeats the moments
# of another run (as far as the machine is as fast). Needs a Linux with coreutils.
set -u

# shellcheck source=tests/arguments.sh
. "$(dirname "$0")/arguments.sh"
seconds=${SOAK_SECONDS:-60}
seed=${SOAK_SEED:-$(date +%s)}

# ---- a small disk ------------------------------------------------------------------------------------------------

# Who may not mount one may do so in a namespace of his own, where the script starts again.
if [ "$(id -u)" -ne 0 ] && [ -z "${SOAK_INSIDE:-}" ] && unshare -rm true 2> /dev/null; then
    SOAK_INSIDE=1 SOAK_SEED=$seed exec unshare -rm sh "$0" "$@"
fi

work=$(mktemp -d)
disk=$work/disk
mounted=
shm=
clean_up() {
    [ -n "$mounted" ] && umount "$disk"
    [ -n "$shm" ] && rm -rf "$shm"
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

mkdir "$disk"
if mount -t tmpfs -o size=8m soak "$disk" 2> /dev/null; then
    mounted=1
elif shm=$(mktemp -d /dev/shm/rbe-soak-XXXXXX 2> /dev/null); then
    disk=$shm
    echo "soak: no file system can be mounted here: none is full, and the files are in $disk"
else
    shm=
    echo "soak: no file system can be mounted here: none is full, and the files are in $disk"
fi
out=$disk/out
checkpoint=$out/run.checkpoint

# ---- chance ------------------------------------------------------------------------------------------------------

state=$((seed % 2147483648))
below() { # N: sets `drawn` to one of 0 .. N - 1
    state=$(((state * 1103515245 + 12345) % 2147483648))
    drawn=$((state / 65536 % $1))
}

# Milliseconds as what sleep and timeout read.
as_seconds() { # MILLISECONDS
    printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
}

# ---- trainings ---------------------------------------------------------------------------------------------------

settings=5
options_of() { # SETTING
    case $1 in
    0) echo "--epochs 15 --hidden 128,64 --growth --optimizer adam" ;;
    1) echo "--epochs 4 --hidden 64,32 --layer dense --optimizer adamw" ;;
    2) echo "--epochs 6 --hidden 64,32 --growth --optimizer sgd --schedule constant" ;;
    3) echo "--epochs 6 --hidden 64,32 --prune-schedule 0.3 --optimizer adamw" ;;
    *) echo "--epochs 4 --hidden 64,32 --layer dense --optimizer sgd" ;;
    esac
}

rounds=0
kills=0
signals=0
fulls=0
damages=0
resumes=0
summary() {
    echo "soak: $rounds trainings, $kills kills, $signals signals, $fulls full disks, $damages damaged checkpoints," \
        "$resumes resumes, seed $seed: $1"
}

fail() { # WHAT...
    echo "FAILED: $*"
    echo "    training $rounds: $options"
    sed 's/^/    /' "$work/output"
    find "$out" -type f -exec ls -l {} + | sed 's/^/    /'
    summary "failed"
    exit 1
}

run() { # OPTION...
    # shellcheck disable=SC2086 # a list
    "$@" $options --data data --batch 50 --dropout 0.1 --hold-out 3000 --log-every 3 > "$work/output" 2>&1 < /dev/null
}

now() { # in milliseconds
    date +%s%3N
}

# What it must come to, and how long that takes, in files of $work/SETTING.
make_reference() { # SETTING
    [ -d "$work/$1" ] && return
    options="$(options_of "$1") --threads 1 --out $work/$1"
    started=$(now)
    run "$train" || fail "the training without interruptions"
    echo $(($(now) - started)) > "$work/$1/milliseconds"
}

# ---- what happens to them ----------------------------------------------------------------------------------------

# All but 0 .. 299 kB.
fill_disk() {
    room=$(df -Pk "$disk" | awk 'NR == 2 { print $4 }')
    [ "$room" -gt "$leave" ] && head -c $(((room - leave) * 1024)) /dev/zero > "$disk/filler" 2> /dev/null
}

# The newest checkpoint is lost to a fault of the disk: the one before it must do.
damage_newest() {
    damages=$((damages + 1))
    damaged=1 # until the end of this training: a run may be killed before it has saved another
    steps=0
    below 2
    if [ "$drawn" -eq 0 ]; then rm -f "$checkpoint"; else truncate -s 1000 "$checkpoint"; fi
}

# What a run must look like that has ended with CODE, sent SIGNAL or none.
check_code() { # CODE SIGNAL
    case $1 in
    0) ;;
    137) [ "$2" = KILL ] || fail "killed by nobody" ;;
    143) [ "$2" = TERM ] || fail "exit code 143 without SIGTERM" ;;
    130) [ "$2" = INT ] || fail "exit code 130 without SIGINT" ;;
    1)
        [ -n "$full" ] || fail "exit code 1, and the disk is not full"
        grep -q '^train_digits: .*No space left on device' "$work/output" || fail "exit code 1 without saying why"
        ;;
    *) fail "exit code $1" ;;
    esac
}

# No checkpoint is lost, and what is on the way stays in its place.
check_folder() {
    strays=$(find "$out" -name 'rbe-*' 2> /dev/null | wc -l)
    [ "$strays" -le 1 ] || fail "$strays temporary files"
    if [ -z "$damaged" ] && grep -q 'instead: ' "$work/output"; then fail "the newest checkpoint was damaged"; fi
    if [ -z "$full" ] && grep -q 'no checkpoint after step' "$work/output"; then fail "a checkpoint was not saved"; fi
    after=$(sed -n 's/.*goes on from .*, after step \([0-9]*\) of .*/\1/p' "$work/output")
    [ -n "$after" ] || return
    resumes=$((resumes + 1))
    [ "$after" -ge "$steps" ] || fail "it goes on after step $after, and was after $steps before"
    steps=$after
}

# One run of the training, as chance wants it. Sets `code`.
attempt() { # MILLISECONDS
    full=
    filler=
    below 6
    [ "$drawn" -eq 0 ] && [ -z "$damaged" ] && [ "$keep" -gt 1 ] && [ -e "$checkpoint.1" ] && damage_newest
    below 300
    leave=$drawn
    below 4
    if [ -n "$mounted" ] && [ "$drawn" -eq 0 ]; then
        full=1
        fulls=$((fulls + 1))
        below "$1"
        (
            sleep "$(as_seconds "$drawn")"
            fill_disk
        ) &
        filler=$!
    fi
    below 10
    case $drawn in
    0) signal=TERM ;;
    1) signal=INT ;;
    *) signal=KILL ;;
    esac
    below 2
    options="$given --threads $((drawn + 1))"
    below "$1"
    run timeout --foreground --preserve-status -s $signal "$(as_seconds $((drawn + 1)))" \
        env --default-signal=INT "$train" # make in the background ignores SIGINT, and so would the training
    code=$?
    if [ -n "$filler" ]; then
        wait "$filler"
        rm -f "$disk/filler"
    fi
    case $code in
    137) kills=$((kills + 1)) ;;
    130 | 143) signals=$((signals + 1)) ;;
    esac
    check_code $code $signal
    check_folder
}

# A training from its beginning to its end, by as many runs as it takes.
soak() { # SETTING
    make_reference "$1"
    reference=$work/$1
    rounds=$((rounds + 1))
    rm -rf "$out"
    damaged=
    steps=0
    below 3
    case $drawn in
    0) every="--every 1" ;;
    1) every="--every 7" ;;
    *) every= ;;
    esac
    below 2
    keep=$((1 + 2 * drawn))
    given="$(options_of "$1") --out $out --checkpoint $checkpoint $every --keep $keep --resume"
    patience=$(cat "$reference/milliseconds")
    tries=0
    code=1
    while [ "$code" -ne 0 ]; do
        tries=$((tries + 1))
        # Longer and longer, for a machine that is busier than it was.
        [ $((tries % 16)) -eq 0 ] && patience=$((patience * 2))
        [ "$tries" -le 100 ] || fail "it does not come to an end"
        attempt "$patience"
    done
    for file in model.safetensors log.csv; do
        cmp "$out/$file" "$reference/$file" || fail "$file is not what it is without interruptions"
    done
    [ "$strays" -eq 0 ] || fail "a temporary file is left"
}

echo "soak: seed $seed, $seconds seconds"
end=$(($(date +%s) + seconds))
setting=0
while [ "$(date +%s)" -lt "$end" ] || [ $kills -eq 0 ] || [ $resumes -eq 0 ]; do
    soak $setting
    setting=$(((setting + 1) % settings))
done
summary "the same bytes"

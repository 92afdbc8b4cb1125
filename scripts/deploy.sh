#!/bin/sh
# What an exported classifier takes of a microcontroller: bytes, instructions and cycles, and what it answers to test
# images, on this computer and on a Cortex-M in qemu.
set -eu

[ "${1:-}" = -h ] && set -- --help
if [ "${1:-}" = --help ] || [ $# -lt 3 ]; then
    echo "Usage: deploy.sh BUILD DATA \"MODEL [OPTION...]\"..."
    echo "Exports each model with these options of export_c and the training images of DATA as samples, compiles it at"
    echo "-Os for a Cortex-M4 and a Cortex-M0+, and runs it over the test images: all on this computer, IMAGES=1000 in qemu."
    echo "BOARDS=\"cortex-m4 cortex-m0plus\" chooses the processors. Prints a line for each, with"
    echo "  text, rodata  bytes of the file, compiled"
    echo "  linked        the same, with all that it calls of libm and the compiler's own library"
    echo "  ram           bytes of scratch memory, input, output, variables of libm, and stack, which also has a column"
    echo "  instructions  of one call, the most of 20 images"
    echo "  cycles        of the first image, by the processor's manual, with memory without wait states (cycles.awk)"
    echo "  ms            these cycles at 48 MHz"
    echo "  wrong         wrong answers among the images; different: answers that are not the library's"
    echo "Needs what sh scripts/deps.sh --targets installs."
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
build=$1
data=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
board=$root/examples/cortex_m
boards=${BOARDS-cortex-m4 cortex-m0plus}

# shellcheck disable=SC2086 # a list, of nothing without boards
for program in "$build/examples/export_c" "$build/examples/classify" ${boards:+arm-none-eabi-gcc qemu-system-arm}; do
    command -v "$program" > /dev/null || { echo "deploy.sh: $program is not there" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

plain() { # NAME
    if [ -f "$data/$1.gz" ]; then gzip -dc "$data/$1.gz"; else cat "$data/$1"; fi
}

# The first COUNT samples of an IDX file, of which HEADER bytes come before samples of WIDTH bytes.
first() { # COUNT HEADER WIDTH FILE
    head -c 4 "$4"
    # shellcheck disable=SC2059 # bytes
    printf "$(printf '\\%03o\\%03o\\%03o\\%03o' 0 0 $(($1 / 256)) $(($1 % 256)))"
    head -c $(($2 + $1 * $3)) "$4" | tail -c +9
}

# A folder with fewer images.
some() { # COUNT
    [ ! -d "$work/$1" ] || return 0
    mkdir "$work/$1"
    first "$1" 16 784 "$work/all/images" > "$work/$1/images"
    first "$1" 8 1 "$work/all/labels" > "$work/$1/labels"
}

mkdir "$work/all"
plain t10k-images-idx3-ubyte > "$work/all/images"
plain t10k-labels-idx1-ubyte > "$work/all/labels"
plain train-images-idx3-ubyte > "$work/train"
count=$(($(wc -c < "$work/all/labels") - 8))
images=${IMAGES:-1000}
[ "$images" -le "$count" ] || images=$count
some 1
some 20
some "$images"

# The number behind NAME in what images.c printed.
field() { # NAME
    sed -n "s/.*$1 \([0-9]*\).*/\1/p" "$work/found"
}

# Runs the program in a folder.
run_host() { (cd "$work/$1" && "$work/program"); }

run_board() { # FOLDER OPTION...
    folder=$1
    shift
    (cd "$work/$folder" &&
        qemu-system-arm -M mps2-an386 -nographic -semihosting -kernel "$work/program" "$@" < /dev/null)
}

row() {
    # shellcheck disable=SC2059 # the one format
    printf "$format" "$@"
}
format='%-12s %-22s %-13s %6s %6s %6s %6s %6s %12s %9s %7s %6s %6s %9s\n'
row model export target text rodata linked ram stack instructions cycles ms images wrong different

# shellcheck disable=SC2086,SC2046 # cpu and types are lists, and the sizes
{
host() {
    cc -std=c99 -Os $types "-I$work" "$board/images.c" "$work/net.c" -lm -o "$work/program"
    run_host all > "$work/found" || { cat "$work/found" >&2; exit 1; }
    row "$name" "$export" host - - - - - - - - "$(field images)" "$(field wrong)" "$(field different)"
}

cortex() { # BOARD
    case $1 in
    cortex-m4) cpu="-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16" ;;
    cortex-m0plus) cpu="-mcpu=cortex-m0plus -mthumb" ;;
    *) echo "deploy.sh: expected cortex-m4 or cortex-m0plus as BOARDS, found $1" >&2; exit 2 ;;
    esac
    arm-none-eabi-gcc -std=c99 -Os $cpu -ffunction-sections -fdata-sections -c "$work/net.c" -o "$work/net.o"
    arm-none-eabi-gcc $cpu -nostartfiles -Wl,-e,net_predict,--gc-sections "$work/net.o" -lm -o "$work/only"
    arm-none-eabi-gcc -std=c99 -Os $cpu $types "-I$work" "$board/images.c" "$board/startup.c" "$work/net.o" \
        --specs=rdimon.specs -nostartfiles -T "$board/cortex_m.ld" -lm -o "$work/program"
    set -- "$1" $(arm-none-eabi-size -A "$work/net.o" | awk '
        $1 ~ /^\.text/ { text += $2 } $1 ~ /^\.rodata/ { rodata += $2 } END { print text, rodata }') \
        $(arm-none-eabi-size "$work/only" | awk 'NR == 2 { print $1, $2 + $3 }')
    run_board 20 -icount shift=0 > "$work/found"
    stack=$(field stack)
    ram=$(($(field scratch) + $(field input) + $(field output) + $5 + stack))
    instructions=$(field instructions)
    cycles=$(count_cycles "$1")
    run_board "$images" > "$work/found"
    row "$name" "$export" "$1" "$2" "$3" "$4" "$ram" "$stack" "$instructions" "$cycles" \
        "$(awk -v c="$cycles" 'BEGIN { printf "%.1f", c / 48000 }')" "$(field images)" "$(field wrong)" "$(field different)"
}
}

# Of a call, from the addresses of all instructions as qemu runs them one by one.
count_cycles() { # BOARD
    arm-none-eabi-objdump -d --no-show-raw-insn "$work/program" > "$work/listing"
    mkfifo "$work/trace"
    run_board 1 -singlestep -d exec,nochain -D "$work/trace" > /dev/null &
    awk -v processor="$1" -f "$root/scripts/cycles.awk" "$work/listing" "$work/trace"
    wait
    rm "$work/trace"
}

for what in "$@"; do
    model=${what%% *}
    options=${what#"$model"}
    name=$(basename "$(dirname "$model")")
    export=$(echo "${options:- as trained}" | sed 's/^ *//; s/ /+/g')
    # shellcheck disable=SC2086 # a list
    "$build/examples/export_c" "$model" --out "$work/net.c" --test "$work/train" $options > "$work/log" 2>&1 ||
        { cat "$work/log" >&2; exit 1; }
    types=$(sed -n 's/.*_predict(const \([a-z0-9_]*\) \*x, \([a-z0-9_]*\) \*y.*/-DINPUT=\1 -DOUTPUT=\2/p' "$work/net.h")
    [ "${types%% *}" != -DINPUT=float ] || types=
    "$build/examples/classify" "$model" --data "$data" --classes "$work/all/classes" > /dev/null
    for folder in 1 20 "$images"; do first "$folder" 8 1 "$work/all/classes" > "$work/$folder/classes"; done
    host
    for one in $boards; do cortex "$one"; done
done

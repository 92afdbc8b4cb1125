#!/bin/sh
# Exported models on other machines: small models with every kind of layer, and digits, are exported in several ways,
# compiled without a warning at -O0 and -Os, and run in qemu; each compares with what the library gave (rbe/export.h).
set -eu

[ "${1:-}" = -h ] && set -- --help
if [ "${1:-}" = --help ]; then
    echo "Usage: targets.sh [BUILD [TARGET...]]   (default: build, and all targets)"
    echo "Compiles exported models for each target and runs their tests, prints what they take of a Cortex-M, and a table."
    echo "Ends with 1 if one fails. Targets: gcc, gcc-sanitizers, g++, clang, clang-sanitizers, clang++; by Debian's"
    echo "compilers and in qemu, as sh scripts/deps.sh --targets installs them, aarch64, arm, riscv64, s390x (of which the"
    echo "bytes stand the other way round); and, without an operating system, cortex-m4, cortex-m0plus. What is not"
    echo "installed is skipped."
    exit 0
fi
build=${1:-build}
[ $# -eq 0 ] || shift
wanted=${*:-gcc gcc-sanitizers g++ clang clang-sanitizers clang++ aarch64 arm riscv64 s390x cortex-m4 cortex-m0plus}
root=$(cd "$(dirname "$0")/.." && pwd)
board=$root/examples/cortex_m

for program in tests/make_models examples/export_c examples/train_digits; do
    if [ ! -x "$build/$program" ]; then
        echo "targets.sh: $build/$program is not there: run make targets" >&2
        exit 1
    fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# ---- what is exported --------------------------------------------------------------------------------------------

images=$root/data/t10k-images-idx3-ubyte.gz

# A name, the model, options of export_c.
cases="
transforms        transforms  --size
transforms-speed  transforms  --speed
transforms-int4   transforms  --values int4
blocks            blocks      --size
blocks-speed      blocks      --speed --values int8
layers            layers      --size
layers-int8       layers      --speed --values int8
text              text        --size
text-int8         text        --speed --values int8
rotary            rotary      --places 6
digits            digits      --test $images
digits-speed      digits      --speed --test $images
digits-integer    digits      --integer --test $images
"

"$build/tests/make_models" "$work"
"$build/examples/train_digits" --data "$root/data" --budget 6000 --epochs 1 --threads 1 --out "$work/trained" > "$work/log" 2>&1
mv "$work/trained/model.safetensors" "$work/digits.safetensors"

names=
while read -r name model options; do
    [ -n "$name" ] || continue
    mkdir "$work/$name"
    # shellcheck disable=SC2086 # a list
    "$build/examples/export_c" "$work/$model.safetensors" --out "$work/$name/net.c" --count 3 $options > "$work/log" || {
        cat "$work/log"
        echo "targets.sh: $name cannot be exported" >&2
        exit 1
    }
    names="$names $name"
done << END
$cases
END

# ---- targets -----------------------------------------------------------------------------------------------------

warnings="-Wall -Wextra -Wpedantic -Wconversion -Werror"
c99="-std=c99 $warnings"
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=all"
qemu_m="timeout 100 qemu-system-arm -M mps2-an386 -nographic -semihosting -kernel"

# Sets compiler, levels, runner of a target, and cpu of one without an operating system.
describe() { # TARGET
    levels="-O0 -Os"
    runner=
    cpu=
    case $1 in
    gcc | clang) compiler="$1 $c99" ;;
    gcc-sanitizers | clang-sanitizers) compiler="${1%-*} $c99 $sanitizers" levels="-O0 -O1" ;;
    g++ | clang++) compiler="$1 $warnings -x c++" ;;
    arm) compiler="arm-linux-gnueabihf-gcc $c99 -static" runner="timeout 100 qemu-arm" ;;
    aarch64 | riscv64 | s390x) compiler="$1-linux-gnu-gcc $c99 -static" runner="timeout 100 qemu-$1" ;;
    cortex-m4) cpu="-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16" ;;
    cortex-m0plus) cpu="-mcpu=cortex-m0plus -mthumb" ;;
    *)
        echo "targets.sh: unexpected target '$1' (try --help)" >&2
        exit 2
        ;;
    esac
    [ -z "$cpu" ] || compiler="arm-none-eabi-gcc $c99 $cpu" runner=$qemu_m
}

# The first of the target's programs that is not there.
lacking() {
    # shellcheck disable=SC2086 # a list
    set -- ${compiler%% *} ${runner#timeout 100 }
    for tool in "$1" ${2:+"$2"}; do command -v "$tool" > /dev/null || { echo "$tool"; return; }; done
}

# shellcheck disable=SC2086 # compiler, cpu and runner are lists
{
compile() { # LEVEL FILE.c PROGRAM
    if [ -n "$cpu" ]; then
        $compiler $1 -DNET_TEST "$2" "$work/startup.o" --specs=rdimon.specs -nostartfiles -T "$board/cortex_m.ld" -lm -o "$3"
    else
        $compiler $1 -DNET_TEST "$2" -lm -o "$3"
    fi
}

run() { # PROGRAM
    $runner "$1" < /dev/null
}

# Bytes of a case for the table of sizes.
measure() { # TARGET NAME
    $compiler -Os -c "$work/$2/net.c" -o "$work/net.o"
    arm-none-eabi-size -A "$work/net.o" | awk -v target="$1" -v name="$2" '
        $1 ~ /^\.(text|rodata|data|bss)/ { sub(/^\./, "", $1); sub(/\..*/, "", $1); bytes[$1] += $2 }
        END { printf "%-14s %-17s %6d %6d %6d\n", target, name, bytes["text"], bytes["rodata"], bytes["data"] + bytes["bss"] }
    ' >> "$work/sizes"
}
}

# Whether the program does not agree with other outputs than its own: a test that cannot fail says nothing.
notices() { # LEVEL
    mkdir -p "$work/wrong"
    cp "$work/layers/net.h" "$work/wrong"
    sed 's/test_tolerance = .*;/test_tolerance = -1.0f;/' "$work/layers/net.c" > "$work/wrong/net.c"
    compile "$1" "$work/wrong/net.c" "$work/program" && ! run "$work/program"
}

one() { # TARGET LEVEL NAME
    if compile "$2" "$work/$3/net.c" "$work/program" > "$work/log" 2>&1 && run "$work/program" >> "$work/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$1 $2, $3:"
        head -n 20 "$work/log"
    fi
}

try() { # TARGET
    describe "$1"
    tool=$(lacking)
    if [ -n "$tool" ]; then
        printf '%-17s skipped: %s is not installed\n' "$1" "$tool" >> "$work/table"
        return
    fi
    if [ -n "$cpu" ]; then
        # shellcheck disable=SC2086 # a list
        arm-none-eabi-gcc $cpu -std=c99 -Wall -Wextra -Werror -Os -c "$board/startup.c" -o "$work/startup.o"
        for name in $names; do measure "$1" "$name"; done
    fi
    for level in $levels; do
        passed=0
        failed=0
        for name in $names; do one "$1" "$level" "$name"; done
        if ! notices "$level" > "$work/log" 2>&1; then
            failed=$((failed + 1))
            echo "$1 $level: a wrong output was not noticed"
        fi
        printf '%-17s %-5s %6d %6d\n' "$1" "$level" "$passed" "$failed" >> "$work/table"
    done
}

: > "$work/table"
for target in $wanted; do
    echo "$target .."
    try "$target"
done

# ---- tables ------------------------------------------------------------------------------------------------------

if [ -s "$work/sizes" ]; then
    printf '\nBytes at -Os, without the test:\n%-14s %-17s %6s %6s %6s\n' target model text rodata bss
    cat "$work/sizes"
fi
printf '\n%-17s %-5s %6s %6s\n' target level passed failed
cat "$work/table"
failures=$(awk '$NF ~ /^[0-9]+$/ { n += $NF } END { print n + 0 }' "$work/table")
echo "targets: $failures failed"
[ "$failures" -eq 0 ]

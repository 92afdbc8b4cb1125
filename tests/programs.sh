#!/bin/sh
# What the example programs and scripts do on a command line: exit codes, messages, files. Ends with a line
# "N passed, M failed" and fails if a check did.
set -u

# shellcheck source=tests/shell.sh
. "$(dirname "$0")/shell.sh"

# A training of a second: 200 digits, one epoch.
data=$work/data
tiny() { # OPTION...
    "$train" --data "$data" --epochs 1 --batch 50 --hidden 32 --threads 1 "$@"
}

# ---- programs ----------------------------------------------------------------------------------------------------

expect "hello" 0 '^loss 0\.0.*accuracy \(100\.0\|99\.[0-9]\) %' "$build/examples/hello"

expect "extend" 0 '^loaded: *the outputs are the same bits' "$build/examples/extend" "$work/extend.safetensors"
check "extend: checked, moved, pruned" test "$(grep -c '^gradients: .* agree\|^trained: .*[1-9][0-9]* values have moved\|^pruned: .*left' "$work/output")" -eq 3
expect "extend: its model needs its types" 1 'its kind, affine, is unknown' \
    "$build/examples/classify" "$work/extend.safetensors"
expect "extend, unknown option" 2 '^Usage: extend' "$build/examples/extend" --what
expect "extend, a folder that is not there" 1 '^extend: IO_ERROR: ' "$build/examples/extend" "$work/none/model"

expect "make_digits" 0 '' "$make_digits" --train 200 --test 100 --out "$data"
expect "make_digits, unknown option" 2 "Try 'make_digits --help'" "$make_digits" --what
expect "help" 0 '^  --epochs N' "$train" --help
expect "unknown option" 2 "Try 'train_digits --help'" "$train" --frobnicate
expect "missing value" 2 "requires an argument" "$train" --epochs
expect "short help" 0 '^  -h, --help' "$train" -h
expect "unknown short option" 2 "Try 'train_digits --help'" "$train" -x
expect "argument without option" 2 'unexpected argument "data"' "$train" data

# ---- values ------------------------------------------------------------------------------------------------------

expect "epochs in words" 2 '^train_digits: --epochs: expected a whole number 1 .. .*found "ten"' \
    "$train" --epochs ten
expect "no epochs" 2 '--epochs: expected.*found "0"' "$train" --epochs 0
expect "negative epochs" 2 '--epochs: expected.*found "-3"' "$train" --epochs=-3
expect "half an epoch" 2 '--epochs: expected.*found "1.5"' "$train" --epochs 1.5
expect "epochs beyond any number" 2 '--epochs: expected' "$train" --epochs 99999999999999999999
expect "empty value" 2 '--batch: expected' "$train" --batch ''
expect "learning rate nan" 2 '--lr: expected a number.*found "nan"' "$train" --lr nan
expect "learning rate zero" 2 '--lr: expected' "$train" --lr 0
expect "learning rate in hexadecimal digits" 2 '--lr: expected.*found "0x10"' "$train" --lr 0x10
expect "learning rate after a space" 2 '--lr: expected.*found " 3"' "$train" --lr ' 3'
expect "learning rate, infinite" 2 '--lr: expected.*found "inf"' "$train" --lr inf
expect "augmentation below 0" 2 '--augment: expected a number 0 .. 10, found "-1"' "$train" --augment=-1
expect "augmentation, nan" 2 '--augment: expected a number 0 .. 10, found "nan"' "$train" --augment nan
expect "augmentation beyond all bounds" 2 '--elastic: expected a number 0 .. 10, found "1e9"' "$train" --elastic 1e9
expect "augmentation in words" 2 '--elastic: expected a number 0 .. 10, found "much"' "$train" --elastic much
expect "augmentation of what is written" 2 '--augment and --elastic need --dump' "$make_digits" --augment 0.5
expect "seed" 2 '--seed: expected a whole number 0 .. 18446744073709551615, found "-1"' "$train" --seed -1
expect "seed beyond any" 2 '--seed: expected' "$train" --seed 18446744073709551616
expect "epochs after a space" 2 '--epochs: expected.*found " 3"' "$train" --epochs ' 3'
expect "ratio below 1" 2 '--ratio: expected a number 1 ' "$train" --ratio 0.5
expect "ratio and coeffs" 2 'exclude each other' "$train" --ratio 8 --coeffs 8
expect "ratio and budget" 2 'exclude each other' "$train" --ratio 8 --budget 100000
expect "budget in kilobytes" 2 '--budget: expected a whole number, found "16k"' "$train" --budget 16k
expect "threshold below 0" 2 '--prune-threshold: expected a number 0 .. ' "$train" --prune-threshold=-1
expect "threshold and share" 2 'exclude each other' "$train" --prune-threshold 1 --prune-schedule 0.5
expect "relative to nothing" 2 '--relative needs --prune-threshold' "$train" --relative
expect "prune everything and more" 2 '--prune-schedule: expected a number 0 .. 1' "$train" --prune-schedule 1.5
expect "store" 2 '--store: expected f32|f16|bf16|int8, found "int4"' "$train" --store int4
for bits in 1 9 x; do expect "bits $bits" 2 '--bits: expected' "$train" --bits "$bits"; done
expect "bits of the head" 2 '--head-bits: expected' "$train" --head-bits 1
expect "few bits from behind the end" 2 '--quantize-from: expected' "$train" --bits 4 --quantize-from 1.5
expect "few bits from when on" 2 '--quantize-from needs --bits or --head-bits' "$train" --quantize-from 0.2
expect "dropout of everything" 2 '--dropout: expected' "$train" --dropout 1
expect "block" 2 '--block: expected a power of two, found 48' "$train" --block 48
expect "layer" 2 '--layer: expected dense|rbe, found "sparse"' "$train" --layer sparse
expect "beginning of a choice" 2 '--layer: expected' "$train" --layer de
expect "all of a choice" 2 '--layer: expected dense|rbe, found "dense|rbe"' "$train" --layer 'dense|rbe'
expect "transform" 2 '--transform: expected dct, haar' "$train" --transform fourier
expect "transform of one axis" 2 '--row-transform: expected dct, haar' "$train" --row-transform fourier
expect "hidden" 2 '--hidden: expected' "$train" --hidden 300,,100
expect "hidden, end" 2 '--hidden: expected' "$train" --hidden 300,
expect "hidden, zero" 2 '--hidden: expected' "$train" --hidden 300,0
expect "hidden, many" 2 '--hidden: expected at most' "$train" --hidden 9,9,9,9,9,9,9,9,9
expect "threads" 2 '--threads: expected' "$train" --threads 0
for option in --growth --image '--budget 100000' '--prune-schedule 0.5' '--prune-threshold 0.5' '--ratio 16' '--coeffs 8' \
    '--block 32' '--group 1' '--transform dct' '--alpha on'; do
    # shellcheck disable=SC2086 # an option and its value
    expect "dense $option" 2 "^train_digits: ${option%% *} needs --layer rbe" "$train" --layer dense $option
done

# ---- rbe: the programs as commands -------------------------------------------------------------------------------

rbe=$build/rbe

expect "rbe without a command" 2 '^rbe: expected a command$' "$rbe"
expect "rbe, unknown command" 2 '^rbe: unknown command "nonsense"$' "$rbe" nonsense --epochs 1
expect "rbe, unknown command's help" 2 '^rbe: unknown command "nonsense"$' "$rbe" help nonsense
expect "rbe, unknown option" 2 '^rbe: unknown option "--what"$' "$rbe" --what
expect "rbe help of two commands" 2 '^rbe: unexpected argument "growth"$' "$rbe" help train growth
expect "rbe, unknown option of a command" 2 "^Try 'rbe train --help'" "$rbe" train --what
expect "rbe, a wrong value" 2 '^rbe train: --epochs: expected a whole number' "$rbe" train --epochs ten
expect "rbe, options in any place" 1 "^rbe inspect: IO_ERROR: .*$work/none" "$rbe" inspect "$work/none" --max-bytes 9
version=$(sed -n 's/^#define RBE_VERSION_[A-Z]* //p' "$root/include/rbe/base.h" | paste -sd.)
expect "rbe --version" 0 "^rbe $version\$" "$rbe" --version
if [ -w /dev/full ]; then
    for option in --help --version help 'help train'; do
        expect "rbe $option > /dev/full" 1 '^rbe.*: .*output' sh -c "'$rbe' $option > /dev/full"
    done
fi
tiny --seed 3 --out "$work/program" > "$work/output" 2>&1
"$rbe" train --data "$data" --epochs 1 --batch 50 --hidden 32 --threads 1 --seed 3 --out "$work/command" > "$work/output" 2>&1
check "rbe train is train_digits" cmp "$work/program/log.csv" "$work/command/log.csv"

# Manual pages: one for each command, with all of its options.
check "manpages.sh" sh "$root/scripts/manpages.sh" "$rbe" "$work/man"
for command in train compress-digits generate; do
    check "rbe-$command.1: every option" test "$(grep -c '^\.B .*\\-\\-' "$work/man/rbe-$command.1")" -eq \
        "$("$rbe" help "$command" | grep -c '^  --\|^  -[oh], --')"
    expect "rbe-$command.1: its name" 0 "^rbe-$command \\\\- [a-z]" cat "$work/man/rbe-$command.1"
done

# All programs with options are commands; each names itself, in lines of at most 80, with one default an option.
for option in --help -h help; do
    expect "rbe $option" 0 '^Usage: rbe COMMAND' "$rbe" $option
    cp "$work/output" "$work/rbe-$option"
done
check "rbe -h, rbe help: the same" sh -c "cmp '$work/rbe---help' '$work/rbe--h' && cmp '$work/rbe---help' '$work/rbe-help'"
commands=$(sed -n '4,/^$/s/^  \([a-z-]*\)  .*/\1/p' "$work/rbe---help")
check "rbe has every program with options" test "$(echo "$commands" | wc -l)" -eq \
    "$(grep -l '^    example_parse(' "$root"/examples/*.c | wc -l)"
for command in $commands; do
    expect "rbe help $command" 0 "^Usage: rbe $command \\[options\\]" "$rbe" help "$command"
    # The lines of an option, joined.
    cp "$work/output" "$work/help"
    sed -e ':more' -e 'N;s/\n \{20,\}/ /;t more' -e 'P;D' "$work/help" > "$work/joined"
    check "rbe $command --help: at most 80 columns" test "$(wc -L < "$work/help")" -le 80
    check "rbe $command --help: one default an option" test "$(grep -c 'default.*default\|))$' "$work/joined")" -eq 0
    check "rbe $command --help: -h has a line" grep -q '^  -h, --help  *print this and exit$' "$work/joined"
done

# ---- output ------------------------------------------------------------------------------------------------------

if [ -w /dev/full ]; then
    for program in 'train_digits --help' 'make_digits --help' hello "extend $work/extend.safetensors" \
        "make_digits --dump $data"; do
        expect "$program > /dev/full" 1 "^${program%% *}: .*output" sh -c "'$build'/examples/$program > /dev/full"
    done
fi

# ---- files -------------------------------------------------------------------------------------------------------

expect "no data folder" 1 "^train_digits: IO_ERROR: .*$work/nothing" "$train" --data "$work/nothing"

mkdir "$work/cut"
cp "$data"/* "$work/cut"
gzip -dc "$data/train-images-idx3-ubyte.gz" | head -c 100000 | gzip > "$work/cut/train-images-idx3-ubyte.gz"
expect "truncated images" 1 '^train_digits: BAD_FORMAT: .*train-images-idx3-ubyte' "$train" --data "$work/cut"
head -c 5000 "$data/train-images-idx3-ubyte.gz" > "$work/cut/train-images-idx3-ubyte.gz"
expect "truncated gzip file" 1 '^train_digits: [A-Z_]*: .*train-images-idx3-ubyte' "$train" --data "$work/cut"
echo "not an image" > "$work/cut/train-images-idx3-ubyte.gz"
expect "another file" 1 '^train_digits: BAD_FORMAT: .*train-images-idx3-ubyte' "$train" --data "$work/cut"
rm "$work/cut/train-images-idx3-ubyte.gz"
mkfifo "$work/cut/train-images-idx3-ubyte"
expect "a FIFO" 1 '^train_digits: IO_ERROR: .*expected a regular file, found a FIFO' "$train" --data "$work/cut"
expect "--max-bytes" 1 '^train_digits: BAD_FORMAT: .*expected at most 1000 in all' \
    "$train" --data "$data" --max-bytes 1000
expect "--max-bytes 0" 2 '--max-bytes: expected a whole number' "$train" --max-bytes 0

: > "$work/file"
expect "out is a file" 1 "$work/file" tiny --out "$work/file"
expect "out is below a file" 1 "cannot create the folder $work/file/deep" tiny --out "$work/file/deep"
mkdir -p "$work/taken/log.csv"
expect "log.csv is a folder" 1 '^train_digits: IO_ERROR: .*log.csv.*directory' tiny --out "$work/taken"
expect "out is made with its parents" 0 'test error' tiny --out "$work/a/b//c/"
check "log is there" test -s "$work/a/b/c/log.csv"

if [ -w /dev/full ]; then
    expect "training > /dev/full" 1 '^train_digits: .*output' \
        sh -c "'$train' --data '$data' --epochs 1 --hidden 32 --threads 1 --json > /dev/full"
fi

# ---- training ----------------------------------------------------------------------------------------------------

expect "dense" 0 '^values  *25,450$' tiny --layer dense --json --out "$work/dense"
cp "$work/output" "$work/json"
check "the memory is announced" grep -q 'training needs [0-9.]* MB' "$work/json"
tail -n 1 "$work/json" > "$work/line"
if command -v python3 > /dev/null; then
    check "json" python3 -c '
import json, sys
line = json.load(open(sys.argv[1]))
assert line["program"] == "train_digits" and line["layer"] == "dense"
assert 0 <= line["test_error"] <= 100 and line["weight_values"] == 25450
assert line["weight_bytes"] == line["dense_bytes"] == 101800
assert line["train_seconds"] > 0 and line["seconds_per_epoch"] > 0 and line["peak_bytes"] > 101800' "$work/line"
else
    check "json" grep -q '^{"program":"train_digits","layer":"dense",.*"peak_bytes":[0-9]*}$' "$work/line"
fi
expect "header and rows" 0 '^epoch,1,4,' cat "$work/dense/log.csv"

for layer in dense rbe; do
    tiny --layer $layer --epochs 2 --seed 5 --log-every 1 --out "$work/first" > "$work/output" 2>&1
    tiny --layer $layer --epochs 2 --seed 5 --log-every 1 --out "$work/second" > "$work/output" 2>&1
    tiny --layer $layer --epochs 2 --seed 6 --log-every 1 --out "$work/third" > "$work/output" 2>&1
    check "$layer: the same seed gives the same log" cmp "$work/first/log.csv" "$work/second/log.csv"
    check "$layer: 8 steps and 2 epochs are logged" test "$(wc -l < "$work/first/log.csv")" -eq 11
    expect "$layer: another seed gives another" 1 'differ' cmp "$work/first/log.csv" "$work/third/log.csv"
done

expect "compressed, by ratio" 0 'test error' \
    tiny --ratio 8 --alpha on --block 16 --transform haar --optimizer sgd --lr 0.01
expect "compressed, by coefficients" 0 'test error' tiny --coeffs 64 --group 1 --alpha off --schedule constant
expect "a transform for each axis" 0 'test error' tiny --ratio 8 --row-transform identity --column-transform haar
expect "held out" 0 '(7 samples, of the model read back' tiny --hold-out 7
expect "all held out" 2 '^train_digits: --hold-out: expected fewer than the [0-9]* training samples' tiny --hold-out 999999

# Augmented: no threads, no seed of its own; zeros change nothing.
tiny --epochs 2 --out "$work/plain" > "$work/output" 2>&1
for way in 'one --threads 1' 'two --threads 2' 'bent --elastic 0' 'turned --augment 0' 'other --seed 2' \
    'neither --augment 0 --elastic 0'; do
    # shellcheck disable=SC2086 # options
    tiny --epochs 2 --augment 0.5 --elastic 0.8 ${way#* } --out "$work/${way%% *}" > "$work/output" 2>&1
done
check "augmented: the same log on two threads" cmp "$work/one/log.csv" "$work/two/log.csv"
check "augmented with zeros: the same log" cmp "$work/plain/log.csv" "$work/neither/log.csv"
for way in two bent turned other; do
    expect "augmented, $way: another log" 1 'differ' cmp "$work/plain/log.csv" "$work/$way/log.csv"
    [ $way = two ] || expect "augmented, $way: and another" 1 'differ' cmp "$work/one/log.csv" "$work/$way/log.csv"
done
"$make_digits" --dump "$data" > "$work/samples"
"$make_digits" --dump "$data" --augment 0.5 --elastic 0.8 > "$work/variants"
check "make_digits --dump --augment: as large a picture" \
    test "$(wc -wl < "$work/samples")" = "$(wc -wl < "$work/variants")"
for file in samples variants; do cut -d ' ' -f -30 "$work/$file" > "$work/$file.left"; done
check "make_digits --dump --augment: the first column as it is" cmp "$work/samples.left" "$work/variants.left"
cut -d ' ' -f 31-60 "$work/variants" > "$work/variants.next"
expect "make_digits --dump --augment: the next is not" 1 'differ' cmp "$work/variants.left" "$work/variants.next"

expect "compressed, grown, an image" 0 'test error' tiny --growth --image --optimizer adamw
expect "divergence is located" 1 '^train_digits: NUMERICAL_INSTABILITY: step [0-9]* of [0-9]*: fc[1-5]' \
    tiny --layer dense --hidden 32,32,32,32 --epochs 20 --optimizer sgd --lr 1000 --schedule constant

# ---- OpenBLAS ----------------------------------------------------------------------------------------------------

# Nothing is said where OpenBLAS itself chose older kernels, since it does not know the processor.
expect "OpenBLAS's own choice: started again" 0 '^test error' \
    env -u OPENBLAS_CORETYPE "$train" --data "$data" --epochs 1 --hidden 32 --layer dense
check "it says nothing of it" test "$(grep -ci openblas "$work/output")" -eq 0

# Its oldest kernels, which the environment asks for. Some builds have one processor only.
if grep -q avx2 /proc/cpuinfo &&
    OPENBLAS_VERBOSE=2 OPENBLAS_CORETYPE=Prescott "$build/examples/hello" 2>&1 | grep -q '^Core: Prescott'; then
    expect "older kernels: started again" 0 \
        '^train_digits: OPENBLAS_CORETYPE=Prescott is older than this processor: starting again with [A-Z]' \
        env OPENBLAS_CORETYPE=Prescott "$train" --data "$data" --epochs 1 --hidden 32 --layer dense
    check "that is all it says of them" test "$(grep -ci openblas "$work/output")" -eq 1
    expect "older kernels: no third start, but a warning" 0 '^train_digits: warning: .* with OPENBLAS_CORETYPE=[A-Z]' \
        env OPENBLAS_CORETYPE=Prescott RBE_EXAMPLE_STARTED_AGAIN=1 \
        "$train" --data "$data" --epochs 1 --hidden 32 --layer dense
    check "the warning comes once" test "$(grep -c OpenBLAS "$work/output")" -eq 1
    expect "rbe with older kernels: started again" 0 '^rbe train: OPENBLAS_CORETYPE=Prescott is older' \
        env OPENBLAS_CORETYPE=Prescott "$rbe" train --data "$data" --epochs 1 --hidden 32 --layer dense
    check "rbe says it once" test "$(grep -ci openblas "$work/output")" -eq 1
    expect "benchmark with older kernels: started again" 0 '^B=64 .*; dense: OpenBLAS for [A-OQ-Z]' \
        env OPENBLAS_CORETYPE=Prescott "$build/bench/bench_linear" --quick --case matvec --size 64
    check "it says so" test "$(grep -c '^bench_linear: OPENBLAS_CORETYPE=Prescott is older' "$work/output")" -eq 1
    expect "benchmark with older kernels only: no ratio" 1 '^bench_linear: .*Prescott.*nothing to compare with' \
        env OPENBLAS_CORETYPE=Prescott RBE_EXAMPLE_STARTED_AGAIN=1 "$build/bench/bench_linear" --quick --case matvec
    check "nothing else is printed" test "$(wc -l < "$work/output")" -eq 1
fi

# OpenBLAS's own threads would hang in a small address space, and with them the program at its end.
for megabytes in 150 170 300 700 4000; do
    (
        unset OPENBLAS_NUM_THREADS
        # shellcheck disable=SC3045 # not of POSIX, but of every shell on Linux
        ulimit -v $((megabytes * 1024))
        exec timeout -s KILL 60 "$train" --data "$data" --epochs 1 --hidden 32 --threads 1
    ) > "$work/limited" 2>&1
    found=$?
    if [ "$found" -eq 0 ]; then ending='^test error'; else ending='^train_digits: INSUFFICIENT_MEMORY'; fi
    check "$megabytes MB of address space: success or a status, exit code $found" test "$found" -le 1
    check "$megabytes MB of address space: it says so" grep -q "$ending" "$work/limited"
    check "$megabytes MB of address space: started again" grep -q '^train_digits: the address.*again' "$work/limited"
done

# ---- stored models and weights -----------------------------------------------------------------------------------

# ---- regression: trained, kept, and used by a second program --------------------------------------------------------

regression=$build/examples/regression

expect "regression" 0 '^best epoch [0-9]* of [0-9]*: R^2 0\.9[0-9]* on 400 other rows' \
    "$regression" --model "$work/regression.safetensors"
"$regression" --model "$work/regression.safetensors" --predict > "$work/predicted"
check "regression --predict: a line for each row" test "$(wc -l < "$work/predicted")" -eq 2000

# The last column is the first less twice the seventh, in other units; the others say nothing.
awk 'BEGIN { srand(1); print "a,b,c,d,e,f,g,y"
    for (n = 0; n < 600; n++) {
        line = ""
        for (j = 0; j < 7; j++) { u[j] = rand(); line = line (100 * u[j] - 7) "," }
        print line 5000 + 1000 * (u[0] - 2 * u[6])
    } }' > "$work/table.csv"
expect "regression --csv" 0 '^best epoch .*: R^2 \(0\.9[5-9][0-9]\|1\.000\) on 120 other rows' \
    "$regression" --csv "$work/table.csv" --model "$work/linear.safetensors"
"$regression" --csv "$work/table.csv" --model "$work/linear.safetensors" --predict > "$work/predicted"
tail -n +2 "$work/table.csv" | cut -d , -f 8 | paste - "$work/predicted" > "$work/pairs"
# shellcheck disable=SC2016 # columns of awk
check "regression --predict: in the column's own units" \
    awk '{ d = $1 - $2; if (d < 0) d = -d; sum += d } END { exit !(NR == 600 && sum / NR < 100) }' "$work/pairs"
expect "regression without a model" 1 "^regression: IO_ERROR: .*$work/none" "$regression" --predict --model "$work/none"
expect "regression without a file" 1 "^regression: $work/none cannot be read" "$regression" --csv "$work/none"
sed -i '5s/,[^,]*,/,nan,/' "$work/table.csv"
expect "regression, a value that is none" 1 "table.csv, line 5: expected 8 finite numbers" \
    "$regression" --csv "$work/table.csv" --model "$work/linear.safetensors"
printf '1,2,3,4,5,6,7x,8\n1,2,3,4,5,6,7,8\n' > "$work/table.csv"
expect "regression, a first row that is no header" 1 "table.csv, line 1: expected 8 finite numbers" \
    "$regression" --csv "$work/table.csv" --model "$work/linear.safetensors"
printf 'a,b,c,d,e,f,inflow,nano\n1,2,3,4,5,6,7,8\n' > "$work/table.csv"
expect "regression, a header" 0 '^[-0-9]' "$regression" --csv "$work/table.csv" --predict --model "$work/linear.safetensors"
expect "regression, a model of other widths" 1 'expected a model of 7 inputs and 1 output, found 784 and 10' \
    "$regression" --csv "$work/table.csv" --predict --model "$work/program/model.safetensors"
expect "classify, a model of other widths" 1 'expected a model that takes 784 pixels, found one of 7 inputs' \
    "$build/examples/classify" --data "$data" "$work/linear.safetensors"
: > "$work/table.csv"
expect "regression, an empty file" 1 "table.csv has no rows" "$regression" --csv "$work/table.csv"

# ---- autoencoder -----------------------------------------------------------------------------------------------------

autoencoder=$build/examples/autoencoder

for layer in dense rbe; do
    drawing=''
    command -v gnuplot > /dev/null && drawing="--out $work/autoencoder-$layer"
    # shellcheck disable=SC2086 # options or none
    expect "autoencoder, $layer" 0 '^reconstruction error 0\.0[0-9]* per pixel .* R^2 0\.[1-9].* of 100 test digits' \
        "$autoencoder" --data "$data" --layer $layer --epochs 15 --batch 20 --threads 1 $drawing
    [ -n "$drawing" ] || continue
    check "autoencoder, $layer: picture, log and model" test -s "$work/autoencoder-$layer/autoencoder.png" -a \
        -s "$work/autoencoder-$layer/log.csv" -a -s "$work/autoencoder-$layer/model.safetensors"
    check "autoencoder, $layer: nothing else" test "$(find "$work/autoencoder-$layer" -type f | wc -l)" -eq 3
    check "autoencoder, $layer: no complaint of gnuplot's" sh -c "! grep -q warning '$work/output'"
done
expect "autoencoder, a dense ratio" 2 'ratio needs --layer rbe' "$autoencoder" --layer dense --ratio 4
"$make_digits" --train 40 --test 20 --out "$work/few" > "$work/output" 2>&1
expect "autoencoder, few digits" 1 'expected at least 36 test digits' \
    "$autoencoder" --data "$work/few" --epochs 1 --out "$work/autoencoder-few"

# ---- models in files -------------------------------------------------------------------------------------------------

compress=$build/examples/compress_weights
expand=$build/examples/expand
inspect=$build/examples/inspect
classify=$build/examples/classify

expect "compress_digits" 0 '^fine-tuned .*test error' "$build/examples/compress_digits" --data "$data" --epochs 1 \
    --hidden 32 --samples 100 --ratio 4 --overlap 2 --fine-tune 1 --fine-tune-lr 1e-3 --threads 1 \
    --model "$work/model.safetensors"
check "compress_digits: columns of ratios say so" test "$(grep -c '^layer  *fewer  *smaller ' "$work/output")" -eq 1
expect "inspect a model" 0 '^fc1 *dense *784 -> 32 .* 25120 100.00% ' "$inspect" "$work/model.safetensors"
expect "classify" 0 '^accuracy  *[0-9.]* +- [0-9.]* %  (100 test samples)' \
    "$classify" "$work/model.safetensors" --data "$data" --threads 1
expect "classify --stores" 0 '^int8  *[0-9]* .* [-+][0-9]*\.[0-9][0-9]$' \
    "$classify" "$work/model.safetensors" --data "$data" --threads 1 --stores
expect "classify, json" 0 '^{"program":"classify","error":[0-9.]*,.*"samples":200}' \
    "$classify" "$work/model.safetensors" --data "$data" --train --json
expect "classify --classes" 0 '' "$classify" "$work/model.safetensors" --data "$data" --classes "$work/classes"
wrong=$(sed -n 's/^error *\([0-9]*\)\.00 .*/\1/p' "$work/output")
different=$(gzip -dc "$data/t10k-labels-idx1-ubyte.gz" | cmp -l - "$work/classes" | wc -l)
check "classify --classes: of 100 classes as many are wrong as it says" test "$wrong" = "$different"
expect "classify --classes, no such folder" 1 'cannot be written' \
    "$classify" "$work/model.safetensors" --data "$data" --classes "$work/none/classes"
expect "classify without a model" 2 'expected a model file' "$classify" --data "$data"
expect "classify, options first" 0 '^accuracy .*(100 test samples)' \
    "$classify" --data "$data" --threads 1 "$work/model.safetensors"
expect "classify two models" 2 'unexpected argument "b"' "$classify" "$work/model.safetensors" b
expect "classify another file" 1 '^classify: BAD_FORMAT: ' "$classify" "$data/train-images-idx3-ubyte.gz"
expect "classify --max-bytes" 1 '^classify: BAD_FORMAT: .*model.safetensors.*(rbe_set_max_read_bytes)' \
    "$classify" "$work/model.safetensors" --data "$data" --max-bytes 10000
expect "inspect without a file" 2 'expected a model file' "$inspect"
expect "inspect a missing file" 1 "^inspect: IO_ERROR: .*$work/none" "$inspect" "$work/none"
if [ -w /dev/full ]; then
    for program in inspect "classify --data $data"; do
        expect "$program > /dev/full" 1 "^${program%% *}: .*output" \
            sh -c "'$build'/examples/$program '$work/model.safetensors' > /dev/full"
    done
fi
expect "compress_weights without an input" 2 'expected a safetensors file' "$compress" --out "$work/x"
expect "compress_weights without an output" 2 'expected --out' "$compress" "$work/x"
cp "$work/model.safetensors" "$work/kept.safetensors"
ln -s kept.safetensors "$work/link.safetensors"
for out in kept link; do
    expect "compress_weights onto its input, $out" 2 'is the input' \
        "$compress" "$work/kept.safetensors" -o "$work/$out.safetensors"
    expect "expand onto its input, $out" 2 'is the input' \
        "$expand" "$work/kept.safetensors" -o "$work/$out.safetensors"
done
check "the input is left" cmp "$work/model.safetensors" "$work/kept.safetensors"

# A trained network: by default nothing is lost, whatever is asked for.
expect "a model is no file of matrices" 1 'found a model of this library: expand' \
    "$compress" "$work/model.safetensors" -o "$work/out.safetensors"
expect "compress_weights --expand is gone" 2 "Try 'compress_weights --help'" \
    "$compress" --expand -o "$work/plain.safetensors" "$work/model.safetensors"
expect "expand without an output" 2 'expected --out' "$expand" "$work/model.safetensors"
expect "expand a missing file" 1 "^expand: IO_ERROR: .*$work/none" "$expand" "$work/none" -o "$work/x.safetensors"
expect "expand a dense model" 0 '^fc1\.weight  *32 x 784 ' \
    "$expand" -o "$work/plain.safetensors" "$work/model.safetensors"
expect "its weights are the model's" 0 '^fc1 .* 0\.0000  *inf$' \
    "$inspect" "$work/model.safetensors" --against "$work/plain.safetensors"
expect "a file without anything compressed is copied" 0 '^fc1\.weight  *32 x 784  *copied$' \
    "$expand" "$work/plain.safetensors" -o "$work/copy.safetensors"
check "all of it" cmp "$work/plain.safetensors" "$work/copy.safetensors"
expect "trained weights" 1 'no matrix was compressed.*--calibrate' \
    "$compress" "$work/plain.safetensors" -o "$work/nothing.safetensors"
check "nothing is written then" test ! -e "$work/nothing.safetensors"
expect "trained weights, by a ratio" 0 'warning: 1 of 1 .* above 0.1.*--calibrate' \
    "$compress" "$work/plain.safetensors" -o "$work/rough.safetensors" --ratio 16 --block 8
expect "the last layer is left alone" 0 '^fc2\.weight  *dense ' "$inspect" "$work/rough.safetensors"
expect "but for --select" 0 '^fc2\.weight .* times smaller' \
    "$compress" "$work/plain.safetensors" -o "$work/all.safetensors" --ratio 4 --block 8 --select '*'
expect "matrices are compressed already" 1 'compressed already: expand' \
    "$compress" "$work/rough.safetensors" -o "$work/x.safetensors" --ratio 2
expect "expand matrices" 0 '^fc1\.weight  *32 x 784 ' \
    "$expand" "$work/all.safetensors" -o "$work/expanded.safetensors"
expect "they are those of the compressed ones" 0 '^fc2\.weight .* 0\.0000  *inf$' \
    "$inspect" "$work/all.safetensors" --against "$work/expanded.safetensors"
expect "expand compressed and dense matrices" 0 '^fc2\.weight  *10 x 32  *copied$' \
    "$expand" "$work/rough.safetensors" -o "$work/mixed.safetensors"
expect "the compressed one is dense" 0 '^fc1\.weight  *rbe .* 0\.0000  *inf$' \
    "$inspect" "$work/rough.safetensors" --against "$work/mixed.safetensors"

expect "compress_weights, two budgets" 2 'exclude each other' "$compress" x -o y --ratio 8 --coeffs 8
expect "compress_weights, store" 2 'expected f32|f16|bf16|int8, found "f8"' "$compress" x -o y --store f8

# A file of matrices and other tensors, and the inputs of one of them, made with NumPy.
python=python3
"$python" -c 'import numpy' 2> /dev/null || python=/usr/bin/python3
if "$python" "$root/tests/write_weights.py" "$work/in.safetensors" "$work/inputs.npy" 2> /dev/null; then
    tool() { "$compress" "$work/in.safetensors" --threads 1 "$@"; }
    expect "compress_weights" 0 '^all tensors: .* times smaller$' \
        tool --block 16 --ratio 8 --transform adaptive --store int8 -o "$work/out.safetensors"
    cp "$work/output" "$work/table"
    check "a row for each matrix" grep -q '^fc\.weight  *48 x 64  .* dct, dct$' "$work/table"
    check "half floats are read" grep -q '^half  *20 x 30 ' "$work/table"
    check "a ratio that hurts is warned of" grep -q '^compress_weights: warning: 1 of 3 matrices' "$work/table"
    check "only matrices have rows" test "$(grep -cv warning "$work/table")" -eq 5
    expect "inspect the result" 0 '^fc.weight  *rbe  *64 -> 48  *16 ' "$inspect" "$work/out.safetensors"
    expect "inspect against the original" 0 '^fc.weight .* 0\.0[0-9]*  *[0-9.]*$' \
        "$inspect" "$work/out.safetensors" --against "$work/in.safetensors"
    expect "inspect against another" 1 'expected fc.weight to be a matrix of 48 x 64' \
        "$inspect" "$work/out.safetensors" --against "$work/turned.safetensors"
    check "other tensors are copied" "$python" "$root/tests/write_weights.py" \
        --same "$work/in.safetensors" "$work/out.safetensors" fc.bias kernel steps nothing
    expect "select" 0 '^fc.weight' tool --select 'fc.*' -o "$work/one.safetensors"
    check "the others are copied" "$python" "$root/tests/write_weights.py" \
        --same "$work/in.safetensors" "$work/one.safetensors" half wide fc.bias
    expect "select nothing" 1 'no matrix is called "x\*"' tool --select 'x*' -o "$work/none.safetensors"
    check "nothing is written then" test ! -e "$work/none.safetensors"
    expect "blocks that overlap" 0 '^fc.weight .* times smaller' tool --block 16 --overlap 2 --ratio 8 -o "$work/overlap.safetensors"
    expect "a smaller matrix is wanted" 0 '^half .* copied: compression ratio .* at least 4.000' \
        tool --block 16 --ratio 8 --min-compression 4 -o "$work/dense.safetensors"
    expect "too little compression" 0 '^half .* copied: compression ratio ' \
        tool --target-error 0.01 --select '*' -o "$work/target.safetensors"
    expect "smaller than a block" 0 '^half .* copied: smaller than a block' tool -o "$work/default.safetensors"
    check "biases are expanded, too" "$python" "$root/tests/write_weights.py" \
        --same "$work/model.safetensors" "$work/plain.safetensors" \
        0.weight=fc1.weight 0.bias=fc1.bias 2.weight=fc2.weight 2.bias=fc2.bias
    check "a model of two layers of one name" "$python" "$root/tests/write_weights.py" \
        --rename "$work/model.safetensors" "$work/twice.safetensors" fc2 fc1
    expect "they are told apart" 0 '^fc1_2\.weight  *10 x 32 ' \
        "$expand" "$work/twice.safetensors" -o "$work/apart.safetensors"
    check "in their order" "$python" "$root/tests/write_weights.py" \
        --same "$work/plain.safetensors" "$work/apart.safetensors" fc1.weight fc2.weight=fc1_2.weight fc2.bias=fc1_2.bias
    reader() { "$python" -B "$root/python/rbe_reader.py" "$@"; }
    expect "the model's texts are kept" 0 '^"made.by": "a test"$' reader "$work/apart.safetensors"
    expect "rbe_reader.py calls layers so, too" 0 '^fc1_2.weight  *float32  *10 x 32$' reader "$work/twice.safetensors"
    expect "and prints its texts" 0 '^"made.by": "a test"$' reader "$work/twice.safetensors"
    expect "rbe_reader.py writes arrays" 0 '^relu' reader "$work/twice.safetensors" "$work/arrays.npz"
    check "they are there" test -s "$work/arrays.npz"
    head -c 5000 "$work/twice.safetensors" > "$work/cut.safetensors"
    expect "rbe_reader.py, a cut file" 1 '^rbe_reader.py: .*cut.safetensors: tensor .* is damaged' \
        reader "$work/cut.safetensors"
    sed 's/made.by/made.up/' "$work/twice.safetensors" > "$work/changed.safetensors"
    expect "rbe_reader.py, another text" 1 'the header is damaged' reader "$work/changed.safetensors"
    expect "rbe_reader.py without a file" 2 '^Files of librbe' reader
    expect "rbe_reader.py --help" 0 '^    rbe_reader.py FILE ' reader --help
    check "and copied" "$python" "$root/tests/write_weights.py" \
        --same "$work/plain.safetensors" "$work/mixed.safetensors" fc1.bias fc2.weight fc2.bias
    check "a nested model" "$python" "$root/tests/write_weights.py" --nested "$work/nested.safetensors" "$work/tree.safetensors"
    expect "expand a nested model" 0 '^block\.0\.up\.weight  *6 x 4 ' \
        "$expand" "$work/nested.safetensors" -o "$work/tree2.safetensors"
    check "its weights have PyTorch's names" "$python" "$root/tests/write_weights.py" --same "$work/tree.safetensors" \
        "$work/tree2.safetensors" block.0.up.weight block.0.dense.weight head.weight head.bias
    expect "rbe_reader.py calls them so, too" 0 '^block.0.dense.weight  *float32  *4 x 6$' reader "$work/nested.safetensors"
    expect "and shows what is inside" 0 '^    dense up$' reader "$work/nested.safetensors"
    expect "inspect a nested model" 0 '^block\.0\.up  *dense  *4 -> 6 .* 100.00%  *96  *96 ' "$inspect" "$work/nested.safetensors"
    expect "inspect a nested model against its weights" 0 '^head  *dense .* 60  *60 .* 0\.0000  *inf$' \
        "$inspect" "$work/nested.safetensors" --against "$work/tree.safetensors"
    expect "calibrate" 0 "^fc.weight .*, outputs' error 0\.[0-9]*$" \
        tool --calibrate "$work/inputs.npy" --ratio 20 -o "$work/fitted.safetensors"
    expect "expand what was fitted" 0 '^fc.weight  *48 x 64 ' \
        "$expand" "$work/fitted.safetensors" -o "$work/dense.safetensors"
    check "the mean output is kept" "$python" "$root/tests/write_weights.py" \
        --mean "$work/in.safetensors" "$work/dense.safetensors" "$work/inputs.npy"
    check "other tensors are copied again" "$python" "$root/tests/write_weights.py" \
        --same "$work/in.safetensors" "$work/dense.safetensors" kernel steps nothing
    expect "calibrate, no such width" 1 'no selected matrix has 64 inputs' \
        tool --calibrate "$work/inputs.npy" --select half -o "$work/x.safetensors"
    expect "not finite" 1 '^compress_weights: fc.weight: NUMERICAL_INSTABILITY: weight (0, 1) is nan' \
        "$compress" "$work/nan.safetensors" -o "$work/x.safetensors"
    expect "no output folder" 1 '^compress_weights: IO_ERROR: ' tool -o "$work/no/x.safetensors"
    if command -v gnuplot > /dev/null; then
        expect "inspect --plot" 0 'pictures' "$inspect" "$work/out.safetensors" --against "$work/in.safetensors" \
            --plot "$work/pictures"
        check "three pictures" test -s "$work/pictures/1-fc.weight.png" -a -s "$work/pictures/3-wide.png"
        check "and nothing else" test "$(find "$work/pictures" -type f | wc -l)" -eq 3
    fi

    # A network that PyTorch has trained: compressed through the network, and what becomes of its outputs.
    line="body.0 relu body.2 relu head"
    net=$work/net.safetensors
    "$python" "$root/tests/write_weights.py" --network "$net" "$work/x.npy"
    import() { # FILE NETWORK OPTION...
        "$build/examples/import_torch" "$@" --threads 1
    }
    expect "import_torch" 0 '^output error 0\.[0-9]* .* on 300 samples' import "$net" "$line" \
        --calibrate "$work/x.npy" --block 8 --ratio 6 -o "$work/imported.safetensors"
    cp "$work/output" "$work/table"
    check "a row for each layer" grep -q '^body\.2  *40 x 48  .* 0\.[0-9]*  *0\.[0-9]*  dct, dct$' "$work/table"
    check "but for the last" grep -q '^head  *5 x 40  *dense: the last layer' "$work/table"
    error=$(sed -n 's/^output error \([0-9.]*\) .*/\1/p' "$work/table")
    expect "expand it" 0 '^body\.2\.weight  *40 x 48 ' "$expand" "$work/imported.safetensors" -o "$work/back.safetensors"
    check "NumPy finds the same outputs" "$python" "$root/tests/write_weights.py" \
        --forward "$net" "$work/back.safetensors" "$work/x.npy" "$error"
    check "the head stays as it is" "$python" "$root/tests/write_weights.py" --same "$net" "$work/back.safetensors" head.weight
    expect "import_torch, int8" 0 '^output error 0\.0[0-9]* ' import "$net" "$line" --calibrate "$work/x.npy" --block 8 \
        --ratio 6 --store int8 -o "$work/imported.safetensors"
    expect "import_torch without samples" 0 '^body\.0  *48 x 64 .* times smaller' \
        import "$net" "$line" --block 8 -o "$work/imported.safetensors"
    expect "import_torch, the head too" 0 '^head  *5 x 40  *[0-9]* ' \
        import "$net" "$line" --block 8 --ratio 2 --select '*' -o "$work/imported.safetensors"
    check "it reads what is stored" "$inspect" "$work/imported.safetensors"
    expect "import_torch, a ratio that hurts" 0 '^import_torch: warning: body.2 has an error above 0.1' \
        import "$net" "$line" --block 8 --ratio 40 -o "$work/imported.safetensors"
    expect "import_torch, a layer in two places" 0 '^cell  *24 x 24  *[0-9]* ' import "$work/net-tied.safetensors" \
        "cell tanh cell softmax" --block 8 --select cell -o "$work/imported.safetensors"
    expect "it has one matrix" 0 '^shared 0$' reader "$work/imported.safetensors"
    rm "$work/imported.safetensors"
    expect "import_torch, a layer that is missing" 1 'there is no tensor body.2.weight, and body.2 is no operation' \
        import "$work/net-less.safetensors" "$line" -o "$work/imported.safetensors"
    expect "import_torch, a layer that is forgotten" 1 'does not name tensor forgotten.weight (--allow-left-over)' \
        import "$work/net-more.safetensors" "$line" -o "$work/imported.safetensors"
    expect "import_torch, layers that do not fit" 1 'head: takes 40 columns, the layer before gives 48' \
        import "$net" "body.0 relu head" --allow-left-over -o "$work/imported.safetensors"
    expect "import_torch, an unknown operation" 1 'swish is no operation: expected relu, gelu' \
        import "$net" "body.0 swish body.2 relu head" -o "$work/imported.safetensors"
    expect "import_torch, samples of another width" 1 "expected samples of the network's 64 inputs, found 63" \
        import "$net" "$line" --calibrate "$work/x-narrow.npy" -o "$work/imported.safetensors"
    expect "import_torch, no layer" 2 'expected a network with a layer, found "relu"' \
        import "$net" relu -o "$work/imported.safetensors"
    expect "import_torch, two budgets" 2 'exclude each other' import "$net" "$line" --ratio 8 --coeffs 8 -o "$work/x"
    expect "import_torch onto its input" 2 'is the input' import "$net" "$line" -o "$net"
    expect "import_torch without a network" 2 'NETWORK' import "$net" -o "$work/imported.safetensors"
    expect "import_torch, not finite" 1 '^import_torch: NUMERICAL_INSTABILITY: .*tensor fc.weight: value 1 is nan' \
        import "$work/nan.safetensors" fc -o "$work/imported.safetensors"
    check "nothing is written then" test ! -e "$work/imported.safetensors"
    expect "import_torch, more tensors" 0 'bytes, dense' \
        import "$work/net-more.safetensors" "$line" --allow-left-over -o "$work/imported.safetensors"
else
    echo "programs.sh: no Python with NumPy was found: compress_weights and import_torch are hardly tested"
fi

# ---- checkpoints -------------------------------------------------------------------------------------------------

# A training of two seconds or so, of which many moments can be met.
long() { # OPTION...
    "$train" --data "$data" --epochs 400 --batch 10 --hidden 64 --growth --dropout 0.1 --log-every 10 --threads 1 "$@"
}

# Runs a command in the background, where a shell lets nobody hear SIGINT, and nohup, perhaps, SIGHUP; sends it a signal
# once FILE is there, and takes its exit code.
interrupted() { # SIGNAL FILE COMMAND...
    signal=$1
    file=$2
    shift 2
    env --default-signal "$@" &
    child=$!
    tries=0
    while [ ! -e "$file" ] && [ $tries -lt 200 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kill "-$signal" $child
    wait $child
}

# Not a function in the background, of which the shell would be the process.
long_command="$train --data $data --epochs 400 --batch 10 --hidden 64 --growth --dropout 0.1 --log-every 10 --threads 1"

expect "whole" 0 'test error' long --out "$work/whole"
for signal in INT:130 TERM:143 HUP:129; do
    rm -rf "$work/cut"
    # shellcheck disable=SC2086 # a command of several words
    expect "interrupted by SIG${signal%:*}" "${signal#*:}" '^interrupted: .*after step' \
        interrupted "${signal%:*}" "$work/cut/checkpoint" $long_command --out "$work/cut" \
        --checkpoint "$work/cut/checkpoint" --every 20
    check "SIG${signal%:*}: the model so far" "$build/examples/inspect" "$work/cut/model.safetensors"
    expect "SIG${signal%:*}: goes on" 0 "^rbe  goes on from $work/cut/checkpoint, after step" long --out "$work/cut" \
        --checkpoint "$work/cut/checkpoint" --every 0.001m --resume
    check "SIG${signal%:*}: the same model" cmp "$work/whole/model.safetensors" "$work/cut/model.safetensors"
    check "SIG${signal%:*}: the same log" cmp "$work/whole/log.csv" "$work/cut/log.csv"
done
expect "a finished training is not repeated" 0 'goes on from .*, after step 8000 of 8000' long --out "$work/cut" \
    --checkpoint "$work/cut/checkpoint" --resume
expect "another seed" 1 'fit: seed: 1 when it was saved, 2 now' long --checkpoint "$work/cut/checkpoint" --resume --seed 2
expect "another width" 1 'when it was saved' long --checkpoint "$work/cut/checkpoint" --resume --hidden 32
expect "no checkpoint yet" 0 "no checkpoint at $work/none: training begins" tiny --checkpoint "$work/none" --resume
printf x | dd of="$work/cut/checkpoint" bs=1 seek=3000 conv=notrunc 2> /dev/null
expect "a damaged checkpoint" 1 'damaged' long --checkpoint "$work/cut/checkpoint" --resume
expect "--resume alone" 2 'resume needs --checkpoint' tiny --resume
expect "--every alone" 2 'every needs --checkpoint' tiny --every 5
expect "--every what" 2 'expected steps, 500, or minutes, 10m' tiny --checkpoint "$work/none" --every often
expect "a folder that is not there: said before the training" 1 'checkpoint: no file can be made in .*none/there: ' \
    tiny --checkpoint "$work/none/there/checkpoint"
expect "the model's own file" 1 'checkpoint: .* is the file of the model' \
    tiny --out "$work/own" --checkpoint "$work/own/model.safetensors"
mkdir -p "$work/folder"
expect "a checkpoint that cannot be written: the model is there" 1 "the model so far is in $work/kept/model.safetensors" \
    tiny --out "$work/kept" --checkpoint "$work/folder"
check "it can be loaded" "$build/examples/inspect" "$work/kept/model.safetensors"
expect "regression with checkpoints" 0 '^best epoch' "$build/examples/regression" --model "$work/best" \
    --checkpoint "$work/regression" --every 50
expect "regression, again" 0 'goes on from' "$build/examples/regression" --model "$work/best" \
    --checkpoint "$work/regression" --resume

# ---- character models --------------------------------------------------------------------------------------------

char_model=$build/examples/char_model
generate=$build/examples/generate

# Lines of eight words out of a few.
awk 'BEGIN { srand(1); n = split("the cat sat on a mat and his dog ran to an old red barn", word, " ")
    for (line = 0; line < 300; line++)
        for (k = 0; k < 8; k++) printf "%s%s", word[1 + int(rand() * n)], k < 7 ? " " : "\n" }' > "$work/text"
characters=$(wc -c < "$work/text")
kinds=$(fold -w 1 "$work/text" | sort -u | grep -c .)
kinds=$((kinds + 1)) # and the new line
speak() { # OPTION...: a model of a second
    "$char_model" --text "$work/text" --layers 2 --heads 2 --width 32 --context 16 --batch 4 --steps 60 \
        --threads 1 "$@"
}

expect "char_model --help" 0 '^  --rotary' "$char_model" --help
expect "generate --help" 0 '^  --repetition-penalty R' "$generate" --help
expect "char_model, unknown option" 2 "Try 'char_model --help'" "$char_model" --what
expect "generate, unknown option" 2 "Try 'generate --help'" "$generate" --what
expect "generate without a model" 2 'expected a model of characters, MODEL' "$generate"
expect "char_model, an argument" 2 'unexpected argument' "$char_model" "$work/text"
for option in '--ratio 8' '--transform dct' '--group 2' --growth; do
    # shellcheck disable=SC2086 # an option and its value
    expect "char_model dense $option" 2 "^char_model: ${option%% *} needs --layer rbe" speak --layer dense $option
done
expect "char_model, heads and width" 2 '--width: expected a multiple of 3 heads, found 32' speak --heads 3
expect "char_model, rotary heads" 2 '--rotary needs heads of an even width' speak --heads 32 --rotary
expect "char_model, layer" 2 '--layer: expected dense|rbe, found "sparse"' speak --layer sparse
expect "char_model, store" 2 '--store: expected f32|f16|bf16|int8' speak --store int4
expect "char_model, transform" 2 '--transform: expected' speak --transform fourier
expect "char_model, no layers" 2 '--layers: expected' speak --layers 0
expect "char_model, no steps" 2 '--steps: expected' speak --steps 0
expect "char_model, dropout of everything" 2 '--dropout: expected' speak --dropout 1
expect "char_model --resume alone" 2 'resume needs --checkpoint' speak --resume
expect "generate, no characters" 2 '--length: expected' "$generate" --length 0 "$work/model"
expect "generate, top-p" 2 '--top-p: expected a number 0 .. 1' "$generate" --top-p 1.5 "$work/model"
expect "generate, temperature" 2 '--temperature: expected' "$generate" --temperature=-1 "$work/model"
expect "generate, penalty" 2 '--repetition-penalty: expected' "$generate" --repetition-penalty 0.5 "$work/model"

expect "char_model" 0 "^$characters characters of $kinds kinds" speak --json --out "$work/speaker"
tail -n 1 "$work/output" > "$work/line"
cp "$work/output" "$work/speaker.txt"
number='[0-9][0-9.]*'
check "char_model, json" grep -q "^{\"program\":\"char_model\",\"val_loss\":$number,\"linear_values\":1536,\"other_values\":$number,\
\"weight_bytes\":$number,\"file_bytes\":$number,\"train_seconds\":$number,\"core_seconds\":$number,\"step_ms\":$number,\"peak_bytes\":$number}$" \
    "$work/line"
check "char_model: the file is as large as it says" test "$(wc -c < "$work/speaker/model.safetensors")" -eq \
    "$(sed 's/.*"file_bytes":\([0-9]*\).*/\1/' "$work/line")"
check "char_model: ten epochs are logged" test "$(grep -c '^epoch,' "$work/speaker/log.csv")" -eq 10
check "char_model has learned" test "$(sed 's/.*"val_loss":\([0-9]*\)\.\([0-9][0-9]\).*/\1\2/' "$work/line")" -lt 270
for options in '--layer dense' '--rotary --dropout 0.1' --growth '--store int8'; do
    # shellcheck disable=SC2086 # several options
    expect "char_model $options" 0 '^loss  *[0-9.]* nats per character' speak $options --out "$work/other"
    expect "char_model $options: it speaks" 0 'characters a second' \
        "$generate" --length 40 "$work/other/model.safetensors"
done

# The names of nanoGPT.
expect "expand a character model" 0 '.' "$expand" "$work/speaker/model.safetensors" -o "$work/nano.safetensors"
cp "$work/output" "$work/names"
for shape in "wte.weight  *$kinds x 32" 'wpe.weight  *16 x 32' 'h\.0\.attn\.c_attn\.weight  *96 x 32' \
    'h\.1\.attn\.c_proj\.weight  *32 x 32' 'h\.0\.mlp\.c_fc\.weight  *128 x 32' \
    'h\.1\.mlp\.c_proj\.weight  *32 x 128'; do
    check "it has transformer.$shape" grep -q "^transformer\.$shape" "$work/names"
done
check "it has nothing else" test "$(grep -c '\.weight' "$work/names")" -eq 10
head -c 8000 "$work/nano.safetensors" | grep -a -o '"transformer\.[a-z0-9_.]*"' | sort -u > "$work/names"
check "the file has norms, too" grep -q 'transformer\.h\.1\.ln_2\.weight' "$work/names"
check "the last norm" grep -q 'transformer\.ln_f\.weight' "$work/names"
if "$python" -c 'import numpy' 2> /dev/null; then
    expect "NumPy finds the same loss in it" 0 "^loss  *$("$python" "$root/tests/run_gpt.py" "$work/nano.safetensors" \
        "$work/text" 16 2) nats" grep '^loss' "$work/speaker.txt"
fi
check "no weight stands there twice" test "$(wc -l < "$work/names")" -eq 15

# Speaking: the seed decides, and threads do not.
say() { # FILE OPTION...
    file=$1
    shift
    "$generate" "$work/speaker/model.safetensors" --length 100 "$@" > "$file" 2> "$work/speed"
}
say "$work/said" --seed 3
say "$work/again" --seed 3 --threads 2
say "$work/another" --seed 4
check "generate: a hundred characters and a line's end" test "$(wc -c < "$work/said")" -eq 101
check "generate: the same seed says the same on two threads" cmp "$work/said" "$work/again"
expect "generate: another seed says something else" 1 differ cmp "$work/said" "$work/another"
check "generate says how fast it was" grep -q '^[0-9]* characters a second$' "$work/speed"
say "$work/said" --temperature 0 --seed 1
say "$work/again" --temperature 0 --seed 2
check "generate: without temperature the seed says nothing" cmp "$work/said" "$work/again"
say "$work/again" --top-k 1 --seed 9
check "generate: the likeliest one is the same" cmp "$work/said" "$work/again"
say "$work/again" --repetition-penalty 3 --temperature 0
expect "generate: a penalty changes that" 1 differ cmp "$work/said" "$work/again"
say "$work/said" --prompt 'the cat sat on the mat and the dog'
check "generate begins with the prompt, longer than the context" \
    grep -q '^the cat sat on the mat and the dog.' "$work/said"
expect "generate, unknown character" 1 '^generate: INVALID_ARGUMENT: byte 4: .* has no "Z" (U+005A)' \
    "$generate" --prompt 'the Zebra' "$work/speaker/model.safetensors"
expect "generate, no prompt" 1 'prompt of at least one character' \
    "$generate" --prompt '' "$work/speaker/model.safetensors"
expect "generate, a prompt that is no text" 1 '^generate: BAD_FORMAT: .*byte 1, ff' \
    "$generate" --prompt "$(printf 'a\377')" "$work/speaker/model.safetensors"
expect "generate, another model" 1 'expected a model of characters, but' "$generate" "$work/whole/model.safetensors"
expect "generate, no file" 1 '^generate: IO_ERROR: .*none' "$generate" "$work/none.safetensors"

# Other texts.
{ head -c 3000 "$work/text" && printf '\377\000\376' && tail -c 3000 "$work/text"; } > "$work/bytes"
expect "char_model, a text that is none" 1 '^char_model: BAD_FORMAT: .*byte 3000, ff, .*read as bytes' \
    speak --text "$work/bytes"
expect "char_model --bytes" 0 '^6003 characters of 256 kinds' speak --text "$work/bytes" --bytes --out "$work/other"
expect "generate bytes" 0 'characters a second' "$generate" --length 40 "$work/other/model.safetensors"
expect "generate bytes from any prompt" 0 'characters a second' \
    "$generate" --prompt "$(printf 'a\377')" --length 40 "$work/other/model.safetensors"
tr '\n' '.' < "$work/text" > "$work/line"
expect "char_model, a text of one line" 0 '^loss' speak --text "$work/line" --out "$work/other"
expect "generate from a model that knows no new line" 0 'characters a second' \
    "$generate" --length 40 "$work/other/model.safetensors"
head -c 100 "$work/text" > "$work/short"
expect "char_model, a short text" 1 '100 characters are too few for a context of 16' speak --text "$work/short"
: > "$work/empty"
expect "char_model, an empty text" 1 'at least one character' speak --text "$work/empty"
expect "char_model --bytes, an empty text" 1 '0 characters are too few' speak --text "$work/empty" --bytes
expect "char_model, no text" 1 "^char_model: IO_ERROR: .*no_text" speak --text "$work/no_text"

# Interrupted and gone on: the same model and the same log.
read_long="$char_model --text $work/text --layers 1 --heads 2 --width 16 --context 8 --batch 4 --steps 4000 --growth \
    --dropout 0.1 --log-every 10 --threads 1"
# shellcheck disable=SC2086 # a command of several words
{
    expect "char_model, whole" 0 '^loss' $read_long --out "$work/read"
    expect "char_model, interrupted" 143 '^interrupted: .*after step' interrupted TERM "$work/read2/checkpoint" \
        $read_long --out "$work/read2" --checkpoint "$work/read2/checkpoint" --every 20
    expect "char_model, the model so far speaks" 0 'characters a second' \
        "$generate" --length 20 "$work/read2/model.safetensors"
    expect "char_model goes on" 0 "goes on from $work/read2/checkpoint, after step" $read_long --out "$work/read2" \
        --checkpoint "$work/read2/checkpoint" --resume
    check "char_model: the same model" cmp "$work/read/model.safetensors" "$work/read2/model.safetensors"
    check "char_model: the same log" cmp "$work/read/log.csv" "$work/read2/log.csv"
    expect "char_model, another text" 1 'when it was saved' $read_long --text "$work/line" \
        --checkpoint "$work/read2/checkpoint" --resume
}

# ---- stored models -----------------------------------------------------------------------------------------------

# The bytes of DIR/model.safetensors are at most BYTES and what `classify` finds is what was printed in "$work/output".
check_stored() { # NAME DIR [BYTES]
    printed=$(sed -n 's/^test error *\([0-9.]* +- [0-9.]* %\).*/\1/p' "$work/output")
    expect "$1: classify finds the printed error" 0 "^error *$printed" \
        "$build/examples/classify" "$2/model.safetensors" --data "$data"
    check "$1: the file" test "$(wc -c < "$2/model.safetensors")" -le "${3:-10000000}"
}

for store in f32 f16 bf16 int8; do
    expect "stored as $store" 0 "^bytes of the file .*($store)" tiny --growth --store $store --out "$work/$store"
    check_stored "stored as $store" "$work/$store"
done
check "int8 takes less than f16, and that less than f32" test \
    "$(wc -c < "$work/int8/model.safetensors")" -lt "$(wc -c < "$work/f16/model.safetensors")" -a \
    "$(wc -c < "$work/f16/model.safetensors")" -lt "$(wc -c < "$work/f32/model.safetensors")"
expect "dense, stored" 0 'test error' tiny --layer dense --store int8 --out "$work/stored"
check_stored "dense" "$work/stored"
expect "with dropout, stored" 0 'test error' tiny --dropout 0.2 --out "$work/stored"
check_stored "with dropout" "$work/stored"
expect "few bits, stored" 0 'test error' tiny --bits 4 --head-bits 3 --growth --out "$work/stored"
check_stored "few bits" "$work/stored"

expect "an int8 model, expanded" 0 '^fc1\.weight' \
    "$expand" "$work/int8/model.safetensors" -o "$work/int8.safetensors"
expect "it is the model" 0 '^fc1 .* 0\.0000  *inf$' \
    "$inspect" "$work/int8/model.safetensors" --against "$work/int8.safetensors"

expect "a budget alone" 0 \
    '^for 16,113 bytes: --hidden 320 --growth --image --bits 4 --head-bits 4 --group 4 --dropout 0.1 --epochs 1 --optimizer adamw --weight-decay 0.05 --lr 0.006$' \
    "$train" --data "$data" --threads 1 --budget 16113 --epochs 1
expect "a large budget" 0 '^for 2,000,000 bytes: --hidden 1024 ' \
    "$train" --data "$data" --threads 1 --budget 2000000 --epochs 1
expect "a budget and options" 0 '^for 16,113 bytes: --group 2 --dropout 0 --epochs 1 --optimizer sgd --weight-decay 0 --lr 0.01$' \
    tiny --budget 16113 --no-growth --no-image --group 2 --dropout 0 --lr 0.01 --optimizer sgd --store f16
expect "a budget and augmentation" 0 '^for 6,100 bytes: --hidden 120 .* --dropout 0 --epochs 1 ' \
    "$train" --data "$data" --threads 1 --budget 6100 --augment 0.5 --elastic 0.8 --epochs 1
expect "--no-growth against --growth" 2 'exclude' "$train" --growth --no-growth

for options in '' '--no-growth --store f32' --no-image '--no-growth --prune-schedule 0.5' \
    '--growth --prune-schedule 0.5 --store f16'; do
    case $options in
    *--store*) budgets='7000 20000' ;;
    *) budgets='3500 7000' ;; # of four bits
    esac
    for budget in $budgets; do
        # shellcheck disable=SC2086 # several options
        expect "budget of $budget $options" 0 'test error' tiny $options --budget $budget --batch 10 --out "$work/budget"
        check_stored "budget of $budget $options" "$work/budget" "$budget"
        check "budget of $budget $options: it is used" test \
            "$(wc -c < "$work/budget/model.safetensors")" -ge $((budget * 19 / 20))
    done
done
tiny --budget 3500 --batch 10 --growth --image --checkpoint "$work/budget.checkpoint" --epochs 5 --out "$work/budget" \
    > "$work/trimmed" 2>&1
check "values go from the budget" grep -q "pruned for the budget" "$work/trimmed"
expect "a resumed one tells how many went before" 0 "$(sed -n 's/^values.*(\(.* pruned for the budget\))$/\1/p' "$work/trimmed")" \
    tiny --budget 3500 --batch 10 --growth --image --checkpoint "$work/budget.checkpoint" --epochs 5 --out "$work/budget" \
    --resume
expect "a checkpoint of another budget" 1 'bytes' tiny --budget 3600 --batch 10 --growth --image \
    --checkpoint "$work/budget.checkpoint" --epochs 5 --resume
expect "budget that no model fits" 1 'INSUFFICIENT_COMPRESSION: budget: .*, found 600$' tiny --budget 600
expect "budget beyond a model" 0 'test error' tiny --budget 1000000000 --alpha off
expect "pruned to nothing" 0 '^values  *362$' tiny --prune-schedule 1 --alpha off --out "$work/stored"
check_stored "pruned to nothing" "$work/stored"
expect "half of it pruned" 0 '^values  *1,1[0-9][0-9]$' tiny --prune-schedule 0.5 --alpha off
expect "pruned at a threshold beyond all" 0 '^values  *362$' tiny --prune-threshold 100 --alpha off
expect "pruned at a relative threshold beyond all" 0 '^values  *362$' tiny --prune-threshold 1e6 --relative --alpha off
expect "pruned at a threshold of nothing" 0 '^values  *1,930$' tiny --prune-threshold 1e-30 --alpha off
expect "pruned at a threshold" 0 '^values  *[89][0-9][0-9]$' \
    tiny --prune-threshold 1 --relative --alpha off --group 1 --out "$work/stored"
check_stored "pruned at a threshold" "$work/stored"

# ---- models as C -------------------------------------------------------------------------------------------------

export_c=$build/examples/export_c
net=$work/net
mkdir "$net"
expect "export_c: a model to export" 0 '' tiny --out "$net/trained"
for option in '' --speed '--values int8' '--values int4'; do
    # shellcheck disable=SC2086 # an option and its value
    expect "export_c $option" 0 '^net: 10 samples, error .*, constants [0-9]* bytes, scratch [0-9]* bytes' \
        "$export_c" "$net/trained/model.safetensors" -o "$net/net.c" $option
done
check "export_c: two files" test "$(ls "$net")" = "net.c
net.h
trained"
expect "export_c: images" 0 '^digits: 7 samples' "$export_c" "$net/trained/model.safetensors" -o "$net/digits.c" \
    --name digits --test "$data/t10k-images-idx3-ubyte.gz" --count 7
expect "export_c: pixels are bytes" 0 '^static const uint8_t test_inputs.5488. ' cat "$net/digits.c"
expect "export_c --tolerance" 0 '' "$export_c" "$net/trained/model.safetensors" -o "$net/loose.c" --tolerance 0.25
expect "export_c: its test has that tolerance" 0 'test_tolerance = 2\.5e-1f' cat "$net/loose.c"
check "export_c: by hand" sh -c "cc -std=c99 -O1 -DDIGITS_TEST '$net/digits.c' -lm -o '$net/digits' && '$net/digits'"
expect "deploy.sh, on this computer" 0 '^trained  *--values+int8  *host .* 100  *[0-9]*  *[0-3]$' \
    env BOARDS= sh "$root/scripts/deploy.sh" "$build" "$data" "$net/trained/model.safetensors --values int8"
expect "export_c: a model for whole numbers" 0 '' tiny --alpha off --out "$net/plain"
expect "export_c --integer" 0 '^whole numbers: [0-9]* of [0-9]* samples have the library.s class .*; error' "$export_c" \
    "$net/plain/model.safetensors" -o "$net/whole.c" --integer --test "$data/t10k-images-idx3-ubyte.gz" \
    --labels "$data/t10k-labels-idx1-ubyte.gz"
check "export_c: no floats" sh -c "! sed -n '1,/_TEST/p' '$net/whole.c' | grep -q 'float\|double'"
expect "export_c: labels of nothing" 2 'labels needs --integer and --test' "$export_c" "$net/plain/model.safetensors" \
    -o "$net/no.c" --labels "$data/t10k-labels-idx1-ubyte.gz"
expect "export_c: no file" 2 '^export_c: expected --out NET.c' "$export_c" "$net/trained/model.safetensors"
expect "export_c: both" 2 'exclude each other' "$export_c" "$net/trained/model.safetensors" -o "$net/no.c" --size --speed
expect "export_c: bad name" 1 'expected as a name' "$export_c" "$net/trained/model.safetensors" -o "$net/no.c" --name 9x
expect "export_c: bad values" 2 '--values: expected' "$export_c" "$net/trained/model.safetensors" -o "$net/no.c" --values f16
{
    printf '\223NUMPY\001\000\166\000'
    printf "%-117s\n" "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }"
    printf '\000\000\000\000'
} > "$net/odd.npy"
expect "export_c: samples of another width" 1 'expected samples of 784 values' \
    "$export_c" "$net/trained/model.safetensors" -o "$net/no.c" --test "$net/odd.npy"
expect "export_c: no such folder" 1 'IO_ERROR' "$export_c" "$net/trained/model.safetensors" -o "$net/none/no.c"
printf '#!/bin/sh\nexit 1\n' > "$net/refuses"
# shellcheck disable=SC2016 # for the script that is made
printf '#!/bin/sh\nprintf "#!/bin/sh\\nexit 1\\n" > "$3"\nchmod +x "$3"\n' > "$net/computes_wrong"
chmod +x "$net/refuses" "$net/computes_wrong"
expect "export_c: the compiler refuses" 1 'the compiler rejected .*: nothing was written' \
    env CC="$net/refuses" "$export_c" "$net/trained/model.safetensors" -o "$net/no.c"
expect "export_c: the test fails" 1 'gives other outputs than the library: nothing was written' \
    env CC="$net/computes_wrong" "$export_c" "$net/trained/model.safetensors" -o "$net/no.c"
expect "export_c: no compiler" 0 'was not tested' \
    env CC="$net/nobody" "$export_c" "$net/trained/model.safetensors" -o "$net/untried.c"
check "export_c: nothing is written where it fails" test ! -e "$net/no.c"

# ---- experiments -------------------------------------------------------------------------------------------------

small="--data $data --threads 1 --epochs 1 --batch 50 --hidden 32"
# shellcheck disable=SC2086 # several options
{
    expect "growth" 0 '^ratio 8: growth every 100 steps takes' \
        "$build/examples/growth" $small --ratios 8,16 --seeds 2 --quiet --out "$work/experiments"
    expect "growth, json" 0 '^{"program":"growth","method":"grown","ratio":8,.*"seconds_per_epoch":[0-9.]*}$' \
        "$build/examples/growth" $small --ratios 8 --seeds 1 --quiet --only grown --json
    expect "prune_sweep" 0 '^fisher  *50 %  refit' \
        "$build/examples/prune_sweep" $small --percent 50,90 --samples 100 --seeds 2 --out "$work/experiments"
    expect "prune_sweep, json" 0 '^{"program":"prune_sweep","score":"random","removed_percent":50,"repair":"absorbed",.*}$' \
        "$build/examples/prune_sweep" $small --percent 50 --samples 100 --json
    expect "prune_sweep, thresholds" 0 '^\(knee: [0-9.e+]*, the largest\|no knee: every\) threshold' \
        "$build/examples/prune_sweep" $small --threshold 0.1,0.02,0.05,1e9,0 --seeds 2 --out "$work/experiments"
    expect "prune_sweep, relative thresholds" 0 '^1\.2  *[0-9.]* %  *[0-9.]* %  ' \
        "$build/examples/prune_sweep" $small --threshold auto --relative --seeds 2 --out "$work/relative"
    expect "prune_sweep, thresholds, json" 0 \
        '^{"program":"prune_sweep","threshold":0.5,"relative":true,"knee":[a-z]*,"removed_percent":.*"speed":[0-9.]*}$' \
        "$build/examples/prune_sweep" $small --threshold 0.5 --relative --single --json
}
expect "prune_sweep, thresholds of a stored model" 0 '^1\.2  *[0-9.]* %  ' \
    "$build/examples/prune_sweep" --data "$data" --threads 1 --load "$work/f32/model.safetensors" \
    --threshold 0.3,1.2 --relative --out "$work/loaded"
check "there is no dense network of its shape" grep -q '^1\.2,1,.*,,' "$work/loaded/prune_thresholds.csv"
# What every table of thresholds must say: the thresholds rise and with them the shares removed, of each layer and of
# all; values and bytes fall; one row is the knee, the last whose loss is within a standard error, or none is.
check_thresholds() { # FILE
    awk -F, '
        NR == 1 {
            for (n = 1; n <= NF; n++) at[$n] = n
            split("threshold relative knee removed_percent test_error original_error standard_error dense_error " \
                "values memory_bytes file_bytes speed removed_percent_fc1", wanted, " ")
            for (n in wanted) if (!(wanted[n] in at)) { print "no column " wanted[n]; bad = 1 }
            next
        }
        NR > 2 && ($at["threshold"] <= threshold || $at["removed_percent"] < removed ||
            $at["removed_percent_fc1"] < layer || $at["values"] > values || $at["memory_bytes"] > bytes) {
            print "not monotone in line " NR
            bad = 1
        }
        {
            threshold = $at["threshold"]; removed = $at["removed_percent"]; layer = $at["removed_percent_fc1"]
            values = $at["values"]; bytes = $at["memory_bytes"]
            if ($at["test_error"] - $at["original_error"] <= $at["standard_error"] + 0.0001) expected = NR
            if ($at["knee"]) { found = NR; knees++ }
            if (!($at["speed"] > 0 && $at["dense_error"] != "")) bad = 1
        }
        END { exit bad || knees > 1 || found != expected || NR < 4 }' "$1"
}
check "prune_thresholds.csv" check_thresholds "$work/experiments/prune_thresholds.csv"
check "nothing goes at a threshold of 0" grep -q '^0,0,[01],0\.0000,' "$work/experiments/prune_thresholds.csv"
check "everything goes at a threshold of 1e9" grep -q '^1e+09,0,0,100\.0000,' "$work/experiments/prune_thresholds.csv"
check "prune_thresholds.csv, relative" check_thresholds "$work/relative/prune_thresholds.csv"
check "10 relative thresholds" test "$(grep -c '^[0-9.]*,1,' "$work/relative/prune_thresholds.csv")" -eq 10
sweep=$build/examples/prune_sweep
expect "thresholds in words" 2 '--threshold: expected numbers >= 0 like 0.1,0.2, or auto, found "low"' \
    "$sweep" --threshold low
expect "threshold below 0" 2 '--threshold: expected' "$sweep" --threshold 0.1,-1
expect "threshold nan" 2 '--threshold: expected' "$sweep" --threshold nan
expect "thresholds, end" 2 '--threshold: expected' "$sweep" --threshold 0.1,
expect "thresholds and shares" 2 'exclude each other' "$sweep" --threshold 0.1 --percent 50
expect "thresholds and samples" 2 'exclude each other' "$sweep" --threshold 0.1 --samples 50
expect "relative shares" 2 '--relative needs --threshold' "$sweep" --percent 50 --relative
expect "tune_blocks" 0 '^chosen' "$build/examples/tune_blocks" --in 64 --out-width 64 --samples 8 --rounds 3 \
    --blocks 8,16,32 --groups 1 --out "$work/experiments"
expect "tune_blocks, json" 0 '^{"program":"tune_blocks","given":true,.*}$' \
    "$build/examples/tune_blocks" --in 64 --out-width 64 --samples 8 --rounds 3 --blocks 8,16 --json
check "growth.csv: 4 kinds, 2 ratios, 2 seeds, and dense" test "$(wc -l < "$work/experiments/growth.csv")" -eq 19
# The only score with a weight is the best of its column, which the program's CSV calls as the options are called.
for wanted in memory:memory_bytes accuracy:error; do
    expect "tune_blocks, ${wanted%:*} only" 0 '^chosen' "$build/examples/tune_blocks" --in 64 --out-width 64 --samples 8 \
        --rounds 3 --blocks 8,16,32 --memory 0 --speed 0 --accuracy 0 "--${wanted%:*}" 1 --out "$work/${wanted%:*}"
    # shellcheck disable=SC2016 # awk's own fields
    check "tune_blocks chooses the least ${wanted#*:}" awk -F, -v wanted="${wanted#*:}" '
        NR == 1 { for (n = 1; n <= NF; n++) if ($n == wanted) column = n; next }
        NR == 2 || $column < least { least = $column }
        $2 == 1 { chosen = $column }
        END { exit !(column && chosen == least) }' "$work/${wanted%:*}/tune_blocks.csv"
done
check "prune_sweep.csv: 4 scores, 2 shares, 3 repairs" test "$(wc -l < "$work/experiments/prune_sweep.csv")" -eq 25
check "tune_blocks.csv: given and tried" test "$(wc -l < "$work/experiments/tune_blocks.csv")" -ge 3
for program in growth prune_sweep tune_blocks; do
    expect "$program --help" 0 '^  --json' "$build/examples/$program" --help
    expect "$program, unknown option" 2 "Try '$program --help'" "$build/examples/$program" --what
done

# ---- benchmarks --------------------------------------------------------------------------------------------------

bench=$build/bench/bench_linear
expect "bench_linear: shares of the peak" 0 \
    '^{"case":"fwd",.*"ratio":[0-9.]*,.*"peak_gflops":[1-9][0-9.]*,"useful_share":0\.[0-9]*,"dense_share":[0-9.]*,' \
    "$bench" --quick --json --case fwd --size 64 --n 64
expect "bench_linear, a step" 0 '^{"case":"step",.*"peak_gflops":[1-9][0-9.]*,"useful_share":0\.[0-9]*,"dense_share":[0-9.]*,' \
    "$bench" --quick --json --case step --size 64 --n 64
printf '# Two layers.\n\nwide 30 100 7 # remark\nhigh 100 30 9\n' > "$work/shapes"
expect "bench_linear --shapes" 0 '^{"case":"bwd","name":"high","in":100,"out":30,"n":9,' \
    "$bench" --quick --json --shapes "$work/shapes"
check "bench_linear --shapes: each layer, forward and backward" test "$(wc -l < "$work/output")" -eq 4
for line in 'fc1 784 300' 'fc1 784 300 0' 'fc1 784 300 256 1' 'fc1 a 300 256' '1 2 3'; do
    echo "$line" > "$work/shapes"
    expect "bench_linear --shapes, $line" 1 "shapes:1: expected name inputs outputs rows, found \"$line\"" \
        "$bench" --shapes "$work/shapes"
done
expect "bench_linear --shapes, no file" 1 "cannot open $work/nothing" "$bench" --shapes "$work/nothing"
expect "bench_linear --shapes --case fwd" 2 'shapes excludes --case' "$bench" --shapes "$work/shapes" --case fwd
check_shapes() { # FILE
    awk '/^#/ { next } NF != 4 || $2 * $3 * $4 < 1 { exit 1 } { n++ } END { if (!n) exit 1 }' "$1"
}
for shapes in "$root"/tests/bench/shapes/*.txt; do
    check "the layers of $(basename "$shapes")" check_shapes "$shapes"
done
expect "bench_linear --serial" 0 '^  [a-z_]* ([a-z_]*.c:[0-9]*)  *[0-9]* x  *[0-9]* ' \
    "$bench" --quick --serial --size 256
"$bench" --quick --serial --size 256 --json > "$work/serial"
# More threads promise as much or more, none promises more than it is, and what lies outside of loops counts.
check_serial() { # FILE
    awk -F '[:,}]' '{
        for (n = 1; n < NF; n++) { gsub("[{\"]", "", $n); value[$n] = $(n + 1) }
        exit !(value["predicted_2"] <= value["predicted_4"] && value["predicted_4"] <= value["predicted_8"] &&
            value["predicted_8"] <= value["predicted_16"] && value["predicted_2"] < 2 && value["predicted_16"] < 16 &&
            value["predicted_2"] > 0 && value["tasks"] > value["loops"] && value["outside_us"] > 0 &&
            value["outside_us"] + value["largest_us"] < value["step_us"])
    }' "$1"
}
check "bench_linear --serial, json" check_serial "$work/serial"
expect "bench_gpt --costs" 0 '^  [a-z_]* ([a-z_]*.c:[0-9]*)  *[0-9]* loops  *[0-9.]* us  *[0-9.]* %$' \
    "$build/bench/bench_gpt" --quick --costs --width 64
expect "bench_linear --busy" 2 'busy needs --case scaling' "$bench" --busy
expect "bench_linear --case augment" 0 '^{"case":"augment",.*"ratio":[0-9.]*,' \
    "$bench" --quick --json --case augment --size 64 --n 64
expect "bench_linear --case head" 0 "^{\"case\":\"head\"" "$bench" --quick --json --case head --size 64 --n 64
for others in '' --alone; do
    # shellcheck disable=SC2086 # an option or none
    expect "bench_ranks $others" 0 '^digits, ratio 16, batch 8 a rank in 1, 2 ranks, 10 Gbit/s, overlapped: .* bytes$' \
        "$build/bench/bench_ranks" --steps 2 --turns 1 --batch 8 --hidden 64 --gbit 10 --slices 2 $others
done
for busy in '' --busy; do
    if [ "$(nproc)" -gt 1 ] || [ -z "$busy" ]; then
        # shellcheck disable=SC2086 # an option or none
        expect "bench_linear --case scaling $busy" 0 '^{"case":"scaling",.*"ratio":[0-9.]*,.*"ratio_mean":[0-9.]*,"ratio_quiet":[0-9.]*}$' \
            "$bench" --quick --json --case scaling --threads 2 --size 64 --n 64 $busy
    fi
done

# ---- the small library -------------------------------------------------------------------------------------------

infer=$build/librbe_infer.so
nm -D "$infer" > "$work/symbols"
check "librbe_infer needs no symbol but those of libc and libm" test -z \
    "$(grep ' [Uw] ' "$work/symbols" | grep -v '@GLIBC_\| __gmon_start__$\| _ITM_[a-z]*TMCloneTable$')"
check "librbe_infer needs no library but those of libc" test -z \
    "$(readelf -d "$infer" | grep NEEDED | grep -v '\[\(libc\|libm\|ld-linux-[a-z0-9_-]*\)\.so\.[0-9]\]')"
sed -n 's/.* T //p' "$work/symbols" | sort > "$work/exported"
sed -n 's/^    X(\(rbe_[a-z0-9_]*\)).*/\1/p' "$root/include/rbe/infer.h" | sort > "$work/listed"
check "librbe_infer has the functions of rbe/infer.h and no others" cmp "$work/exported" "$work/listed"
check "librbe_infer.a: nothing of OpenBLAS, GSL, cJSON and zlib" test -z \
    "$(nm "$build/librbe_infer.a" | grep -i ' U \(cblas\|openblas\|gsl\|cjson\|crc32\|inflate\|rbe_\)')"

size_of() { # FILE, stripped
    strip -o "$work/stripped" "$1" && wc -c < "$work/stripped"
}

most() { # WHAT LIMIT BYTES
    echo "$1: $3 bytes"
    check "$1: at most $2 bytes" test "$3" -le "$2"
}

# A model of about 150 kB in programs: with the small library alone, and with either of the shared ones.
"$train" --data "$data" --epochs 1 --batch 50 --hidden 300,100 --ratio 7 --threads 1 --out "$work/embedded" > /dev/null 2>&1
cp "$work/embedded/model.safetensors" "$work/model"
embed() { # PROGRAM FLAG...
    program=$1
    shift
    # shellcheck disable=SC2086 # a compiler may be two words
    ${CC:-cc} -std=c11 -O2 -I"$root/include" "$root/tests/infer/embedded.c" "$work/model.o" "$@" -lm -pthread \
        -o "$work/$program"
}
check "a model as an object" sh -c "cd '$work' && ld -r -b binary -z noexecstack model -o model.o"
check "a static program" embed static "$build/librbe_infer.a" -static
check "a program with librbe_infer" embed small -L"$build" -lrbe_infer
check "a program with librbe" embed full -L"$build" -lrbe
check "it runs, static" "$work/static"
cp "$work/output" "$work/classes"
check "its classes differ" test "$(tr ' ' '\n' < "$work/classes" | sort -u | grep -c .)" -gt 2
for program in small full; do
    check "it runs with $program" env LD_LIBRARY_PATH="$build" "$work/$program"
    cp "$work/output" "$work/classes_of_$program"
    check "the same classes with $program" cmp "$work/classes_of_$program" "$work/classes"
done
most "librbe_infer.so, stripped" 700000 "$(size_of "$infer")"
most "a static program with a model of $(wc -c < "$work/model") bytes" 1600000 "$(size_of "$work/static")"

expect "bench_infer" 0 '^predict a sample  *[0-9.]*  *[0-9.]*  *[0-9.]*  ' "$build/bench/bench_infer" --quick "$work/model"
expect "bench_infer, not a model" 1 '^bench_infer: BAD_FORMAT: ' "$build/bench/bench_infer" "$work/classes"
# Every option is one that a test, a script or a document gives.
cat "$root"/tests/*.sh "$root"/scripts/*.sh "$root"/docs/*.md "$root/README.md" | grep -oE -e '--[a-z][a-z0-9-]*' |
    sort -u > "$work/given"
for program in "$build"/examples/* "$build"/bench/*; do
    if [ ! -f "$program" ] || [ ! -x "$program" ]; then continue; fi
    "$program" --help 2> /dev/null | grep -oE '^ +(-[a-z], )?--[a-z][a-z0-9-]*' | grep -oE -e '--.*' | sort -u > "$work/known"
    check "${program##*/}: no option that nobody gives" test -z "$(comm -23 "$work/known" "$work/given")"
done

# ---- scripts -----------------------------------------------------------------------------------------------------

for script in deps.sh demo.sh bench.sh bench_codec.sh stored_size.sh experiments.sh frontier.sh scaling.sh deploy.sh \
    manpages.sh deb.sh plot_training.sh plot_adapt.sh plot_samples.sh plot_deploy.sh; do
    expect "$script --help" 0 "^Usage: $script" sh "$root/scripts/$script" --help
    expect "$script -h" 0 "^Usage: $script" sh "$root/scripts/$script" -h
done
expect "deps.sh --help names the developer's tools" 0 '--developer.*: clang .*shellcheck' \
    sh "$root/scripts/deps.sh" --help
expect "deps.sh --help names MPI" 0 '--mpi.*: mpich libmpich-dev' sh "$root/scripts/deps.sh" --help
expect "deps.sh --help names other machines" 0 '--targets.*: gcc-arm-none-eabi ' sh "$root/scripts/deps.sh" --help
expect "newcomer.sh --help" 0 '^Usage: newcomer.sh FOLDER' bash "$root/scripts/newcomer.sh" --help
expect "newcomer.sh without a folder" 2 '^Usage: newcomer.sh FOLDER' bash "$root/scripts/newcomer.sh"
expect "deps.sh, unknown option" 2 'unexpected argument' sh "$root/scripts/deps.sh" --what
expect "demo.sh without a build" 1 'run make first' sh "$root/scripts/demo.sh" "$work/nothing"
expect "plot_training.sh without a log" 2 '^Usage:' sh "$root/scripts/plot_training.sh" "$work/x.png"
expect "plot_samples.sh, one strength" 2 '^Usage:' sh "$root/scripts/plot_samples.sh" "$data" "$work/x.png" 0.5
expect "plot_training.sh, another file" 1 'not a training log' \
    sh "$root/scripts/plot_training.sh" "$work/x.png" "$work/file"
expect "plot_adapt.sh, another file" 1 'another first line' \
    sh "$root/scripts/plot_adapt.sh" growth "$work/file" "$work/x.png"
expect "experiments.sh without a build" 1 'run make first' sh "$root/scripts/experiments.sh" "$work/nothing"
expect "frontier.sh without a build" 1 'run make first' sh "$root/scripts/frontier.sh" "$work/nothing"
expect "plot_adapt.sh frontier, another table" 1 'another first line' \
    sh "$root/scripts/plot_adapt.sh" frontier "$work/experiments/growth.csv" "$work/plot/frontier.png"
expect "plot_deploy.sh, another file" 1 'no lines of deploy.sh' \
    sh "$root/scripts/plot_deploy.sh" "$work/file" "$work/deploy.png"
if command -v gnuplot > /dev/null; then
    {
        echo 'small as+trained host - - - - - - - - 100 3 0'
        echo 'small as+trained cortex-m4 1 2 3000 4 5 6 7 8 10 1 0'
    } > "$work/deploy"
    expect "plot_deploy.sh" 0 'deploy.png and .*deploy.svg are written' \
        sh "$root/scripts/plot_deploy.sh" "$work/deploy" "$work/deploy.png"
    check "plot_deploy.sh: the picture" test -s "$work/deploy.png" -a -s "$work/deploy.svg"
    frontier() {
        BUDGETS="1500 2500" OPTIONS="--epochs 1 --seeds 2" sh "$root/scripts/frontier.sh" "$build" "$work/frontier" "$data"
    }
    expect "frontier.sh" 0 '^augmented: test error .* bytes$' frontier
    check "its picture" test -s "$work/frontier/frontier.png" -a -s "$work/frontier/frontier.svg"
    check "two seeds for each of four points" test "$(wc -l < "$work/frontier/frontier.csv")" -eq 9
    # shellcheck disable=SC2016 # awk's own fields
    check "no file is larger than wanted" awk -F, 'NR > 1 && $10 > $2 { exit 1 }' "$work/frontier/frontier.csv"
    # shellcheck disable=SC2016
    check "the usual choice and some of its eight neighbours" awk -F, 'NR > 1 { n[$1, $2]++ }
        END { for (point in n) if (n[point] < 6 || n[point] > 9) exit 1 }' "$work/frontier/choices.csv"
    cp "$work/frontier/frontier.csv" "$work/frontier.csv"
    check "frontier.sh, everything there already" frontier
    check "nothing was measured again" cmp "$work/frontier.csv" "$work/frontier/frontier.csv"
    for kind in growth prune_sweep prune_thresholds tune_blocks; do
        check "plot_adapt.sh $kind" sh "$root/scripts/plot_adapt.sh" $kind "$work/experiments/$kind.csv" \
            "$work/plot/$kind.png"
        check "picture of $kind" test -s "$work/plot/$kind.png" -a -s "$work/plot/$kind.svg"
    done
    check "plot_adapt.sh without a dense network" sh "$root/scripts/plot_adapt.sh" prune_thresholds \
        "$work/loaded/prune_thresholds.csv" "$work/plot/loaded.png"
    check "pictures leave nothing behind" test "$(find "$work/plot" -type f ! -name '*.png' ! -name '*.svg' | wc -l)" -eq 0
    expect "plot_training.sh" 0 "$work/plot/x.png" sh "$root/scripts/plot_training.sh" "$work/plot/x.png" \
        "$work/first/log.csv" "$work/third/log.csv:it's another"
    check "picture" test -s "$work/plot/x.png" -a -s "$work/plot/x.svg"
    expect "plot_samples.sh, augmented" 0 "$work/plot/augmented.png" \
        env BUILD="$build" sh "$root/scripts/plot_samples.sh" "$data" "$work/plot/augmented.png" 0.5 0.8
    check "picture of samples" test -s "$work/plot/augmented.png"
    mkdir -p "$work/scaling"
    {
        printf 'net,ratio,step_ms,layers\ndigits,16,5,51200+66560+10250\ndigits,1,35,803840+1049600+10250\n'
        printf 'vgg,16,44,6426624+1052672\nvgg,1,612,102764544+16781312\ngpt,16,62,16640+49664\ngpt,1,213,16640+786944\n'
    } > "$work/scaling/steps.csv"
    expect "scaling.sh, the model" 0 "$work/scaling/scaling.png" sh "$root/scripts/scaling.sh" "$build" "$work/scaling" model
    check "its picture" test -s "$work/scaling/scaling.png" -a -s "$work/scaling/scaling.svg"
    # The bytes are 2 (p - 1) / p times 4 for each value; the step is one that waits for its first layer's gradient.
    # shellcheck disable=SC2016 # awk's own fields
    check "its bytes and steps" awk -F, '
        $1 == "digits" && $3 == 1 { one[$2] = $6 }
        $1 == "digits" && $3 == 4 { layer = $2 == 16 ? 51200 : 803840; all = $2 == 16 ? 128010 : 1863690
            if ($5 != 6 * all || $6 < one[$2] || $6 < one[$2] + 8e-6 * 6 * layer / $4 || $6 > one[$2] + 8e-6 * $5 / $4 + 1) exit 1
            rows++ }
        END { exit rows != 6 }' "$work/scaling/scaling.csv"
fi

# ---- documents ---------------------------------------------------------------------------------------------------

# What make docs-check must find: a document whose every second line is wrong.
cat > "$work/wrong.md" << 'END'
A [link](nowhere.md), [another](#nothing) and `src/nothing.c`.

    no fence

```sh
echo 1.0 second; echo third
```
```output
1.1 second
...
```
```output about
```
```c src/optim/schedule.c
int nothing;
```
```c
int no_name;
```
END
cat > "$work/right.md" << 'END'
```sh
echo 1.05 second; echo third
```
```output about
1.0 second
...
```
END
sed 's/third$/third; false/' "$work/right.md" > "$work/failing.md"
for document in wrong failing right; do
    python3 "$root/scripts/docs_check.py" --build "$build" "$work/$document.md" > "$work/$document.txt" 2>&1
    echo "exit code $?" >> "$work/$document.txt"
done
found() { # NAME FILE PATTERN
    check "docs_check: $1" grep -q -e "$3" "$work/$2.txt"
}
found "a link to no file" wrong ':1: a link to .*nowhere.md, which is not there'
found "a link to no heading" wrong ':1: a link to .*#nothing: there is no such heading'
found "a file that is not there" wrong ':1: src/nothing.c is not there'
found "a block without a fence" wrong ':3: a code block without a fence'
found "another output" wrong ':8: this is not what was printed'
found "output of nothing" wrong ':12: output without commands directly before it'
found "a fragment of another file" wrong ':14: this is not in src/optim/schedule.c'
found "a program without a name" wrong ':17: neither a program'
found "a document with faults" wrong '^exit code 1$'
found "a command that fails" failing ':1: exit code 1'
found "a document without faults" right '^exit code 0$'
python3 "$root/scripts/reference.py" "$work/reference.html"
check "the reference has a function" grep -q '<a id="rbe_fit">' "$work/reference.html"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

#!/bin/sh
# Manual pages of rbe and its commands, made of what they print for --help: OUT/rbe.1, OUT/rbe-train.1 ..
set -eu

[ "${1:-}" = -h ] && set -- --help
if [ $# -ne 2 ]; then
    echo "Usage: manpages.sh RBE OUT   (the program, and a folder for the pages; created)"
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
rbe=$1
out=$2
mkdir -p "$out"
version=$("$rbe" --version)

page() { # NAME PURPOSE HELP LIST SEE...
    echo ".TH $(echo "$1" | tr '[:lower:]' '[:upper:]') 1 \"\" \"$version\" librbe"
    echo ".SH NAME"
    echo "$1 \\- $2"
    echo ".SH SYNOPSIS"
    echo ".B $(echo "$3" | sed -n '1s/^Usage: //p' | sed 's/-/\\-/g')"
    echo ".SH DESCRIPTION"
    echo "$3" | sed -n 2p
    echo ".SH $4"
    echo "$3" | awk -f "$(dirname "$0")/manpages.awk"
    cat << 'END'
.SH EXIT STATUS
.TP
.B 0
success
.TP
.B 1
something went wrong; standard error says what was expected and what was found
.TP
.B 2
the command line is wrong
.SH ENVIRONMENT
.TP
.B RBE_ISA
a lower instruction set than the processor has: avx512, avx2 or portable
END
    echo ".SH SEE ALSO"
    shift 4
    echo "$@"
}

help=$("$rbe" --help)
commands=$(echo "$help" | sed -n '4,/^$/s/^  \([a-z-]*\)  .*/\1/p')
also=
for command in $commands; do
    also="$also, rbe\\-$(echo "$command" | sed 's/-/\\-/g')(1)"
    purpose=$(echo "$help" | sed -n "s/^  $command   *//p")
    page "rbe-$command" "$purpose" "$("$rbe" help "$command")" OPTIONS "rbe(1)" > "$out/rbe-$command.1"
done
page rbe "trains, compresses, stores and runs neural networks" "$help" COMMANDS "${also#, }" > "$out/rbe.1"

# shellcheck shell=sh
# How the tests of command lines begin, and what they share: their argument, a folder for what they make, checks that are
# counted.
# shellcheck disable=SC2034
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tests/arguments.sh
. "$root/tests/arguments.sh"
make_digits=$build/examples/make_digits

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

passed=0
failed=0

pass() {
    passed=$((passed + 1))
}

fail() { # WHAT...
    failed=$((failed + 1))
    echo "FAILED: $*"
}

# Runs a command; its exit code must be CODE and its output must have a line that matches PATTERN.
expect() { # NAME CODE PATTERN COMMAND...
    name=$1
    code=$2
    pattern=$3
    shift 3
    "$@" > "$work/output" 2>&1 < /dev/null
    found=$?
    if [ "$found" -ne "$code" ]; then
        fail "$name: expected exit code $code, found $found"
        sed 's/^/    /' "$work/output"
    elif ! grep -q -e "$pattern" "$work/output"; then
        fail "$name: no line matches '$pattern'"
        sed 's/^/    /' "$work/output"
    else
        pass
    fi
}

check() { # NAME COMMAND...
    name=$1
    shift
    if "$@" > "$work/output" 2>&1; then
        pass
    else
        fail "$name: $*"
        sed 's/^/    /' "$work/output"
    fi
}

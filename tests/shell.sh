# shellcheck shell=sh
# What the tests of command lines share: checks that are counted. $work is a folder of the caller's.
# shellcheck disable=SC2154
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

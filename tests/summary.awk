# Adds up what libcheck and the programs' tests print at their ends. Fields are the numbers: awk -F '[^0-9]+'.
/^[0-9]+%: Checks: / { checks += $2; bad += $3 + $4; failures += $3; errors += $4 }
/^[0-9]+ passed, [0-9]+ failed$/ { programs = 1; passed += $1; failed += $2 }
END {
    if (programs) printf "%d passed, %d failed\n", passed, failed
    if (checks) printf "%d%%: Checks: %d, Failures: %d, Errors: %d\n", 100 * (checks - bad) / checks, checks, failures, errors
}

# Counts the cycles of a call of net_predict, of two files: a listing of the program by objdump -d, and the addresses of
# all instructions in their order (qemu -singlestep -d exec,nochain), in which measure_instructions follows the call.
#
# Cortex-M0+: the table of its Technical Reference Manual, with the fast multiplier. Cortex-M4: the most that its manual
# says; loads that follow each other are faster, and so are most branches. Memory has no wait states.

# Words of a list: "r4, r5, lr" or "d8-d9".
function words(list, ends) {
    if (list !~ /-/) return gsub(/,/, ",", list) + 1
    split(list, ends, /[sd}-]+/)
    return (ends[3] - ends[2] + 1) * (list ~ /d/ ? 2 : 1)
}

# Of an instruction behind which the next one comes.
function cost(name, operands) {
    if (name ~ /^(v?push|v?pop|v?ldm|v?stm)/) {
        sub(/.*\{/, "", operands)
        return 1 + words(operands)
    }
    if (name ~ /^(ldrd|strd)/) return 3
    if (name ~ /^v?(ldr|str)/) return 2
    if (name ~ /^(vmla|vmls|vfma|vfms|vnmla|vnmls)/) return 3
    if (name ~ /^(vdiv|vsqrt)/) return 14
    if (name ~ /^[us]div/) return 12
    return 1
}

# Besides, if another one comes.
function refill(name) {
    if (processor == "cortex-m4") return 3
    return name ~ /^(bl|pop)/ && name !~ /^(bls|blt|ble|blx)/ ? 2 : 1
}

FNR == 1 { file++ }

file == 1 && /^[0-9a-f]+ <net_predict>:/ { first = $1 }
file == 1 && /^[0-9a-f]+ <measure_instructions>:/ { last = $1 }
file == 1 && /^ *[0-9a-f]+:\t/ {
    split($0, part, "\t")
    sub(/:.*/, "", part[1])
    at = sprintf("%8s", part[1])
    gsub(/ /, "0", at)
    sub(/\..*/, "", part[2])
    named[at] = part[2]
    takes[at] = cost(part[2], part[3])
    if (before != "") follows[before] = at
    before = at
}
file == 1 { next }

/^Trace/ {
    split($0, part, "/")
    at = part[2]
    if (at == first) counting = 1
    else if (!counting) next
    if (was != "" && follows[was] != at) cycles += refill(named[was])
    if (at == last) exit
    if (!(at in takes)) unknown++
    cycles += takes[at]
    was = at
}

END { print unknown || !cycles ? "unknown" : cycles }

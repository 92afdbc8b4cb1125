# What a training step of several ranks takes, from that of one: the model of docs/scaling.md.
#
# Reads the table of scripts/scaling.sh: "net,ratio,step_ms,layers", layers being floats of their gradients, first to last,
# "51200+66560+10250". Writes, for each line, each number of ranks and each rate, or for -v ranks=2 -v gbits="1 0.1" those:
# net,ratio,ranks,gbit,bytes,step_ms,efficiency
#
# The step of one rank is cut up in proportion to the floats: forward one part, gradients one, dX one, but of the first layer
# none. The backward pass goes from the last layer to the first, and makes a layer's gradient before its dX. Gradients travel
# one piece after the other, as src/train/exchange.c cuts them, each in two rounds; three meetings take a round each.

function log2_up(n,    k, power) {
    for (power = 1; power < n; power *= 2) k++
    return k
}

# Milliseconds until so many floats have been summed over `ranks`.
function travel(floats, ranks, gbit) {
    bytes += 8 * (ranks - 1) / ranks * floats
    return 2 * (latency + message * (ranks - 2)) / 1000 + 8e-6 * 8 * (ranks - 1) / ranks * floats / gbit
}

function step(one, layers, ranks, gbit,    count, floats, n, all, unit, now, wire, piece) {
    bytes = 0
    if (ranks == 1) return one
    count = split(layers, floats, "+")
    for (n = 1; n <= count; n++) all += floats[n]
    unit = one / (3 * all - floats[1])
    now = all * unit
    piece = 0
    wire = now += latency / 1000 * log2_up(ranks) # ranks agree to begin
    for (n = count; n >= 1; n--) {
        now += floats[n] * unit
        piece += floats[n]
        if (piece >= 8192 || n == 1) {
            if (wire < now) wire = now
            wire += travel(piece, ranks, gbit)
            piece = 0
        }
        if (n > 1) now += floats[n] * unit
    }
    return (wire > now ? wire : now) + 2 * latency / 1000 * log2_up(ranks)
}

BEGIN {
    FS = OFS = ","
    if (latency == "") latency = 25 # microseconds of a round between two
    if (message == "") message = 2  # and for each further one
    if (ranks == "") ranks = "1 2 4 8 16 32 64 128 256"
    if (gbits == "") gbits = "1 10 100"
    rank_count = split(ranks, rank_list, " ")
    rate_count = split(gbits, rate_list, " ")
    print "net", "ratio", "ranks", "gbit", "bytes", "step_ms", "efficiency"
}

NR > 1 {
    for (r = 1; r <= rate_count; r++)
        for (k = 1; k <= rank_count; k++) {
            ms = step($3, $4, rank_list[k], rate_list[r])
            printf "%s,%s,%d,%s,%.0f,%.3f,%.4f\n", $1, $2, rank_list[k], rate_list[r], bytes, ms, $3 / ms
        }
}

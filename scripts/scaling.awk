# What a training step of several ranks takes, from that of one: the model of docs/scaling.md.
#
# Reads the table of scripts/scaling.sh: "net,ratio,step_ms,layers", layers being floats of their gradients, first to last,
# "51200+66560+10250". Writes, for each line, each number of ranks and each rate, or for -v ranks=2 -v gbits="1 0.1" those:
# net,ratio,ranks,gbit,bytes,step_ms,efficiency
#
# The step of one rank is cut up in proportion to the floats: forward one part, gradients one, dX one, but of the first layer
# none. The backward pass goes from the last layer to the first, and makes a layer's gradient before its dX, that of a
# compressed layer in four parts. Gradients travel one piece after the other, as src/train/exchange.c cuts them, each in
# two rounds, between two ranks in one; three meetings take a round each.

function log2_up(n,    k, power) {
    for (power = 1; power < n; power *= 2) k++
    return k
}

function ceil(x) {
    return x > int(x) ? int(x) + 1 : int(x)
}

# Milliseconds until so many floats have been summed over `ranks`.
function travel(floats, ranks, gbit,    rounds) {
    rounds = ranks == 2 ? 1 : 2
    bytes += 8 * (ranks - 1) / ranks * floats
    return rounds * (latency + message * (ranks - 2)) / 1000 + 8e-6 * 8 * (ranks - 1) / ranks * floats / gbit
}

function step(one, layers, parts, ranks, gbit,    count, floats, begin, grad, n, all, unit, done, wire, left, least, stretch) {
    bytes = 0
    if (ranks == 1) return one
    count = split(layers, floats, "+")
    for (n = 1; n <= count; n++) {
        begin[n] = all
        all += floats[n]
    }
    unit = one / (3 * all - floats[1])
    grad[count] = all * unit + latency / 1000 * log2_up(ranks) # when they begin; ranks agree to begin
    for (n = count - 1; n >= 1; n--) grad[n] = grad[n + 1] + 2 * floats[n + 1] * unit
    least = 8192 * (1 + int(ranks / 16))
    if (least < all / 16) least = all / 16
    for (left = all; left > 0;) {
        for (n = count; n > 1 && left - begin[n] < least;) n--
        stretch = left - begin[n]
        left -= stretch / ceil(stretch / (2 * least))
        for (n = count; begin[n] > left; n--);
        done = grad[n] + ceil((begin[n] + floats[n] - left) / floats[n] * parts) / parts * floats[n] * unit
        if (wire < done) wire = done
        wire += travel(stretch / ceil(stretch / (2 * least)), ranks, gbit)
    }
    done = grad[1] + floats[1] * unit
    return (wire > done ? wire : done) + 2 * latency / 1000 * log2_up(ranks)
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
            ms = step($3, $4, $2 > 1 ? 4 : 1, rank_list[k], rate_list[r])
            printf "%s,%s,%d,%s,%.0f,%.3f,%.4f\n", $1, $2, rank_list[k], rate_list[r], bytes, ms, $3 / ms
        }
}

/* An order of hidden units in which neighbours are alike, so that a transform along them has something to gather.
 *
 * Greedy: from unit 0 on, always to the nearest unit not placed yet, by the distance of their rows in the first
 * matrix, |a - b|^2 = |a|^2 + |b|^2 - 2 a.b. The next layer's columns follow, so the network computes the same.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/gemm.h"
#include "rbe/codec.h"

/* order[n] = the unit that comes n-th. gram: hidden x hidden products of the rows. */
static void find_order(const float *gram, size_t hidden, size_t *order, bool *placed) {
    memset(placed, 0, hidden * sizeof *placed);
    order[0] = 0;
    placed[0] = true;
    for (size_t n = 1; n < hidden; n++) {
        const float *row = gram + order[n - 1] * hidden;
        float least = INFINITY;
        order[n] = SIZE_MAX;
        for (size_t u = 0; u < hidden; u++) {
            if (placed[u]) continue;
            float distance = gram[u * hidden + u] - 2.0f * row[u];
            if (order[n] != SIZE_MAX && !(distance < least)) continue;
            least = distance;
            order[n] = u;
        }
        placed[order[n]] = true;
    }
}

/* Row n becomes what row order[n] was; `copy` has room for all. */
static void permute_rows(float *rows, size_t hidden, size_t length, const size_t *order, float *copy) {
    memcpy(copy, rows, hidden * length * sizeof *copy);
    for (size_t n = 0; n < hidden; n++) memcpy(rows + n * length, copy + order[n] * length, length * sizeof *rows);
}

rbe_status rbe_order_hidden_units(float *weights1, float *bias1, size_t hidden, size_t in, float *weights2, size_t out,
                                  size_t *order) {
    if (!weights1 || !weights2) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_order_hidden_units: a pointer is NULL");
    const size_t most = (size_t)1 << 24; /* as of all matrices: BLAS counts in int */
    if (hidden < 1 || in < 1 || out < 1 || hidden > most || in > most || out > most)
        return rbe_fail(RBE_INVALID_ARGUMENT, "hidden units: expected extents of 1 .. %zu, found %zu x %zu and %zu",
                        most, hidden, in, out);
    float *gram = rbe_alloc(hidden * hidden, sizeof *gram);
    float *copy = rbe_alloc(hidden * in, sizeof *copy);
    size_t *found = rbe_alloc(hidden, sizeof *found);
    bool *placed = rbe_alloc(hidden, sizeof *placed);
    rbe_status status = gram && copy && found && placed ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    if (status == RBE_OK) status = rbe_gemm(false, true, hidden, hidden, in, weights1, weights1, false, gram);
    if (status == RBE_OK) {
        find_order(gram, hidden, found, placed);
        permute_rows(weights1, hidden, in, found, copy);
        if (bias1) permute_rows(bias1, hidden, 1, found, copy);
        for (size_t r = 0; r < out; r++) permute_rows(weights2 + r * hidden, hidden, 1, found, copy);
        if (order) memcpy(order, found, hidden * sizeof *order);
    }
    rbe_free(gram);
    rbe_free(copy);
    rbe_free(found);
    rbe_free(placed);
    return status;
}

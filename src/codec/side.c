/* Maps of a side: none, overlapping windowed blocks, the 2-D DCT of an image. */
#include "codec/side.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/multiply.h"
#include "base/parallel.h"
#include "base/sizes.h"
#include "codec/transform.h"

/* ---- making -------------------------------------------------------------------------------------------------- */

rbe_side rbe_side_plain(size_t length) { return (rbe_side){.length = length, .mapped = length}; }

size_t rbe_overlap_mapped(size_t length, size_t block, size_t overlap) {
    size_t stride = block - overlap;
    size_t blocks = length <= block ? 1 : (length - overlap + stride - 1) / stride;
    return blocks * block;
}

rbe_status rbe_side_overlap(rbe_side *side, size_t length, size_t block, size_t overlap) {
    *side = (rbe_side){.kind = RBE_SIDE_OVERLAP,
                       .length = length,
                       .mapped = rbe_overlap_mapped(length, block, overlap),
                       .block = block,
                       .overlap = overlap};
    side->ramp = rbe_alloc(overlap, sizeof *side->ramp);
    if (!side->ramp) return rbe_last_status();
    for (size_t k = 0; k < overlap; k++) side->ramp[k] = (float)sin(M_PI_2 * ((double)k + 0.5) / (double)overlap);
    return RBE_OK;
}

static void fill_dct(size_t n, float *matrix) {
    for (size_t at = 0; at < n * n; at++) matrix[at] = (float)rbe_dct_value(n, at / n, at % n);
}

static void fill_zigzag(size_t height, size_t width, rbe_image_frequency *order) {
    for (size_t sum = 0; sum < height + width - 1; sum++) {
        size_t first = sum < width ? 0 : sum - width + 1; /* of u */
        size_t last = sum < height ? sum : height - 1;
        for (size_t step = 0; step <= last - first; step++) {
            size_t u = sum % 2 ? first + step : last - step;
            *order++ = (rbe_image_frequency){(uint32_t)u, (uint32_t)(sum - u)};
        }
    }
}

rbe_status rbe_side_image(rbe_side *side, size_t height, size_t width) {
    *side = (rbe_side){.kind = RBE_SIDE_IMAGE,
                       .length = height * width,
                       .mapped = height * width,
                       .height = height,
                       .width = width,
                       .height_matrix = rbe_alloc(height * height, sizeof(float)),
                       .width_matrix = rbe_alloc(width * width, sizeof(float)),
                       .order = rbe_alloc(height * width, sizeof(rbe_image_frequency))};
    if (!side->height_matrix || !side->width_matrix || !side->order) return rbe_last_status();
    fill_dct(height, side->height_matrix);
    fill_dct(width, side->width_matrix);
    fill_zigzag(height, width, side->order);
    return RBE_OK;
}

void rbe_side_free(rbe_side *side) {
    rbe_free(side->ramp);
    rbe_free(side->height_matrix);
    rbe_free(side->width_matrix);
    rbe_free(side->order);
}

/* ---- overlap ------------------------------------------------------------------------------------------------- */

float rbe_side_window(const rbe_side *side, size_t n, size_t t) {
    if (side->kind != RBE_SIDE_OVERLAP) return 1.0f;
    if (t < side->overlap && n > 0) return side->ramp[t];
    size_t from_end = side->block - 1 - t;
    if (from_end < side->overlap && n + 1 < side->mapped / side->block) return side->ramp[from_end];
    return 1.0f;
}

static void overlap_apply(const rbe_side *a, const float *x, float *mapped) {
    for (size_t n = 0; n < a->mapped / a->block; n++, mapped += a->block) {
        size_t start = rbe_side_start(a, a->block, n);
        for (size_t t = 0; t < a->block; t++)
            mapped[t] = start + t < a->length ? x[start + t] * rbe_side_window(a, n, t) : 0.0f;
    }
}

static void overlap_adjoint(const rbe_side *a, const float *mapped, float *x) {
    for (size_t n = 0; n < a->mapped / a->block; n++, mapped += a->block) {
        size_t start = rbe_side_start(a, a->block, n);
        for (size_t t = 0; t < a->block && start + t < a->length; t++)
            x[start + t] += mapped[t] * rbe_side_window(a, n, t);
    }
}

/* ---- image --------------------------------------------------------------------------------------------------- */

enum { CHUNK = 16 }; /* rows that a task maps; images are transformed together */

enum { FEW = 4 }; /* images that are put in order together: their lines stay in the first-level cache */

static size_t chunk_of(size_t rows) { return rbe_at_most(rows, CHUNK); }

static size_t chunks_of(size_t rows) { return rbe_pieces(rows, CHUNK); }

/* C = op(A) op(B), all contiguous. */
static void multiply(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, const float *b,
                     float *c) {
    rbe_multiply(transpose_a, transpose_b, m, n, k, 1.0f, a, transpose_a ? m : k, b, transpose_b ? k : n, 0.0f, c, n);
}

/* The lines of `count` images lie as [line][image][pixel]: then both passes are one product for all images. */
static void image_apply(const rbe_side *a, const float *x, size_t count, float *mapped, float *lines, float *other) {
    size_t h = a->height, w = a->width;
    for (size_t n = 0; n < count; n++)
        for (size_t r = 0; r < h; r++) memcpy(lines + (r * count + n) * w, x + n * h * w + r * w, w * sizeof(float));
    multiply(false, true, h * count, w, w, lines, a->width_matrix, other);
    multiply(false, false, h, count * w, h, a->height_matrix, other, lines);
    for (size_t n = 0; n < count; n += FEW) {
        const size_t end = rbe_at_most(count, n + FEW);
        for (size_t k = 0; k < h * w; k++) {
            const float *from = lines + a->order[k].u * count * w + a->order[k].v;
            for (size_t m = n; m < end; m++) mapped[m * h * w + k] = from[m * w];
        }
    }
}

static void image_adjoint(const rbe_side *a, const float *mapped, size_t count, float *x, float *lines, float *other) {
    size_t h = a->height, w = a->width;
    for (size_t n = 0; n < count; n++)
        for (size_t k = 0; k < h * w; k++) {
            size_t u = a->order[k].u, v = a->order[k].v;
            lines[(u * count + n) * w + v] = mapped[n * h * w + k];
        }
    multiply(true, false, h, count * w, h, a->height_matrix, lines, other);
    multiply(false, false, h * count, w, w, other, a->width_matrix, lines);
    for (size_t n = 0; n < count; n++)
        for (size_t r = 0; r < h; r++)
            for (size_t c = 0; c < w; c++) x[n * h * w + r * w + c] += lines[(r * count + n) * w + c];
}

/* ---- the maps ------------------------------------------------------------------------------------------------ */

size_t rbe_side_scratch(const rbe_side *a, size_t rows, size_t threads) {
    if (threads > chunks_of(rows)) threads = chunks_of(rows);
    return a->kind == RBE_SIDE_IMAGE ? threads * 2 * chunk_of(rows) * a->length : 0;
}

/* What the tasks of one map share: rows of x and of the mapped side, one of which is read. */
typedef struct mapping {
    const rbe_side *side;
    size_t rows;
    const float *from, *bias;
    float *to, *scratch;
    bool add;
    size_t threads; /* that scratch has room for */
} mapping;

static float *chunk_scratch(const mapping *m, size_t worker) {
    RBE_ASSERT(worker < m->threads);
    return m->scratch + worker * 2 * chunk_of(m->rows) * m->side->length;
}

static void apply_chunk(void *context, size_t chunk, size_t worker) {
    const mapping *m = context;
    const rbe_side *a = m->side;
    size_t first = chunk * CHUNK, count = chunk_of(m->rows - first);
    const float *x = m->from + first * a->length;
    float *mapped = m->to + first * a->mapped, *lines = chunk_scratch(m, worker);
    if (a->kind == RBE_SIDE_IMAGE) image_apply(a, x, count, mapped, lines, lines + count * a->length);
    for (size_t n = 0; a->kind == RBE_SIDE_OVERLAP && n < count; n++)
        overlap_apply(a, x + n * a->length, mapped + n * a->mapped);
    if (a->kind == RBE_SIDE_PLAIN) memcpy(mapped, x, count * a->length * sizeof(float));
}

void rbe_side_apply(const rbe_side *a, const float *x, size_t rows, size_t threads, float *mapped, float *scratch) {
    mapping m = {.side = a, .rows = rows, .from = x, .to = mapped, .scratch = scratch, .threads = threads};
    rbe_parallel(threads, chunks_of(rows), apply_chunk, &m);
}

static void adjoint_start(const mapping *m, float *x) {
    size_t length = m->side->length;
    if (!m->add && !m->bias) memset(x, 0, length * sizeof(float));
    if (!m->add && m->bias) memcpy(x, m->bias, length * sizeof(float));
    for (size_t c = 0; m->add && m->bias && c < length; c++) x[c] += m->bias[c];
}

static void adjoint_chunk(void *context, size_t chunk, size_t worker) {
    const mapping *m = context;
    const rbe_side *a = m->side;
    size_t first = chunk * CHUNK, count = chunk_of(m->rows - first);
    const float *mapped = m->from + first * a->mapped;
    float *x = m->to + first * a->length, *lines = chunk_scratch(m, worker);
    for (size_t n = 0; n < count; n++) adjoint_start(m, x + n * a->length);
    if (a->kind == RBE_SIDE_IMAGE) image_adjoint(a, mapped, count, x, lines, lines + count * a->length);
    for (size_t n = 0; a->kind == RBE_SIDE_OVERLAP && n < count; n++)
        overlap_adjoint(a, mapped + n * a->mapped, x + n * a->length);
}

void rbe_side_adjoint(const rbe_side *a, const float *mapped, size_t rows, size_t threads, const float *bias, bool add,
                      float *x, float *scratch) {
    mapping m = {.side = a,
                 .rows = rows,
                 .from = mapped,
                 .to = x,
                 .scratch = scratch,
                 .bias = bias,
                 .add = add,
                 .threads = threads};
    rbe_parallel(threads, chunks_of(rows), adjoint_chunk, &m);
}

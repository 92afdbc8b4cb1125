/* An rbe_warp_function, RBE_WARP, for the instruction set that this is compiled for:
 *
 *     image -> frame of zeros;  nodes -> bent rows;  of each strip: places -> pixels and ways -> values
 *
 * The loops are ones that compilers make vectors of, but for the last: there two neighbours are loaded as one number of
 * 64 bits, in half the time that a gather takes.
 */
#include <string.h>

#include "data/warp.h"

static void frame(const rbe_warp_plan *plan, const float *in, float *framed) {
    const rbe_image_shape s = plan->shape;
    for (size_t c = 0; c < s.channels; c++) {
        float *first = framed + c * plan->framed + plan->stride + 1;
        for (size_t y = 0; y < s.height; y++)
            memcpy(first + y * plan->stride, in + (c * s.height + y) * s.width, s.width * sizeof *in);
    }
}

/* bent = nodes across */
static void bend_rows(const float nodes[RBE_WARP_NODES][RBE_WARP_NODES], const float *restrict across,
                      float *restrict bent, size_t width) {
    for (size_t row = 0; row < RBE_WARP_NODES; row++) {
        const float *n = nodes[row];
        for (size_t x = 0; x < width; x++)
            bent[row * width + x] = ((n[0] * across[x] + n[1] * across[width + x]) +
                                     (n[2] * across[2 * width + x] + n[3] * across[3 * width + x])) +
                                    (n[4] * across[4 * width + x] + n[5] * across[5 * width + x]);
    }
}

static void straight_places(float *restrict place, float begin, float slope, int32_t width) {
    for (int32_t x = 0; x < width; x++) place[x] = begin + slope * (float)x;
}

/* The same and the displacement: four rows of nodes with their weights. */
static void bent_places(float *restrict place, float begin, float slope, const float *restrict rows,
                        const float *restrict weight, int32_t width) {
    for (int32_t x = 0; x < width; x++)
        place[x] = (begin + slope * (float)x) + ((weight[0] * rows[x] + weight[1] * rows[width + x]) +
                                                 (weight[2] * rows[2 * width + x] + weight[3] * rows[3 * width + x]));
}

/* Of a row, along axis a. A framed image has its first pixel at 1. */
static void find_places(const rbe_warp_plan *plan, const rbe_warp *warp, const float *bent, size_t row, size_t a,
                        float *place) {
    const rbe_image_shape s = plan->shape;
    const double left = -0.5 * ((double)s.width - 1.0), above = -0.5 * ((double)s.height - 1.0);
    const double *m = warp->matrix[a];
    const double centre = 1.0 - (a == 0 ? left : above);
    const float begin = (float)(m[0] * left + m[1] * ((double)row + above) + centre + warp->shift[a]);
    if (warp->bends)
        bent_places(place, begin, (float)m[0], bent + plan->first[row] * s.width, plan->down + row * RBE_WARP_TAPS,
                    (int32_t)s.width);
    else
        straight_places(place, begin, (float)m[0], (int32_t)s.width);
}

/* What is outside goes to the frame, and so does NaN. The bounds come from memory: where gcc sees a constant it makes a
 * case of it, and no vectors. */
static void find_pixels(const rbe_warp_plan *plan, float *restrict x, float *restrict y, int32_t *restrict pixel,
                        size_t count) {
    const float least = plan->least, most_x = plan->most[0], most_y = plan->most[1];
    const int32_t stride = (int32_t)plan->stride;
    for (size_t n = 0; n < count; n++) {
        float right = x[n] > least ? x[n] : least, below = y[n] > least ? y[n] : least;
        right = right < most_x ? right : most_x;
        below = below < most_y ? below : most_y;
        const int32_t column = (int32_t)right, row = (int32_t)below;
        pixel[n] = row * stride + column;
        x[n] = right - (float)column;
        y[n] = below - (float)row;
    }
}

typedef float quad __attribute__((vector_size(16), may_alias));
typedef float quad_in_memory __attribute__((vector_size(16), may_alias, aligned(4)));
typedef double couple __attribute__((vector_size(16), may_alias));

static inline quad load_quad(const float *from) { return *(const quad_in_memory *)(const void *)from; }

/* p[0] p[1] q[0] q[1] */
static inline quad load_pairs(const float *p, const float *q) {
    double first, second;
    memcpy(&first, p, sizeof first);
    memcpy(&second, q, sizeof second);
    return (quad)(couple){first, second};
}

static inline quad even(quad a, quad b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6); }

static inline quad odd(quad a, quad b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7); }

static float value_at(const float *p, size_t stride, float right, float below) {
    const float *q = p + stride;
    const float upper = p[0] + right * (p[1] - p[0]), lower = q[0] + right * (q[1] - q[0]);
    return upper + below * (lower - upper);
}

static quad four_values_at(const float *framed, const int32_t *pixel, size_t stride, quad right, quad below) {
    const float *a = framed + pixel[0], *b = framed + pixel[1], *c = framed + pixel[2], *d = framed + pixel[3];
    const quad ab = load_pairs(a, b), cd = load_pairs(c, d);
    const quad under_ab = load_pairs(a + stride, b + stride), under_cd = load_pairs(c + stride, d + stride);
    const quad p = even(ab, cd), q = even(under_ab, under_cd);
    const quad upper = p + right * (odd(ab, cd) - p), lower = q + right * (odd(under_ab, under_cd) - q);
    return upper + below * (lower - upper);
}

static void look_up(const float *restrict framed, size_t stride, const rbe_warp_scratch *s, float *restrict out,
                    size_t count) {
    size_t n = 0;
    for (; n + 4 <= count; n += 4)
        *(quad_in_memory *)(void *)(out + n) =
            four_values_at(framed, s->pixel + n, stride, load_quad(s->x + n), load_quad(s->y + n));
    for (; n < count; n++) out[n] = value_at(framed + s->pixel[n], stride, s->x[n], s->y[n]);
}

void RBE_WARP(const rbe_warp_plan *plan, const rbe_warp *warp, const float *in, float *out,
              const rbe_warp_scratch *scratch) {
    const rbe_image_shape s = plan->shape;
    frame(plan, in, scratch->framed);
    for (size_t a = 0; warp->bends && a < 2; a++) bend_rows(warp->nodes[a], plan->across, scratch->bent[a], s.width);
    for (size_t first = 0; first < s.height; first += plan->strip) {
        const size_t left = s.height - first, rows = left < plan->strip ? left : plan->strip;
        for (size_t y = 0; y < rows; y++) {
            find_places(plan, warp, scratch->bent[0], first + y, 0, scratch->x + y * s.width);
            find_places(plan, warp, scratch->bent[1], first + y, 1, scratch->y + y * s.width);
        }
        find_pixels(plan, scratch->x, scratch->y, scratch->pixel, rows * s.width);
        for (size_t c = 0; c < s.channels; c++)
            look_up(scratch->framed + c * plan->framed, plan->stride, scratch, out + (c * s.height + first) * s.width,
                    rows * s.width);
    }
}

/* Handwritten-looking digits, 28 x 28.
 *
 *     knots of a shape + jitter  ->  cubic Hermite curve through them, with pen width and pressure along it
 *     ->  elastic displacement (uniform cubic B-splines of random coefficients)  ->  affine map to pixels
 *     ->  ink = max over the pieces of the curve of pressure * clamp(radius + 1/2 - distance, 0, 1)
 *     ->  blur (binomial 3 x 3)  ->  gain, grain  ->  bytes
 *
 * The same seed gives the same bytes on every machine with IEEE 754 doubles. Only + - * / and sqrt are used, which
 * the standard rounds in one way: no sin, no exp, no fused multiply-add (see FP_CONTRACT below; gcc does not fuse
 * in ISO C mode), and one random number per statement, because C leaves the order within an expression open. What
 * remains outside is arithmetic in extended precision (x87) and -ffast-math.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "data/digit_shapes.h"
#include "rbe/data.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

enum { SIDE = 28, PIXELS = SIDE * SIDE, STEPS = 8, MOST_POINTS = RBE_MOST_KNOTS * STEPS, CELLS = 2 };

typedef struct pen_point {
    double x, y;
    double radius;
    double ink;
    bool down; /* the pen draws from the point before to this one */
} pen_point;

typedef struct path {
    pen_point points[MOST_POINTS];
    size_t count;
} path;

/* ---- random numbers ------------------------------------------------------------------------------------------ */

static double between(rbe_rng *rng, double low, double high) { return low + (high - low) * rbe_rng_uniform(rng); }

static bool chance(rbe_rng *rng, double probability) { return rbe_rng_uniform(rng) < probability; }

/* Nearly normal, mean 0 and variance 1: four uniform numbers; never beyond 2 sqrt 3, so no digit is torn apart. */
static double bell(rbe_rng *rng) {
    double sum = -2;
    for (int i = 0; i < 4; i++) sum += rbe_rng_uniform(rng);
    return sum * 1.7320508075688772;
}

/* ---- the way of the pen -------------------------------------------------------------------------------------- */

static const rbe_digit_shape *choose_shape(rbe_rng *rng, int digit) {
    double left = rbe_rng_uniform(rng);
    const rbe_digit_shape *chosen = NULL;
    for (size_t i = 0; i < rbe_digit_shape_count && left >= 0; i++)
        if (rbe_digit_shapes[i].digit == digit) {
            chosen = &rbe_digit_shapes[i];
            left -= chosen->weight;
        }
    return chosen;
}

/* Derivative of the curve at knot k for a piece that begins (or ends) there: half the way between its neighbours,
 * or along the piece itself where the curve begins, ends or turns. */
static void tangent(const rbe_knot *knots, size_t k, bool begins, double *dx, double *dy) {
    bool first = k == 0 || knots[k - 1].kind == RBE_PEN_UP;
    bool open = first || knots[k].kind != RBE_SMOOTH;
    size_t from = open && begins ? k : k - 1, to = open && !begins ? k : k + 1;
    double scale = open ? 1.0 : 0.5;
    *dx = scale * (knots[to].x - knots[from].x);
    *dy = scale * (knots[to].y - knots[from].y);
}

/* Points along the piece from knot k to the next; its first point only where the pen comes down. */
static void trace_piece(path *way, const rbe_knot *knots, size_t k, const double *width, const double *press) {
    double ax, ay, bx, by;
    tangent(knots, k, true, &ax, &ay);
    tangent(knots, k + 1, false, &bx, &by);
    bool first = k == 0 || knots[k - 1].kind == RBE_PEN_UP;
    for (int s = first ? 0 : 1; s <= STEPS; s++) {
        double t = (double)s / STEPS, u = 1 - t;
        double h0 = u * u * (1 + 2 * t), g0 = t * u * u, h1 = t * t * (3 - 2 * t), g1 = -(t * t * u);
        way->points[way->count++] = (pen_point){
            .x = h0 * knots[k].x + g0 * ax + h1 * knots[k + 1].x + g1 * bx,
            .y = h0 * knots[k].y + g0 * ay + h1 * knots[k + 1].y + g1 * by,
            .radius = u * width[k] + t * width[k + 1],
            .ink = u * press[k] + t * press[k + 1],
            .down = s > 0,
        };
    }
}

static void trace(path *way, const rbe_digit_shape *shape, rbe_rng *rng) {
    rbe_knot knots[RBE_MOST_KNOTS];
    double width[RBE_MOST_KNOTS], press[RBE_MOST_KNOTS];
    double shake = between(rng, 0.005, 0.022);
    double thick = rbe_rng_uniform(rng);
    double radius = between(rng, 0.75, 1.1) + 0.9 * thick * thick;
    double flow = between(rng, 0.05, 0.3);
    for (size_t k = 0; k < shape->count; k++) {
        knots[k] = shape->knots[k];
        knots[k].x += shake * bell(rng);
        knots[k].y += shake * bell(rng);
        width[k] = radius * (1 + flow * between(rng, -1, 1));
        press[k] = between(rng, 0.75, 1);
    }
    way->count = 0;
    for (size_t k = 0; k + 1 < shape->count; k++)
        if (knots[k].kind != RBE_PEN_UP) trace_piece(way, knots, k, width, press);
}

/* Dry pen: a short part of the way leaves less ink. */
static void skip_ink(path *way, rbe_rng *rng) {
    size_t from = rbe_rng_below(rng, (uint32_t)way->count), length = 2 + rbe_rng_below(rng, 5);
    double rest = between(rng, 0.05, 0.5);
    for (size_t i = from; i < from + length && i < way->count; i++) way->points[i].ink *= rest;
}

/* ---- distortion ---------------------------------------------------------------------------------------------- */

/* Values of the four cubic B-splines that are not 0 at t in [0, 1]. */
static void bspline(double t, double b[4]) {
    double u = 1 - t;
    b[0] = u * u * u / 6;
    b[1] = (3 * t * t * t - 6 * t * t + 4) / 6;
    b[2] = (3 * u * u * u - 6 * u * u + 4) / 6;
    b[3] = t * t * t / 6;
}

/* Cell of a coordinate, and the splines there. */
static int cell_of(double x, double b[4]) {
    double at = x * CELLS;
    int cell = at < 0 ? 0 : (int)at;
    if (cell > CELLS - 1) cell = CELLS - 1;
    bspline(at - cell, b);
    return cell;
}

static void displace(path *way, rbe_rng *rng) {
    double dx[CELLS + 3][CELLS + 3], dy[CELLS + 3][CELLS + 3];
    double strength = between(rng, 0.03, 0.08);
    for (int i = 0; i < CELLS + 3; i++)
        for (int j = 0; j < CELLS + 3; j++) {
            dx[i][j] = strength * bell(rng);
            dy[i][j] = strength * bell(rng);
        }
    for (size_t p = 0; p < way->count; p++) {
        double bx[4], by[4], sum_x = 0, sum_y = 0;
        int column = cell_of(way->points[p].x, bx), row = cell_of(way->points[p].y, by);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                sum_x += by[i] * bx[j] * dx[row + i][column + j];
                sum_y += by[i] * bx[j] * dy[row + i][column + j];
            }
        way->points[p].x += sum_x;
        way->points[p].y += sum_y;
    }
}

/* Unit box to pixels: anisotropic scale, slant, rotation by the angle of half-tangent h, shift. */
static void place(path *way, rbe_rng *rng) {
    double h = 0.06 * bell(rng);
    double cosine = (1 - h * h) / (1 + h * h), sine = 2 * h / (1 + h * h);
    double slant = -0.12 + 0.20 * bell(rng);
    double high = 19.5 * (1 + 0.07 * bell(rng));
    double wide = high * (1 + 0.10 * bell(rng));
    double shift_x = between(rng, -2.6, 2.6);
    double shift_y = between(rng, -2.6, 2.6);
    for (size_t p = 0; p < way->count; p++) {
        double y = high * (way->points[p].y - 0.5), x = wide * (way->points[p].x - 0.5) + slant * y;
        way->points[p].x = 0.5 * (SIDE - 1) + cosine * x - sine * y + shift_x;
        way->points[p].y = 0.5 * (SIDE - 1) + sine * x + cosine * y + shift_y;
    }
}

/* ---- ink ----------------------------------------------------------------------------------------------------- */

static double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

/* A straight piece of ink with round ends; radius and pressure change linearly along it. */
static void draw(double canvas[PIXELS], const pen_point *a, const pen_point *b) {
    double reach = (a->radius > b->radius ? a->radius : b->radius) + 1;
    int left = (int)clamp((a->x < b->x ? a->x : b->x) - reach, 0, SIDE - 1);
    int right = (int)clamp((a->x > b->x ? a->x : b->x) + reach + 1, 0, SIDE - 1);
    int top = (int)clamp((a->y < b->y ? a->y : b->y) - reach, 0, SIDE - 1);
    int bottom = (int)clamp((a->y > b->y ? a->y : b->y) + reach + 1, 0, SIDE - 1);
    double dx = b->x - a->x, dy = b->y - a->y, length2 = dx * dx + dy * dy;
    for (int y = top; y <= bottom; y++)
        for (int x = left; x <= right; x++) {
            double along = (x - a->x) * dx + (y - a->y) * dy;
            double t = length2 > 0 ? clamp(along / length2, 0, 1) : 0;
            double ex = x - a->x - t * dx, ey = y - a->y - t * dy;
            double radius = a->radius + t * (b->radius - a->radius);
            double ink = (a->ink + t * (b->ink - a->ink)) * clamp(radius + 0.5 - sqrt(ex * ex + ey * ey), 0, 1);
            if (ink > canvas[y * SIDE + x]) canvas[y * SIDE + x] = ink;
        }
}

/* What else is on the paper: specks, or the end of a neighbour's stroke at the border. */
static void draw_distractors(double canvas[PIXELS], rbe_rng *rng) {
    int specks = chance(rng, 0.15) ? 1 + (int)rbe_rng_below(rng, 3) : 0;
    for (int i = 0; i < specks; i++) {
        pen_point speck = {.down = true};
        speck.x = between(rng, 1, SIDE - 2);
        speck.y = between(rng, 1, SIDE - 2);
        speck.radius = between(rng, 0.1, 0.9);
        speck.ink = between(rng, 0.3, 1);
        draw(canvas, &speck, &speck);
    }
    if (!chance(rng, 0.08)) return;
    pen_point a = {.radius = 1, .ink = 0.9}, b = a;
    bool at_left = chance(rng, 0.5);
    a.x = at_left ? -1 : SIDE;
    a.y = between(rng, 2, SIDE - 2);
    b.x = a.x + (at_left ? 1 : -1) * between(rng, 2, 5);
    b.y = a.y + between(rng, -4, 4);
    draw(canvas, &a, &b);
}

/* canvas = (1 - w) canvas + w (1 2 1)/4 along both axes; beyond the border there is no ink. */
static void blur(double canvas[PIXELS], double w) {
    double rows[PIXELS];
    for (int i = 0; i < PIXELS; i++) {
        int x = i % SIDE;
        double left = x > 0 ? canvas[i - 1] : 0, right = x < SIDE - 1 ? canvas[i + 1] : 0;
        rows[i] = 0.25 * left + 0.5 * canvas[i] + 0.25 * right;
    }
    for (int i = 0; i < PIXELS; i++) {
        double above = i >= SIDE ? rows[i - SIDE] : 0, below = i < PIXELS - SIDE ? rows[i + SIDE] : 0;
        canvas[i] = (1 - w) * canvas[i] + w * (0.25 * above + 0.5 * rows[i] + 0.25 * below);
    }
}

/* Bytes; grain lies on the ink and the paper stays 0, so that files compress well. */
static void scan(const double canvas[PIXELS], uint8_t *pixels, rbe_rng *rng) {
    double gain = between(rng, 255, 330), grain = between(rng, 0, 0.12);
    for (int i = 0; i < PIXELS; i++) {
        double value = gain * canvas[i];
        if (value > 0) value = clamp(value, 0, 255) * (1 - grain * rbe_rng_uniform(rng));
        pixels[i] = (uint8_t)(value + 0.5);
    }
}

static void write_digit(uint8_t *pixels, int digit, rbe_rng *rng) {
    path way;
    double canvas[PIXELS] = {0};
    trace(&way, choose_shape(rng, digit), rng);
    if (chance(rng, 0.15)) skip_ink(&way, rng);
    displace(&way, rng);
    place(&way, rng);
    for (size_t p = 1; p < way.count; p++)
        if (way.points[p].down) draw(canvas, &way.points[p - 1], &way.points[p]);
    draw_distractors(canvas, rng);
    blur(canvas, between(rng, 0.2, 0.8));
    scan(canvas, pixels, rng);
}

rbe_status rbe_digits_generate(rbe_dataset *data, size_t count, uint64_t seed) {
    if (!data) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_digits_generate: the result pointer is NULL");
    *data = (rbe_dataset){0};
    if (count < 1 || count > UINT32_MAX / 2)
        return rbe_fail(RBE_INVALID_ARGUMENT, "expected 1 .. 2^31 - 1 digits, found %zu", count);
    rbe_dataset made = {
        .count = count, .features = PIXELS, .height = SIDE, .width = SIDE, .classes = 10, .owned = true};
    rbe_rng *rng = rbe_rng_new(seed, 0);
    if (rng) made.pixels = rbe_alloc(count, PIXELS);
    if (made.pixels) made.labels = rbe_alloc(count, sizeof(int32_t));
    if (!made.labels) {
        rbe_rng_free(rng);
        rbe_dataset_free(&made);
        return RBE_INSUFFICIENT_MEMORY;
    }
    for (size_t i = 0; i < count; i++) made.labels[i] = (int32_t)(i % 10);
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = rbe_rng_below(rng, (uint32_t)(i + 1));
        int32_t kept = made.labels[i];
        made.labels[i] = made.labels[j];
        made.labels[j] = kept;
    }
    for (size_t i = 0; i < count; i++) write_digit(made.pixels + i * PIXELS, made.labels[i], rng);
    rbe_rng_free(rng);
    *data = made;
    return RBE_OK;
}

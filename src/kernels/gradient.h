/* Gradients of values and alphas: at the positions of a list only, summed over the samples of a run of panels.
 *
 *     gradient[k][m] += sum_n x[k][n] y[m][n]        k: entries of the list, m: block rows of the group
 *
 * Where the group is a whole number of vectors, a vector holds block rows: y is transposed once per list, and the
 * sums need no reduction. Otherwise a vector holds samples, and tiles of a few entries by up to 4 block rows are
 * reduced at the end of the run.
 */
#ifndef RBE_KERNELS_GRADIENT_H
#define RBE_KERNELS_GRADIENT_H

#include "kernels/lists.h"
#include "kernels/vector.h"

static size_t panel_rows(const rbe_panels *panels, size_t panel) {
    size_t rest = panels->rows - panel * panels->width;
    return rest < panels->width ? rest : panels->width;
}

/* ---- lanes are block rows ------------------------------------------------------------------------------------ */

/* turned[n * LANES + s] = sample n of block row s. */
static void turn(const float *y, size_t block_step, size_t vectors, float *turned) {
    for (size_t n = 0; n < vectors * LANES; n += LANES) {
        vec r[LANES];
        UNROLL for (size_t s = 0; s < LANES; s++) r[s] = load(y + s * block_step + n);
        transpose(r);
        UNROLL for (size_t s = 0; s < LANES; s++) store(turned + (n + s) * LANES, r[s]);
    }
}

/* The same for all panels of a run; those of panel p begin at p * width. */
static void turn_run(const rbe_panels *panels, size_t y_at, size_t block_step, float *turned) {
    for (size_t panel = 0; panel < panels->count; panel++)
        turn(panels->y + panel * panels->y_panel + y_at, block_step, vectors_of(panel_rows(panels, panel)),
             turned + panel * panels->width * LANES);
}

/* Sums of one tile over a run. The input rows of the next tile are asked for meanwhile: another core may have made
 * them. */
ALWAYS_INLINE void turned_tile(const rbe_panels *panels, const uint32_t *at, const uint32_t *next, const float *turned,
                               float *gradient, size_t gradient_step, size_t entries) {
    vec sum[8];
    UNROLL for (size_t u = 0; u < entries; u++) sum[u] = load(gradient + u * gradient_step);
    for (size_t panel = 0; panel < panels->count; panel++) {
        const float *x = panels->x + panel * panels->x_panel, *rows = turned + panel * panels->width * LANES;
        const size_t samples = panel_rows(panels, panel);
        for (size_t n = 0; n < samples; n += 16)
            UNROLL for (size_t u = 0; u < entries; u++) __builtin_prefetch(x + next[u] + n);
        for (size_t n = 0; n < samples; n++) {
            vec y = load(rows + n * LANES);
            UNROLL for (size_t u = 0; u < entries; u++) sum[u] = multiply_add(splat(x[at[u] + n]), y, sum[u]);
        }
    }
    UNROLL for (size_t u = 0; u < entries; u++) store(gradient + u * gradient_step, sum[u]);
}

static void gradient_turned(const rbe_panels *panels, const places *p, size_t y_at, size_t block_step, float *gradient,
                            size_t rows) {
    _Alignas(64) float turned[RBE_MAX_RUN * LANES];
    for (size_t m = 0; m < rows; m += LANES) {
        turn_run(panels, y_at + m * block_step, block_step, turned);
        size_t k = 0;
        for (; k + 8 <= p->count; k += 8)
            turned_tile(panels, p->at + k, p->at + (k + 16 <= p->count ? k + 8 : k), turned, gradient + k * rows + m,
                        rows, 8);
        for (; k < p->count; k++) turned_tile(panels, p->at + k, p->at + k, turned, gradient + k * rows + m, rows, 1);
    }
}

/* ---- lanes are samples --------------------------------------------------------------------------------------- */

/* Adds the sums of the lanes of sum[u][m] to gradient[u * step + m]. Four at a time: the block rows of an entry, or,
 * where they are fewer, four entries. */
ALWAYS_INLINE void add_sums(vec sum[16][4], float *gradient, size_t step, size_t entries, size_t rows) {
    if (rows == 4) {
        UNROLL for (size_t u = 0; u < entries; u++) {
            float *to = gradient + u * step;
            store_quad(to, load_quad(to) + sum_each(sum[u]));
        }
        return;
    }
    UNROLL for (size_t m = 0; m < rows; m++) UNROLL for (size_t u = 0; u < entries; u += 4) {
        vec four[4] = {sum[u][m]};
        UNROLL for (size_t n = 1; n < 4; n++) four[n] = u + n < entries ? sum[u + n][m] : (vec){0};
        quad total = sum_each(four);
        UNROLL for (size_t n = 0; n < 4; n++) if (u + n < entries) gradient[(u + n) * step + m] += total[n];
    }
}

ALWAYS_INLINE void dot_tile(const rbe_panels *panels, const uint32_t *at, size_t y_at, size_t block_step,
                            float *gradient, size_t gradient_step, size_t entries, size_t rows) {
    vec sum[16][4];
    UNROLL for (size_t u = 0; u < entries; u++) UNROLL for (size_t m = 0; m < rows; m++) sum[u][m] = (vec){0};
    for (size_t panel = 0; panel < panels->count; panel++) {
        const float *x = panels->x + panel * panels->x_panel, *y = panels->y + panel * panels->y_panel + y_at;
        size_t samples = panel_rows(panels, panel);
        for (size_t n = 0; n < samples; n += LANES) {
            vec row[4];
            UNROLL for (size_t m = 0; m < rows; m++) row[m] = load(y + m * block_step + n);
            UNROLL for (size_t u = 0; u < entries; u++) {
                vec entry = load(x + at[u] + n);
                UNROLL for (size_t m = 0; m < rows; m++) sum[u][m] = multiply_add(entry, row[m], sum[u][m]);
            }
        }
    }
    add_sums(sum, gradient, gradient_step, entries, rows);
}

/* Tiles of `entries` entries, as many as the registers take. */
ALWAYS_INLINE void dot_rows(const rbe_panels *panels, const places *p, size_t y_at, size_t block_step, float *gradient,
                            size_t step, size_t entries, size_t rows) {
    size_t k = 0;
    for (; k + entries <= p->count; k += entries)
        dot_tile(panels, p->at + k, y_at, block_step, gradient + k * step, step, entries, rows);
    for (; k < p->count; k++) dot_tile(panels, p->at + k, y_at, block_step, gradient + k * step, step, 1, rows);
}

typedef void dot_function(const rbe_panels *panels, const places *p, size_t y_at, size_t block_step, float *gradient,
                          size_t step);

#define DOT_TILE(ROWS, ENTRIES)                                                                                        \
    static __attribute__((noinline)) void dot_##ROWS(const rbe_panels *panels, const places *p, size_t y_at,           \
                                                     size_t block_step, float *gradient, size_t step) {                \
        dot_rows(panels, p, y_at, block_step, gradient, step, ENTRIES, ROWS);                                          \
    }
DOT_TILE(1, LANES == 16 ? 16 : 8)
DOT_TILE(2, LANES == 16 ? 8 : 4)
DOT_TILE(3, 4)
DOT_TILE(4, LANES == 16 ? 4 : 2)

static void gradient_dots(const rbe_panels *panels, const places *p, size_t y_at, size_t block_step, float *gradient,
                          size_t rows) {
    static dot_function *const dots[] = {dot_1, dot_2, dot_3, dot_4};
    for (size_t m = 0; m < rows; m += 4) {
        size_t tile_rows = rows - m < 4 ? rows - m : 4;
        dots[tile_rows - 1](panels, p, y_at + m * block_step, block_step, gradient + m, rows);
    }
}

/* ---- lists of a group ---------------------------------------------------------------------------------------- */

static void gradient_list(const rbe_panels *panels, const list *l, size_t y_at, size_t block_step, float *gradient) {
    places p;
    gradient += l->offset;
    for (size_t first = 0; first < l->length; first += p.count, gradient += p.count * l->rows) {
        locate(l, first, panels->width, block_step, &p);
        if (l->rows % LANES == 0)
            gradient_turned(panels, &p, y_at, block_step, gradient, l->rows);
        else
            gradient_dots(panels, &p, y_at, block_step, gradient, l->rows);
    }
}

static void gradient_values(const rbe_plan *plan, const rbe_blocks *w, const rbe_panels *panels, size_t g, size_t first,
                            size_t count, float *values) {
    size_t block_step = plan->block_rows * panels->width;
    for (size_t i = first; i < first + count; i++) {
        list l = frequency_list(plan, w, g, i);
        gradient_list(panels, &l, g * w->group * block_step + i * panels->width, block_step, values);
    }
}

static void gradient_alpha(const rbe_plan *plan, const rbe_blocks *w, const rbe_panels *panels, size_t g, size_t first,
                           size_t count, float *alpha) {
    size_t block_step = plan->block_rows * panels->width;
    for (size_t p = first; p < first + count; p++) {
        list l = moment_list(plan, w, g, plan->pair[p]);
        size_t row = plan->block + plan->pair[p].row;
        gradient_list(panels, &l, g * w->group * block_step + row * panels->width, block_step, alpha);
    }
}

#endif

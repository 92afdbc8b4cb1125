/* Gradients of values and alphas: at the positions of a list only, summed over the samples of a run of panels.
 *
 *     gradient[k][m] += sum_n x[k][n] y[m][n]        k: entries of the list, m: block rows of the group
 *
 * Where the group is a whole number of vectors, a vector holds block rows: y is transposed once per list, and the
 * sums need no reduction. Otherwise a vector holds samples, and tiles of 4 entries by 4 block rows are reduced at
 * the end of the run.
 */
#ifndef RBE_KERNELS_GRADIENT_H
#define RBE_KERNELS_GRADIENT_H

#include "kernels/lists.h"
#include "kernels/vector.h"

enum { GRADIENT_MAX_WIDTH = 64, GRADIENT_TILE = 4 };

static size_t panel_rows(const rbe_panels *panels, size_t panel) {
    size_t rest = panels->rows - panel * panels->width;
    return rest < panels->width ? rest : panels->width;
}

/* ---- lanes are block rows ---------------------------------------------------------------------------------------- */

/* turned[n * LANES + s] = sample n of block row s. */
static void turn(const float *y, size_t block_step, size_t vectors, float *turned) {
    for (size_t n = 0; n < vectors * LANES; n += LANES) {
        vec r[LANES];
        UNROLL for (size_t s = 0; s < LANES; s++) r[s] = load(y + s * block_step + n);
        transpose(r);
        UNROLL for (size_t s = 0; s < LANES; s++) store(turned + (n + s) * LANES, r[s]);
    }
}

ALWAYS_INLINE void turned_tile(const list *l, size_t k, const float *x, size_t row_step, size_t block_step,
                               const float *turned, size_t samples, float *gradient, size_t entries) {
    const float *row[8];
    vec sum[8];
    UNROLL for (size_t u = 0; u < entries; u++) {
        row[u] = x + entry_at(l, k + u, row_step, block_step);
        sum[u] = load(gradient + (k + u) * l->rows);
    }
    for (size_t n = 0; n < samples; n++) {
        vec y = load(turned + n * LANES);
        UNROLL for (size_t u = 0; u < entries; u++) sum[u] = multiply_add(splat(row[u][n]), y, sum[u]);
    }
    UNROLL for (size_t u = 0; u < entries; u++) store(gradient + (k + u) * l->rows, sum[u]);
}

static void gradient_turned(const rbe_panels *panels, const list *shared, size_t y_at, size_t block_step,
                            float *gradient) {
    const list l = *shared;
    _Alignas(64) float turned[GRADIENT_MAX_WIDTH * LANES];
    for (size_t panel = 0; panel < panels->count; panel++) {
        const float *x = panels->x + panel * panels->x_panel;
        size_t samples = panel_rows(panels, panel);
        for (size_t m = 0; m < l.rows; m += LANES) {
            turn(panels->y + panel * panels->y_panel + y_at + m * block_step, block_step,
                 (samples + LANES - 1) / LANES, turned);
            size_t k = 0;
            for (; k + 8 <= l.length; k += 8)
                turned_tile(&l, k, x, panels->width, block_step, turned, samples, gradient + m, 8);
            for (; k < l.length; k++)
                turned_tile(&l, k, x, panels->width, block_step, turned, samples, gradient + m, 1);
        }
    }
}

/* ---- lanes are samples ------------------------------------------------------------------------------------------- */

ALWAYS_INLINE void dot_tile(const rbe_panels *panels, const list *l, size_t k, size_t y_at, size_t block_step,
                            float *gradient, size_t entries, size_t rows) {
    vec sum[GRADIENT_TILE][GRADIENT_TILE] = {{{0}}};
    size_t at[GRADIENT_TILE];
    UNROLL for (size_t u = 0; u < entries; u++) at[u] = entry_at(l, k + u, panels->width, block_step);
    for (size_t panel = 0; panel < panels->count; panel++) {
        const float *x = panels->x + panel * panels->x_panel, *y = panels->y + panel * panels->y_panel + y_at;
        size_t samples = panel_rows(panels, panel);
        for (size_t n = 0; n < samples; n += LANES) {
            vec row[GRADIENT_TILE];
            UNROLL for (size_t m = 0; m < rows; m++) row[m] = load(y + m * block_step + n);
            UNROLL for (size_t u = 0; u < entries; u++) {
                vec entry = load(x + at[u] + n);
                UNROLL for (size_t m = 0; m < rows; m++) sum[u][m] = multiply_add(entry, row[m], sum[u][m]);
            }
        }
    }
    UNROLL for (size_t u = 0; u < entries; u++) {
        quad total = sum_each(sum[u]);
        float *to = gradient + (k + u) * l->rows;
        if (rows == GRADIENT_TILE)
            store_quad(to, load_quad(to) + total);
        else
            for (size_t m = 0; m < rows; m++) to[m] += total[m];
    }
}

ALWAYS_INLINE void dot_rows(const rbe_panels *panels, const list *l, size_t y_at, size_t block_step, float *gradient,
                            size_t rows) {
    size_t k = 0;
    for (; k + GRADIENT_TILE <= l->length; k += GRADIENT_TILE)
        dot_tile(panels, l, k, y_at, block_step, gradient, GRADIENT_TILE, rows);
    for (; k < l->length; k++) dot_tile(panels, l, k, y_at, block_step, gradient, 1, rows);
}

static void gradient_dots(const rbe_panels *panels, const list *l, size_t y_at, size_t block_step, float *gradient) {
    for (size_t m = 0; m < l->rows; m += GRADIENT_TILE) {
        size_t at = y_at + m * block_step;
        switch (l->rows - m) {
        case 1: dot_rows(panels, l, at, block_step, gradient + m, 1); break;
        case 2: dot_rows(panels, l, at, block_step, gradient + m, 2); break;
        case 3: dot_rows(panels, l, at, block_step, gradient + m, 3); break;
        default: dot_rows(panels, l, at, block_step, gradient + m, 4);
        }
    }
}

/* ---- lists of a group -------------------------------------------------------------------------------------------- */

static void gradient_list(const rbe_panels *panels, const list *l, size_t y_at, size_t block_step, float *gradient) {
    if (l->rows % LANES == 0)
        gradient_turned(panels, l, y_at, block_step, gradient + l->offset);
    else
        gradient_dots(panels, l, y_at, block_step, gradient + l->offset);
}

static void gradient_values(const rbe_plan *plan, const rbe_blocks *w, const rbe_panels *panels, size_t g,
                            size_t first, size_t last, float *values) {
    size_t block_step = plan->block_rows * panels->width;
    for (size_t i = first; i < last; i++) {
        list l = frequency_list(plan, w, g, i);
        gradient_list(panels, &l, g * w->group * block_step + i * panels->width, block_step, values);
    }
}

static void gradient_alpha(const rbe_plan *plan, const rbe_blocks *w, const rbe_panels *panels, size_t g,
                           float *alpha) {
    size_t block_step = plan->block_rows * panels->width;
    for (size_t p = 0; p < plan->pair_count; p++) {
        list l = moment_list(plan, w, g, plan->pair[p]);
        size_t row = plan->block + plan->pair[p].row;
        gradient_list(panels, &l, g * w->group * block_step + row * panels->width, block_step, alpha);
    }
}

#endif

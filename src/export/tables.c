/* Constants that layers share: cosines, filters of wavelets, windows, the smooth functions of a block. Each stands in the
 * file once.
 */
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "codec/blocks.h"
#include "codec/filters.h"
#include "export/exporter.h"

void rbe_need_table(rbe_exporter *x, rbe_table_kind kind, size_t size, const rbe_transform *transform) {
    for (size_t n = 0; n < x->table_count; n++) {
        const rbe_table *t = &x->tables[n];
        if (t->kind == kind && t->size == size && t->transform == transform) return;
    }
    if (x->table_count == RBE_MOST_TABLES) {
        rbe_export_fail(x, rbe_fail(RBE_INVALID_ARGUMENT,
                                    "export: the layers need more than %d tables of constants: their blocks and images "
                                    "are of too many sizes",
                                    RBE_MOST_TABLES));
        return;
    }
    x->tables[x->table_count++] = (rbe_table){kind, size, transform};
}

/* ---- what they hold ------------------------------------------------------------------------------------------ */

/* sqrt(2 / n) cos(pi k / 2n), k = 0 .. n */
static void cosines(rbe_exporter *x, size_t length) {
    char name[40];
    float *values = rbe_alloc(length + 1, sizeof *values);
    if (!values) {
        rbe_export_fail(x, RBE_INSUFFICIENT_MEMORY);
        return;
    }
    for (size_t k = 0; k <= length; k++)
        values[k] = k == length ? 0.0f : (float)(sqrt(2.0 / (double)length) * cos(M_PI_2 * (double)k / (double)length));
    snprintf(name, sizeof name, "cosines_%zu", length);
    rbe_c_floats(&x->text, name, values, length + 1);
    rbe_free(values);
}

/* Cosines and sines of snippets/dct_fast.c for blocks of this size. */
static void turns(rbe_exporter *x, size_t block) {
    char name[40];
    float values[256];
    size_t count = 0;
    for (size_t m = block / 2; m > 1; m /= 2)
        for (size_t i = 0; i < m / 2; i++) {
            const double angle = M_PI * (double)(2 * i + 1) / (double)(4 * m);
            values[count++] = (float)cos(angle);
            values[count++] = (float)sin(angle);
        }
    snprintf(name, sizeof name, "turns_%zu", block);
    rbe_c_floats(&x->text, name, values, count);
}

static void filters(rbe_exporter *x, const rbe_transform *transform) {
    char name[40];
    float values[RBE_MOST_TAPS];
    rbe_filters analysis, synthesis;
    rbe_transform_filters(transform, &analysis, &synthesis);
    for (size_t f = 0; f < 2; f++) {
        const double *filter = f ? synthesis.high : synthesis.low;
        for (size_t k = 0; k < synthesis.taps; k++) values[k] = (float)filter[k];
        snprintf(name, sizeof name, "%s_%s", transform->name, f ? "high" : "low");
        rbe_c_floats(&x->text, name, values, synthesis.taps);
    }
}

static void ramp(rbe_exporter *x, size_t overlap) {
    char name[40];
    float values[128]; /* half of the largest block */
    for (size_t k = 0; k < overlap; k++) values[k] = (float)sin(M_PI_2 * ((double)k + 0.5) / (double)overlap);
    snprintf(name, sizeof name, "ramp_%zu", overlap);
    rbe_c_floats(&x->text, name, values, overlap);
}

size_t rbe_smooth_count(const rbe_blocks *blocks) { return RBE_EVEN_COUNT + blocks->basis->rank; }

/* The first halves of f_0 .. f_3 and of the vectors of Psi_7, and the factors of these. */
static void smooth(rbe_exporter *x, size_t block) {
    char name[40];
    rbe_basis *basis = rbe_basis_new(block);
    float *values = rbe_alloc((RBE_EVEN_COUNT + RBE_MAX_RANK) * block / 2, sizeof *values), factors[RBE_MAX_RANK];
    if (basis && values) {
        const size_t count = RBE_EVEN_COUNT + basis->rank;
        for (size_t f = 0; f < count; f++) {
            const double *half = f < RBE_EVEN_COUNT ? basis->even[f] : basis->vector[f - RBE_EVEN_COUNT];
            for (size_t c = 0; c < block / 2; c++) values[f * block / 2 + c] = (float)half[c];
        }
        for (size_t f = 0; f < basis->rank; f++) factors[f] = (float)basis->lambda[f];
        snprintf(name, sizeof name, "smooth_%zu", block);
        rbe_c_floats(&x->text, name, values, count * block / 2);
        snprintf(name, sizeof name, "factors_%zu", block);
        rbe_c_floats(&x->text, name, factors, basis->rank);
    } else
        rbe_export_fail(x, RBE_INSUFFICIENT_MEMORY);
    rbe_free(values);
    rbe_free(basis);
}

void rbe_c_tables(rbe_exporter *x) {
    for (size_t n = 0; n < x->table_count && x->text.status == RBE_OK; n++) {
        const rbe_table *t = &x->tables[n];
        switch (t->kind) {
        case RBE_COSINES: cosines(x, t->size); break;
        case RBE_TURNS: turns(x, t->size); break;
        case RBE_FILTERS: filters(x, t->transform); break;
        case RBE_RAMP: ramp(x, t->size); break;
        case RBE_SMOOTH: smooth(x, t->size); break;
        }
    }
}

/* The formulas of attention_reference.h. */
#include "attention_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"

layout layout_of(const rbe_tensor *qkv, size_t heads) {
    layout l = {.length = qkv->shape[qkv->dims - 2], .heads = heads, .width = rbe_tensor_columns(qkv) / 3};
    l.head = l.width / heads;
    l.sequences = rbe_tensor_rows(qkv) / l.length;
    return l;
}

size_t at(const layout *l, size_t sequence, size_t place, size_t part, size_t head) {
    return (sequence * l->length + place) * 3 * l->width + part * l->width + head * l->head;
}

double inner(const double *a, const double *b, size_t count) {
    double sum = 0.0;
    for (size_t n = 0; n < count; n++) sum += a[n] * b[n];
    return sum;
}

/* Probabilities of place i of a head: p[0 .. i]. */
static void probabilities(const layout *l, const double *qkv, size_t sequence, size_t head, size_t i, double *p) {
    double sum = 0.0, most = -INFINITY;
    for (size_t j = 0; j <= i; j++) {
        p[j] = inner(qkv + at(l, sequence, i, 0, head), qkv + at(l, sequence, j, 1, head), l->head) /
               sqrt((double)l->head);
        most = fmax(most, p[j]);
    }
    for (size_t j = 0; j <= i; j++) sum += p[j] = exp(p[j] - most);
    for (size_t j = 0; j <= i; j++) p[j] /= sum;
}

void reference_attend(const layout *l, const double *qkv, const double *masks, double *y, const double *g, double *gx) {
    double *p = test_memory(l->length, sizeof *p), *dp = test_memory(l->length, sizeof *dp);
    if (g) memset(gx, 0, l->sequences * l->length * 3 * l->width * sizeof *gx);
    for (size_t task = 0; task < l->sequences * l->heads; task++)
        for (size_t i = 0; i < l->length; i++) {
            const size_t sequence = task / l->heads, head = task % l->heads;
            const size_t row = (sequence * l->length + i) * l->width + head * l->head, q = at(l, sequence, i, 0, head);
            probabilities(l, qkv, sequence, head, i, p);
            double mean = 0.0; /* sum_j p_j dL/dp_j */
            for (size_t n = 0; n < l->head; n++) y[row + n] = 0.0;
            for (size_t j = 0; j <= i; j++) {
                const size_t v = at(l, sequence, j, 2, head);
                const double m = masks ? masks[(task * l->length + i) * l->length + j] : 1.0;
                for (size_t n = 0; n < l->head; n++) y[row + n] += m * p[j] * qkv[v + n];
                if (!g) continue;
                for (size_t n = 0; n < l->head; n++) gx[v + n] += m * p[j] * g[row + n];
                dp[j] = m * inner(g + row, qkv + v, l->head);
                mean += p[j] * dp[j];
            }
            for (size_t j = 0; g && j <= i; j++) {
                const double ds = p[j] * (dp[j] - mean) / sqrt((double)l->head);
                const size_t k = at(l, sequence, j, 1, head);
                for (size_t n = 0; n < l->head; n++) {
                    gx[q + n] += ds * qkv[k + n];
                    gx[k + n] += ds * qkv[q + n];
                }
            }
        }
    free(p);
    free(dp);
}

static double place_angle(const layout *l, double base, size_t place, size_t n) {
    return (double)place * pow(base, -2.0 * (double)n / (double)l->head);
}

void reference_turn(const layout *l, double base, size_t first, const double *x, double *y) {
    memcpy(y, x, l->sequences * l->length * 3 * l->width * sizeof *y);
    for (size_t row = 0; row < l->sequences * l->length; row++)
        for (size_t h = 0; h < 2 * l->heads; h++)
            for (size_t n = 0; n < l->head / 2; n++) {
                const size_t a = row * 3 * l->width + h * l->head + n, b = a + l->head / 2;
                const double angle = place_angle(l, base, first + row % l->length, n);
                y[a] = x[a] * cos(angle) - x[b] * sin(angle);
                y[b] = x[a] * sin(angle) + x[b] * cos(angle);
            }
}

double reference_gelu(double x) { return x / 2.0 * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x))); }

/* The orthonormal DCT-II of 8 .. 256 vectors of samples, and its inverse.
 *
 *     DCT-II(N):  u_i = x_i + x_{N-1-i},  w_i = x_i - x_{N-1-i}
 *                 X_2k = DCT-II(N/2)(u)_k,  X_2k+1 = DCT-IV(N/2)(w)_k
 *     DCT-IV(M):  t_i = x_i cos a_i + x_{M-1-i} sin a_i,  r_i = (-1)^i (x_i sin a_i - x_{M-1-i} cos a_i),
 *                 a_i = (2i + 1) pi / 4M;  A = DCT-II(M/2)(t),  S = DCT-II(M/2)(r)
 *                 X_0 = A_0,  X_{M-1} = S_0,  X_2k = A_k - S_{M/2-k},  X_2k-1 = A_k + S_{M/2-k}
 *
 * The inverse of an orthonormal transform is its transpose: the same steps backwards, each transposed. Lengths of 8 and
 * 16 are worked on in registers, half of the values at a time; longer ones are passes over buffers in the first-level
 * cache. Straight-line code of all values is slower and much longer: it spills most of what it computes.
 *
 * Factors: those of DCT-IV(M) stand at f + M, first M/2 cosines, then M/2 sines; f[1] is that of DCT-IV(1), f[0] that
 * of DCT-II(1). `f` carries the scale of the whole transform, which rides in the first rotations on the way to an output;
 * `plain`, for the DCT-IIs within a DCT-IV, does not: its f[0] is 1.
 */
#ifndef RBE_KERNELS_DCT_H
#define RBE_KERNELS_DCT_H

#include "kernels/vector.h"

/* (x, y) by the rotation i of a DCT-IV, and back: x cos + y sin and (-1)^i (x sin - y cos). */
ALWAYS_INLINE vec rotate_first(float cosine, float sine, vec x, vec y) { return scale_add(x, cosine, scale(y, sine)); }

ALWAYS_INLINE vec rotate_second(size_t i, float cosine, float sine, vec x, vec y) {
    return i % 2 ? subtract_product(scale(y, cosine), x, splat(sine))
                 : multiply_subtract(x, splat(sine), scale(y, cosine));
}

ALWAYS_INLINE void rotate_back(size_t i, float cosine, float sine, vec t, vec r, vec *x, vec *y) {
    vec c = splat(cosine), s = splat(sine);
    *x = i % 2 ? multiply_subtract(t, c, r * s) : multiply_add(t, c, r * s);
    *y = i % 2 ? multiply_add(t, s, r * c) : multiply_subtract(t, s, r * c);
}

/* ---- in registers -------------------------------------------------------------------------------------------- */

ALWAYS_INLINE void dct2_4(const float *f, const vec x[4], vec y[4]) {
    vec u0 = x[0] + x[3], u1 = x[1] + x[2], w0 = x[0] - x[3], w1 = x[1] - x[2];
    y[0] = scale(u0 + u1, f[0]);
    y[2] = scale(u0 - u1, f[1]);
    y[1] = rotate_first(f[2], f[3], w0, w1);
    y[3] = rotate_second(0, f[2], f[3], w0, w1);
}

ALWAYS_INLINE void dct2_4_back(const float *f, const vec y[4], vec x[4]) {
    vec sum = scale(y[0], f[0]), difference = scale(y[2], f[1]), u0 = sum + difference, u1 = sum - difference, w0, w1;
    rotate_back(0, f[2], f[3], y[1], y[3], &w0, &w1);
    x[0] = u0 + w0;
    x[3] = u0 - w0;
    x[1] = u1 + w1;
    x[2] = u1 - w1;
}

ALWAYS_INLINE void dct4_4(const float *f, const float *plain, const vec x[4], vec y[4]) {
    vec t0 = rotate_first(f[4], f[6], x[0], x[3]), r0 = rotate_second(0, f[4], f[6], x[0], x[3]);
    vec t1 = rotate_first(f[5], f[7], x[1], x[2]), r1 = rotate_second(1, f[5], f[7], x[1], x[2]);
    vec a1 = scale(t0 - t1, plain[1]), s1 = scale(r0 - r1, plain[1]);
    y[0] = t0 + t1;
    y[1] = a1 + s1;
    y[2] = a1 - s1;
    y[3] = r0 + r1;
}

ALWAYS_INLINE void dct4_4_back(const float *f, const float *plain, const vec y[4], vec x[4]) {
    vec a1 = scale(y[2] + y[1], plain[1]), s1 = scale(y[1] - y[2], plain[1]);
    rotate_back(0, f[4], f[6], y[0] + a1, y[3] + s1, &x[0], &x[3]);
    rotate_back(1, f[5], f[7], y[0] - a1, y[3] - s1, &x[1], &x[2]);
}

ALWAYS_INLINE void dct2_8(const float *f, const float *plain, const vec x[8], vec y[8]) {
    vec u[4], w[4], even[4], odd[4];
    UNROLL for (size_t i = 0; i < 4; i++) {
        u[i] = x[i] + x[7 - i];
        w[i] = x[i] - x[7 - i];
    }
    dct2_4(f, u, even);
    dct4_4(f, plain, w, odd);
    UNROLL for (size_t k = 0; k < 4; k++) {
        y[2 * k] = even[k];
        y[2 * k + 1] = odd[k];
    }
}

ALWAYS_INLINE void dct2_8_back(const float *f, const float *plain, const vec y[8], vec x[8]) {
    vec u[4], w[4], even[4], odd[4];
    UNROLL for (size_t k = 0; k < 4; k++) {
        even[k] = y[2 * k];
        odd[k] = y[2 * k + 1];
    }
    dct2_4_back(f, even, u);
    dct4_4_back(f, plain, odd, w);
    UNROLL for (size_t i = 0; i < 4; i++) {
        x[i] = u[i] + w[i];
        x[7 - i] = u[i] - w[i];
    }
}

/* X of a DCT-IV from A and S, and back: coefficients 2k - 1 and 2k. */
ALWAYS_INLINE void join_pair(size_t k, vec a, vec s, float *out, size_t step) {
    store(out + 2 * k * step, a - s);
    store(out + (2 * k - 1) * step, a + s);
}

ALWAYS_INLINE void part_pair(size_t k, const float *rows, size_t step, vec *a, vec *s) {
    vec even = load(rows + 2 * k * step), odd = load(rows + (2 * k - 1) * step);
    *a = even + odd;
    *s = odd - even;
}

/* n is a constant. */
ALWAYS_INLINE void join(size_t n, const vec *a, const vec *s, float *out, size_t step) {
    store(out, a[0]);
    UNROLL for (size_t k = 1; k < n / 2; k++) join_pair(k, a[k], s[n / 2 - k], out, step);
    store(out + (n - 1) * step, s[0]);
}

ALWAYS_INLINE void part(size_t n, const float *rows, size_t step, vec *a, vec *s) {
    a[0] = load(rows);
    UNROLL for (size_t k = 1; k < n / 2; k++) part_pair(k, rows, step, &a[k], &s[n / 2 - k]);
    s[0] = load(rows + (n - 1) * step);
}

ALWAYS_INLINE void dct4_8(const float *f, const float *plain, const vec x[8], float *out, size_t step) {
    vec t[4], r[4], a[4], s[4];
    UNROLL for (size_t i = 0; i < 4; i++) {
        t[i] = rotate_first(f[8 + i], f[12 + i], x[i], x[7 - i]);
        r[i] = rotate_second(i, f[8 + i], f[12 + i], x[i], x[7 - i]);
    }
    dct2_4(plain, t, a);
    dct2_4(plain, r, s);
    join(8, a, s, out, step);
}

ALWAYS_INLINE void dct4_8_back(const float *f, const float *plain, const float *rows, size_t step, vec x[8]) {
    vec t[4], r[4], a[4], s[4];
    part(8, rows, step, a, s);
    dct2_4_back(plain, a, t);
    dct2_4_back(plain, s, r);
    UNROLL for (size_t i = 0; i < 4; i++) rotate_back(i, f[8 + i], f[12 + i], t[i], r[i], &x[i], &x[7 - i]);
}

/* ---- of 8 and 16, from memory to memory ---------------------------------------------------------------------- */

ALWAYS_INLINE void store_rows(size_t n, const vec *from, float *out, size_t step) {
    UNROLL for (size_t k = 0; k < n; k++) store(out + k * step, from[k]);
}

ALWAYS_INLINE void load_rows(size_t n, const float *rows, size_t step, vec *to) {
    UNROLL for (size_t k = 0; k < n; k++) to[k] = load(rows + k * step);
}

NOINLINE void dct2_of_8(const float *f, const float *plain, const vec *x, float *out, size_t step) {
    vec y[8];
    dct2_8(f, plain, x, y);
    store_rows(8, y, out, step);
}

NOINLINE void dct2_of_8_back(const float *f, const float *plain, const float *rows, size_t step, vec *x) {
    vec y[8];
    load_rows(8, rows, step, y);
    dct2_8_back(f, plain, y, x);
}

NOINLINE void dct4_of_8(const float *f, const float *plain, const vec *x, float *out, size_t step) {
    dct4_8(f, plain, x, out, step);
}

NOINLINE void dct4_of_8_back(const float *f, const float *plain, const float *rows, size_t step, vec *x) {
    dct4_8_back(f, plain, rows, step, x);
}

NOINLINE void dct2_of_16(const float *f, const float *plain, const vec *x, float *out, size_t step) {
    vec half[8], y[8];
    UNROLL for (size_t i = 0; i < 8; i++) half[i] = x[i] + x[15 - i];
    dct2_8(f, plain, half, y);
    store_rows(8, y, out, 2 * step);
    UNROLL for (size_t i = 0; i < 8; i++) half[i] = x[i] - x[15 - i];
    dct4_8(f, plain, half, out + step, 2 * step);
}

NOINLINE void dct2_of_16_back(const float *f, const float *plain, const float *rows, size_t step, vec *x) {
    vec y[8], u[8], w[8];
    load_rows(8, rows, 2 * step, y);
    dct2_8_back(f, plain, y, u);
    UNROLL for (size_t i = 0; i < 8; i++) x[i] = u[i];
    dct4_8_back(f, plain, rows + step, 2 * step, w);
    UNROLL for (size_t i = 0; i < 8; i++) {
        vec even = x[i];
        x[i] = even + w[i];
        x[15 - i] = even - w[i];
    }
}

/* The first half waits in `work`, not in registers. */
NOINLINE void dct4_of_16(const float *f, const float *plain, const vec *x, float *out, size_t step, vec *work) {
    vec half[8], a[8], s[8];
    UNROLL for (size_t i = 0; i < 8; i++) half[i] = rotate_first(f[16 + i], f[24 + i], x[i], x[15 - i]);
    dct2_8(plain, plain, half, a);
    UNROLL for (size_t k = 0; k < 8; k++) work[k] = a[k];
    UNROLL for (size_t i = 0; i < 8; i++) half[i] = rotate_second(i, f[16 + i], f[24 + i], x[i], x[15 - i]);
    dct2_8(plain, plain, half, s);
    join(16, work, s, out, step);
}

NOINLINE void dct4_of_16_back(const float *f, const float *plain, const float *rows, size_t step, vec *x, vec *work) {
    vec a[8], s[8], t[8], r[8];
    part(16, rows, step, a, s);
    UNROLL for (size_t k = 0; k < 8; k++) work[k] = s[k];
    dct2_8_back(plain, plain, a, t);
    UNROLL for (size_t i = 0; i < 8; i++) x[i] = t[i];
    UNROLL for (size_t k = 0; k < 8; k++) s[k] = work[k];
    dct2_8_back(plain, plain, s, r);
    UNROLL for (size_t i = 0; i < 8; i++) rotate_back(i, f[16 + i], f[24 + i], x[i], r[i], &x[i], &x[15 - i]);
}

/* ---- of any length ------------------------------------------------------------------------------------------- */

/* Vectors of scratch: 3/2 n for a DCT-II of length n, 2 n for a DCT-IV, then that of a DCT-II or DCT-IV of a quarter or
 * half. */
#define DCT_WORK(n) (5 * (n) / 2)

NOINLINE void dct2(const float *f, const float *plain, size_t n, const vec *x, float *out, size_t step, vec *work);
NOINLINE void dct2_back(const float *f, const float *plain, size_t n, const float *rows, size_t step, vec *x,
                        vec *work);

static void join_long(size_t n, const vec *a, const vec *s, float *out, size_t step) {
    store(out, a[0]);
    for (size_t k = 1; k < n / 2; k++) join_pair(k, a[k], s[n / 2 - k], out, step);
    store(out + (n - 1) * step, s[0]);
}

static void part_long(size_t n, const float *rows, size_t step, vec *a, vec *s) {
    a[0] = load(rows);
    for (size_t k = 1; k < n / 2; k++) part_pair(k, rows, step, &a[k], &s[n / 2 - k]);
    s[0] = load(rows + (n - 1) * step);
}

NOINLINE void dct4(const float *f, const float *plain, size_t n, const vec *x, float *out, size_t step, vec *work) {
    if (n == 8) {
        dct4_of_8(f, plain, x, out, step);
        return;
    }
    if (n == 16) {
        dct4_of_16(f, plain, x, out, step, work);
        return;
    }
    size_t half = n / 2;
    vec *t = work, *r = t + half, *a = r + half, *s = a + half;
    for (size_t i = 0; i < half; i += 2) UNROLL for (size_t k = i; k < i + 2; k++) {
            vec first = x[k], second = x[n - 1 - k];
            t[k] = rotate_first(f[n + k], f[n + half + k], first, second);
            r[k] = rotate_second(k - i, f[n + k], f[n + half + k], first, second);
        }
    dct2(plain, plain, half, t, (float *)a, LANES, s + half);
    dct2(plain, plain, half, r, (float *)s, LANES, s + half);
    join_long(n, a, s, out, step);
}

NOINLINE void dct4_back(const float *f, const float *plain, size_t n, const float *rows, size_t step, vec *x,
                        vec *work) {
    if (n == 8) {
        dct4_of_8_back(f, plain, rows, step, x);
        return;
    }
    if (n == 16) {
        dct4_of_16_back(f, plain, rows, step, x, work);
        return;
    }
    size_t half = n / 2;
    vec *t = work, *r = t + half, *a = r + half, *s = a + half;
    part_long(n, rows, step, a, s);
    dct2_back(plain, plain, half, (const float *)a, LANES, t, s + half);
    dct2_back(plain, plain, half, (const float *)s, LANES, r, s + half);
    for (size_t i = 0; i < half; i += 2)
        UNROLL for (size_t k = i; k < i + 2; k++)
            rotate_back(k - i, f[n + k], f[n + half + k], t[k], r[k], &x[k], &x[n - 1 - k]);
}

/* Coefficient k to out + k * step. Two levels in one pass: the four values that they tie together. */
NOINLINE void dct2(const float *f, const float *plain, size_t n, const vec *x, float *out, size_t step, vec *work) {
    if (n == 8) {
        dct2_of_8(f, plain, x, out, step);
        return;
    }
    if (n == 16) {
        dct2_of_16(f, plain, x, out, step);
        return;
    }
    const size_t half = n / 2, quarter = n / 4;
    const float *cosine = f + half, *sine = cosine + quarter;
    vec *u = work, *w = u + quarter, *t = w + quarter, *r = t + quarter, *a = r + quarter, *s = a + quarter;
    for (size_t i = 0; i < quarter; i += 2) UNROLL for (size_t k = i; k < i + 2; k++) {
            vec u0 = x[k] + x[n - 1 - k], u1 = x[half - 1 - k] + x[half + k];
            vec w0 = x[k] - x[n - 1 - k], w1 = x[half - 1 - k] - x[half + k];
            u[k] = u0 + u1;
            w[k] = u0 - u1;
            t[k] = rotate_first(cosine[k], sine[k], w0, w1);
            r[k] = rotate_second(k - i, cosine[k], sine[k], w0, w1);
        }
    vec *rest = s + quarter;
    dct2(f, plain, quarter, u, out, 4 * step, rest);
    dct4(f, plain, quarter, w, out + 2 * step, 4 * step, rest);
    dct2(plain, plain, quarter, t, (float *)a, LANES, rest);
    dct2(plain, plain, quarter, r, (float *)s, LANES, rest);
    join_long(half, a, s, out + step, 2 * step);
}

NOINLINE void dct2_back(const float *f, const float *plain, size_t n, const float *rows, size_t step, vec *x,
                        vec *work) {
    if (n == 8) {
        dct2_of_8_back(f, plain, rows, step, x);
        return;
    }
    if (n == 16) {
        dct2_of_16_back(f, plain, rows, step, x);
        return;
    }
    const size_t half = n / 2, quarter = n / 4;
    const float *cosine = f + half, *sine = cosine + quarter;
    vec *u = work, *w = u + quarter, *t = w + quarter, *r = t + quarter, *a = r + quarter, *s = a + quarter;
    vec *rest = s + quarter;
    part_long(half, rows + step, 2 * step, a, s);
    dct2_back(f, plain, quarter, rows, 4 * step, u, rest);
    dct4_back(f, plain, quarter, rows + 2 * step, 4 * step, w, rest);
    dct2_back(plain, plain, quarter, (const float *)a, LANES, t, rest);
    dct2_back(plain, plain, quarter, (const float *)s, LANES, r, rest);
    for (size_t i = 0; i < quarter; i += 2) UNROLL for (size_t k = i; k < i + 2; k++) {
            vec u0 = u[k] + w[k], u1 = u[k] - w[k], w0, w1;
            rotate_back(k - i, cosine[k], sine[k], t[k], r[k], &w0, &w1);
            x[k] = u0 + w0;
            x[n - 1 - k] = u0 - w0;
            x[half - 1 - k] = u1 + w1;
            x[half + k] = u1 - w1;
        }
}

#endif

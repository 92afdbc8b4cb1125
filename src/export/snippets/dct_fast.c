/* The orthonormal DCT-II of n values side by side, n a power of two, from those of half the length:
 *
 *     u_i = x_i + x_{n-1-i},  w_i = x_i - x_{n-1-i};  X_2k = DCT-II(u)_k,  X_2k+1 = DCT-IV(w)_k
 *     t_i = w_i cos a_i + w_{m-1-i} sin a_i,  r_i = (-1)^i (w_i sin a_i - w_{m-1-i} cos a_i),  a_i = (2i + 1) pi / 4m
 *     A = DCT-II(t), S = DCT-II(r):  X_0 = A_0,  X_{m-1} = S_0,  X_2k = A_k - S_{m/2-k},  X_2k-1 = A_k + S_{m/2-k}
 *
 * with a factor 1 / sqrt 2 for each halving. turns: for m = n / 2 cos a_i and sin a_i, i < m / 2, then those for m / 2,
 * and so on. `work` has room for n values. */
static void dct_halves(float *x, size_t n, const float *turns, float *work);

static void dct_four(float *x, size_t m, const float *turns, float *work)
{
    const size_t half = m / 2;
    for (size_t i = 0; i < half; i++) {
        const float c = turns[2 * i], s = turns[2 * i + 1], a = x[i], b = x[m - 1 - i];
        work[i] = a * c + b * s;
        work[half + i] = i % 2 ? b * c - a * s : a * s - b * c;
    }
    memcpy(x, work, m * sizeof *x);
    if (half > 1) {
        dct_halves(x, half, turns + m + half, work);
        dct_halves(x + half, half, turns + m + half, work);
    }
    work[0] = x[0];
    work[m - 1] = x[half];
    for (size_t k = 1; k < half; k++) {
        work[2 * k] = 0.707106781f * (x[k] - x[m - k]);
        work[2 * k - 1] = 0.707106781f * (x[k] + x[m - k]);
    }
    memcpy(x, work, m * sizeof *x);
}

static void dct_halves(float *x, size_t n, const float *turns, float *work)
{
    const size_t m = n / 2;
    for (size_t i = 0; i < m; i++) {
        work[i] = 0.707106781f * (x[i] + x[n - 1 - i]);
        work[m + i] = 0.707106781f * (x[i] - x[n - 1 - i]);
    }
    memcpy(x, work, n * sizeof *x);
    if (m == 1) return;
    dct_halves(x, m, turns + m, work);
    dct_four(x + m, m, turns, work);
    for (size_t k = 0; k < m; k++) {
        work[2 * k] = x[k];
        work[2 * k + 1] = x[m + k];
    }
    memcpy(x, work, n * sizeof *x);
}

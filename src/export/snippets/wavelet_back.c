/* The transpose of a wavelet. */
static void wavelet_back(float *x, size_t n, const float *low, const float *high, size_t taps, float *work)
{
    for (size_t m = 2; m <= n; m *= 2) {
        for (size_t i = 0; i < m; i++) work[i] = 0.0f;
        for (size_t i = 0; i < m / 2; i++)
            for (size_t k = 0; k < taps; k++) work[(2 * i + k) & (m - 1)] += low[k] * x[i] + high[k] * x[m / 2 + i];
        memcpy(x, work, m * sizeof *x);
    }
}

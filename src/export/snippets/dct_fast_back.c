/* The way back: the same steps, backwards. A DCT-IV is its own inverse. */
static void dct_halves_back(float *x, size_t n, const float *turns, float *work)
{
    const size_t m = n / 2;
    for (size_t k = 0; k < m; k++) {
        work[k] = x[2 * k];
        work[m + k] = x[2 * k + 1];
    }
    memcpy(x, work, n * sizeof *x);
    if (m > 1) {
        dct_halves_back(x, m, turns + m, work);
        dct_four(x + m, m, turns, work);
    }
    for (size_t i = 0; i < m; i++) {
        work[i] = 0.707106781f * (x[i] + x[m + i]);
        work[n - 1 - i] = 0.707106781f * (x[i] - x[m + i]);
    }
    memcpy(x, work, n * sizeof *x);
}

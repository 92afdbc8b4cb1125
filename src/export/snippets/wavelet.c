/* A wavelet of n values, periodic, all levels: averages by `low`, details by `high`, the coarsest first. `work` has room
 * for n values. */
static void wavelet(float *x, size_t n, const float *low, const float *high, size_t taps, float *work)
{
    for (; n > 1; n /= 2) {
        for (size_t i = 0; i < n / 2; i++) {
            float average = 0.0f, detail = 0.0f;
            for (size_t k = 0; k < taps; k++) {
                const float sample = x[(2 * i + k) & (n - 1)];
                average += low[k] * sample;
                detail += high[k] * sample;
            }
            work[i] = average;
            work[n / 2 + i] = detail;
        }
        memcpy(x, work, n * sizeof *x);
    }
}

/* The Walsh-Hadamard transform of n values, rows in the order of their sign changes; it is its own inverse. scale:
 * 1 / sqrt(n); `work` has room for n values. */
static void walsh(float *x, size_t n, float scale, float *work)
{
    for (size_t half = 1; half < n; half *= 2)
        for (size_t i = 0; i < n; i++)
            if (!(i & half)) {
                const float a = x[i], b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
    for (size_t k = 0; k < n; k++) {
        size_t row = 0;
        for (size_t gray = k ^ (k >> 1), bit = n / 2; bit > 0; bit /= 2, gray /= 2)
            if (gray & 1) row |= bit;
        work[k] = x[row] * scale;
    }
    memcpy(x, work, n * sizeof *x);
}

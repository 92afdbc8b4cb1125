/* The orthonormal DCT-II of n values that stand `step` apart; `work` has room for n values. */
static void dct(float *x, size_t step, size_t n, const float *cosines, float *work)
{
    for (size_t k = 0; k < n; k++) {
        float sum = 0.0f;
        for (size_t i = 0, phase = k; i < n; i++) {
            sum += x[i * step] * cosine(cosines, n, phase);
            phase += 2 * k;
            if (phase >= 4 * n) phase -= 4 * n;
        }
        work[k] = k ? sum : sum * 0.707106781f;
    }
    for (size_t k = 0; k < n; k++) x[k * step] = work[k];
}

/* The way back, of values side by side. */
static void dct_back(float *x, size_t n, const float *cosines, float *work)
{
    for (size_t i = 0; i < n; i++) {
        float sum = x[0] * cosines[0] * 0.707106781f;
        for (size_t k = 1, phase = 2 * i + 1; k < n; k++) {
            sum += x[k] * cosine(cosines, n, phase);
            phase += 2 * i + 1;
            if (phase >= 4 * n) phase -= 4 * n;
        }
        work[i] = sum;
    }
    memcpy(x, work, n * sizeof *x);
}

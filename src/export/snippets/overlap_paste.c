/* Adds block p to n values, with the same window. */
static void overlap_paste(const float *t, size_t p, size_t blocks, size_t block, const float *ramp, size_t overlap,
                          float *y, size_t n)
{
    for (size_t i = 0; i < block; i++) {
        const size_t at = p * (block - overlap) + i, rest = block - 1 - i;
        float window = 1.0f;
        if (i < overlap && p > 0)
            window = ramp[i];
        else if (rest < overlap && p + 1 < blocks)
            window = ramp[rest];
        if (at < n) y[at] += t[i] * window;
    }
}

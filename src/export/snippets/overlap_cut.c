/* Blocks that overlap: cut out of n values, with a window that rises along `ramp`. */
static void overlap_cut(const float *x, size_t n, float *h, size_t blocks, size_t block, const float *ramp,
                        size_t overlap)
{
    for (size_t q = 0; q < blocks; q++, h += block)
        for (size_t t = 0; t < block; t++) {
            const size_t at = q * (block - overlap) + t, rest = block - 1 - t;
            h[t] = at < n ? x[at] : 0.0f;
            if (t < overlap && q > 0)
                h[t] *= ramp[t];
            else if (rest < overlap && q + 1 < blocks)
                h[t] *= ramp[rest];
        }
}

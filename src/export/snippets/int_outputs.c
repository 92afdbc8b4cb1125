/* The outputs of a block row: (sum + bias * factor) >> last, of the last layer whole. work: the rows of a DCT back, if there
 * is one; block: room for a block. */
static void outputs(const matrix *m, const int16_t *g, size_t first, const int16_t *work, int32_t *block, int16_t *y,
                    int32_t *whole)
{
    const size_t n = m->block, half = n / 2;
    const uint32_t *rows = (const uint32_t *)(const void *)work;
    uint32_t all = 0, all_odd = 0;
    for (size_t i = 0; i < half; i++) {
        all += (uint32_t)(block[i] = g[i]);
        all_odd += (uint32_t)(block[half + i] = g[half + i]);
    }
    for (size_t i = 0; i < half; i += 2, rows += n) {
        int32_t even[2], odd[2];
        if (!BACK || (PLAIN && !m->cosines)) {
            for (size_t k = 0; k < 2; k++) {
                /* what becomes these two, as sum and difference */
                even[k] = (block[i + k] + block[n - 1 - i - k]) * 4096;
                odd[k] = (block[i + k] - block[n - 1 - i - k]) * 4096;
            }
        } else {
            two_products(rows, block, half, even);
            two_products(rows + half, block + half, half, odd);
            even[1] = (int32_t)((uint32_t)even[1] - (all << 15));
            odd[1] = (int32_t)((uint32_t)odd[1] - (all_odd << 15));
        }
        for (size_t k = 0; k < 4; k++) {
            const size_t at = first + (k < 2 ? i + k : n + 1 - i - k);
            if (at < m->out) put(m, at, k < 2 ? even[k] + odd[k] : even[k - 2] - odd[k - 2], y, whole);
        }
    }
}

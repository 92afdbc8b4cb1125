/* The outputs of a block row: (sum + bias * factor) >> last, of the last layer whole. work: the rows of a DCT back, if there
 * is one; block: room for a block. */
APART void outputs(const matrix *m, const int16_t *g, size_t first, const int16_t *work, int32_t *block, int16_t *y,
                   int32_t *whole)
{
    const size_t n = m->block, half = n / 2;
    const uint32_t *rows = (const uint32_t *)(const void *)work;
    for (size_t i = 0; i < n; i++) block[i] = g[i];
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
        }
        for (size_t k = 0; k < 2; k++) {
            const size_t at = first + i + k, mirrored = first + n - 1 - i - k;
            if (at < m->out) put(m, at, even[k] + odd[k], y, whole);
            if (mirrored < m->out) put(m, mirrored, even[k] - odd[k], y, whole);
        }
    }
}

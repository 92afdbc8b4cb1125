/* The DCT of each block of n inputs, the last one filled up with zeros. Bits tell which frequencies are used. */
static void input_blocks(const int16_t *x, size_t count, size_t n, const int16_t *cosines, const uint8_t *used,
                         unsigned shift, int16_t *h, int16_t *work)
{
    uint32_t *const rows = (uint32_t *)(void *)work;
    int32_t *const folded = (int32_t *)(void *)(work + n * n / 2);
    int16_t *const block = (int16_t *)(folded + n);
    make_rows(cosines, n, rows, 0, block);
    for (size_t at = 0; at < count; at += n, used += (n / 2 + 7) / 8 * 2) {
        for (size_t i = 0; i < n; i++) block[i] = at + i < count ? x[at + i] : (int16_t)0;
        h = forward(block, n, rows, used, shift, h, 1, folded);
    }
}

/* The DCT of each block of n inputs, the last one filled up with zeros. Bits tell which frequencies are used. */
static void input_blocks(const int16_t *x, size_t count, size_t n, const int16_t *cosines, const uint8_t *used,
                         unsigned shift, int16_t *h, int16_t *work)
{
    int16_t *const block = work, *const folded = block + n, *const rows = folded + 2 * half_of(n);
    make_rows(cosines, n, rows, half_of(n), 1);
    for (size_t at = 0; at < count; at += n, used += n / 8) {
        for (size_t i = 0; i < n; i++) block[i] = at + i < count ? x[at + i] : (int16_t)0;
        h = forward(block, n, rows, used, shift, h, 1, folded);
    }
}

/* Those frequencies of a line that are used, as bits tell (a byte for up to eight, even and odd ones apart), each `step`
 * behind the one before. Zeros at both ends of the line are left out of the products. work: room for two halves.
 * Returns where the next frequency goes. */
APART int16_t *forward(const int16_t *x, size_t n, const uint32_t *rows, const uint8_t *used, unsigned shift,
                       int16_t *to, size_t step, int32_t *work)
{
    const size_t half = half_of(n);
    const int16_t *other = x + n;
    unsigned wanted = 0;
    int32_t pair[2] = {0, 0};
    size_t blank = 0; /* zeros at either end */
    for (; blank < n / 2 && *x == 0 && other[-1] == 0; blank++, x++, other--) {}
    work[half - 1] = work[2 * half - 1] = 0;
    for (size_t i = blank; i < n / 2; i++) {
        const int32_t a = *x++, b = *--other;
        work[i] = a + b;
        work[half + i] = a - b;
    }
    for (size_t parity = 0; parity < 2; parity++) {
        for (size_t r = 0; r < half; r += 2, rows += half, wanted >>= 2) {
            if (r % 8 == 0) wanted = *used++;
            if (!(wanted & 3)) continue;
            if (blank < n / 2) two_products(rows + blank, work + blank, half - blank, pair);
            if (wanted & 1) {
                *to = (int16_t)shifted(pair[0], shift);
                to += step;
            }
            if (wanted & 2) {
                *to = (int16_t)shifted(pair[1], shift);
                to += step;
            }
        }
        work += half;
    }
    return to;
}

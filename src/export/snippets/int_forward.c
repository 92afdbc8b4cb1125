/* Those frequencies of a line that are used, as bits tell (a byte for up to eight, even and odd ones apart), each `step` behind the one before. work: room for two halves.
 * Returns where the next one goes. */
static int16_t *forward(const int16_t *x, size_t n, const uint32_t *rows, const uint8_t *used, unsigned shift,
                        int16_t *to, size_t step, int32_t *work)
{
    const size_t half = half_of(n);
    const int16_t *other = x + n;
    uint32_t all = 0, all_odd = 0;
    unsigned wanted = 0;
    work[half - 1] = work[2 * half - 1] = 0;
    for (size_t i = 0; i < n / 2; i++) {
        const int32_t a = *x++, b = *--other;
        all += (uint32_t)(work[i] = a + b);
        all_odd += (uint32_t)(work[half + i] = a - b);
    }
    for (size_t parity = 0; parity < 2; parity++) {
        for (size_t r = 0; r < half; r += 2, rows += half, wanted >>= 2) {
            int32_t pair[2];
            if (r % 8 == 0) wanted = *used++;
            if (!(wanted & 3)) continue;
            two_products(rows, work, half, pair);
            if (wanted & 1) {
                *to = (int16_t)shifted(pair[0], shift);
                to += step;
            }
            if (wanted & 2) {
                *to = (int16_t)shifted((int32_t)((uint32_t)pair[1] - (all << 15)), shift);
                to += step;
            }
        }
        work += half;
        all = all_odd;
    }
    return to;
}

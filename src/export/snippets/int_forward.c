/* Those frequencies of a line that are used, as bits tell, each `step` behind the one before; `work` has room for two
 * halves. Returns where the next one goes. */
static int16_t *forward(const int16_t *x, size_t n, const int16_t *rows, const uint8_t *used, unsigned shift,
                        int16_t *to, size_t step, int16_t *work)
{
    const size_t half = half_of(n), even = (n + 1) / 2;
    const int16_t *other = x + n;
    work[half - 1] = work[2 * half - 1] = 0;
    for (size_t i = 0; i < even; i++) {
        const int a = x[i], b = *--other;
        work[i] = (int16_t)(a + b);
        work[half + i] = (int16_t)(a - b);
    }
    if (n % 2) work[even - 1] = x[even - 1];
    for (size_t r = 0; r < n; r++, rows += half) {
        if (r == even) work += half;
        if (!(used[r / 8] >> r % 8 & 1)) continue;
        *to = (int16_t)shifted(dot(work, rows, half), shift);
        to += step;
    }
    return to;
}

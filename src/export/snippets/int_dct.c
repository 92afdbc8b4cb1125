/* A DCT of n values needs sums and differences of x_i and x_(n-1-i), and the first halves of its rows: those of even
 * frequencies, then those of odd ones. Halves have an even length: perhaps a zero at the end. */
static size_t half_of(size_t n) { return (n + 3) / 4 * 2; }

static int32_t dot(const int16_t *a, const int16_t *b, size_t n)
{
    const int16_t *const end = a + n;
    int32_t sum = 0;
    for (; a != end; a += 2, b += 2) {
        sum += a[0] * b[0];
        sum += a[1] * b[1];
    }
    return sum;
}

/* cosines[k] = c cos(pi k / 2n), k = 0 .. n, then c / sqrt 2, which is all that frequency 0 has. Element i of row r
 * goes to to[r * row + i * column]. */
static void make_rows(const int16_t *cosines, size_t n, int16_t *to, size_t row, size_t column)
{
    const size_t half = (n + 1) / 2;
    for (size_t r = 0; r < n; r++, to += row) {
        const size_t frequency = r < half ? 2 * r : 2 * (r - half) + 1;
        int16_t *at = to;
        size_t phase = frequency;
        for (size_t i = 0; i < half_of(n); i++, at += column) {
            const size_t folded = phase > 2 * n ? 4 * n - phase : phase;
            *at = folded > n ? (int16_t)-cosines[2 * n - folded] : cosines[folded];
            if (r == 0) *at = cosines[n + 1];
            if (i >= half) *at = 0;
            phase += 2 * frequency;
            if (phase >= 4 * n) phase -= 4 * n;
        }
    }
}

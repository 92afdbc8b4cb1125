/* A DCT of n values, an even number, needs sums and differences of x_i and x_(n-1-i), and the first halves of its rows:
 * those of even frequencies, then those of odd ones. Of both there is an even number, perhaps one more than is needed. */
static size_t half_of(size_t n) { return (n + 3) / 4 * 2; }

/* Two rows stand in one array, the first in the upper halves of its numbers, the second in the lower ones: their products
 * with x. */
APART void two_products(const uint32_t *rows, const int32_t *x, size_t n, int32_t *products)
{
    const int32_t *const end = x + n;
    int32_t upper = 0, lower = 0;
    while (x != end) {
        const uint32_t row = *rows++;
        const int32_t factor = *x++;
        upper += (int16_t)(row >> 16) * factor;
        lower += (int16_t)row * factor;
    }
    products[0] = upper;
    products[1] = lower;
}

/* The halves of rows, in pairs: of a DCT those of two frequencies; of the way back those of two outputs, in which numbers
 * stand n behind each other. cosines[k] = c cos(pi k / 2n), k = 0 .. n; `all` is room for those up to 4n. Frequency 0 has a
 * phase that does not rise: 1 / sqrt 2. */
APART void make_rows(const int16_t *cosines, size_t n, uint32_t *to, size_t is_back, int16_t *all)
{
    const size_t half = half_of(n), full = 4 * n, step = is_back ? n : 1, next = is_back ? 1 : half;
    const size_t apart = is_back ? 0 : 4; /* how much faster the phase of the second row rises */
    for (size_t k = 0; k <= n; k++) {
        all[k] = all[full - k] = cosines[k];
        all[2 * n - k] = all[2 * n + k] = (int16_t)-cosines[k];
    }
    for (size_t parity = 0; parity < 2; parity++)
        for (size_t f = parity; f < 2 * half; f += is_back ? 2 : 4, to += next) {
            const size_t rise = is_back ? 4 * f : 2 * f;
            size_t one = f ? f : n / 2, other = is_back ? one + 2 * f : f + 2;
            for (uint32_t *at = to, *const end = to + (is_back ? half * half : half); at != end; at += step) {
                *at = (uint32_t)all[one] << 16 | (uint16_t)all[other];
                one += rise;
                if (one >= full) one -= full;
                other += rise + apart;
                if (other >= full) other -= full;
            }
        }
}

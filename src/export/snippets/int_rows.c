/* Products of rows with x. Values of b bits stand without a sign, 2^(b - 1) more than they are: in one number of 16 bits
 * those of one, two or four rows, in as many columns as it has room for; the first column highest, and in it the first row.
 * Numbers that have not been cut out hold what is above them, too, the sums of the rows before 16 times: sums are modulo
 * 2^32, and end within int32_t. */
APART const uint16_t *four_rows(const uint16_t *values, const int32_t *x, const int32_t *end, uint32_t *sums)
{
    uint32_t a = 0, b = 0, c = 0, d = 0;
    for (; x != end; x++) {
        const uint32_t factor = (uint32_t)*x, value = *values++;
        a += (value >> 12) * factor;
        b += (value >> 8) * factor;
        c += (value >> 4) * factor;
        d += value * factor;
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
    return values;
}

APART const uint16_t *two_rows(const uint16_t *values, const int32_t *x, const int32_t *end, uint32_t *sums)
{
    uint32_t a = 0, b = 0;
    while (x < end) {
        uint32_t value = *values++, factor = (uint32_t)*x++;
        a += (value >> 12) * factor;
        b += (value >> 8) * factor;
        value &= 255;
        factor = (uint32_t)*x++;
        a += (value >> 4) * factor;
        b += value * factor;
    }
    sums[0] = a;
    sums[1] = b;
    return values;
}

APART const uint16_t *one_row(const uint16_t *values, const int32_t *x, const int32_t *end, uint32_t *sums)
{
    uint32_t sum = 0;
    for (; x < end; x += 4) {
        const uint32_t value = *values++;
        sum += (value >> 12) * (uint32_t)x[0];
        sum += (value >> 8 & 15) * (uint32_t)x[1];
        sum += (value >> 4 & 15) * (uint32_t)x[2];
        sum += (value & 15) * (uint32_t)x[3];
    }
    sums[0] = sum;
    return values;
}

/* Of 8 bits. */
APART const uint16_t *wide_row(const uint16_t *values, const int32_t *x, const int32_t *end, uint32_t *sums)
{
    uint32_t sum = 0;
    for (; x < end; x += 2) {
        const uint32_t value = *values++;
        sum += (value >> 8) * (uint32_t)x[0];
        sum += (value & 255) * (uint32_t)x[1];
    }
    sums[0] = sum;
    return values;
}

/* The sums of some of the rows, after the first shift; returns of how many. `all` is the sum of x, which has three more
 * numbers that may be anything. */
static size_t some_rows(int is_wide, unsigned shift, const uint16_t **values, const int32_t *x, const int32_t *end,
                        uint32_t all, size_t rows, int32_t *sums)
{
    uint32_t found[4];
    size_t made = 1;
    if (WIDE && (!SLIM || is_wide)) {
        all *= 16;
        *values = wide_row(*values, x, end, found);
    } else if (rows >= 4) {
        made = 4;
        *values = four_rows(*values, x, end, found);
    } else if (!ODD_ROWS || rows >= 2) {
        made = 2;
        *values = two_rows(*values, x, end, found);
    } else
        *values = one_row(*values, x, end, found);
    all *= 8;
    for (size_t k = 0; k < made; k++) sums[k] = (int32_t)(found[k] - (k > 0 ? 16 * found[k - 1] : 0) - all) >> shift;
    return made;
}

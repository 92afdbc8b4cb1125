/* Values of 4 bits stand without a sign, 8 more than they are: in one number either those of four rows in a column, or
 * those of one row in four columns, the first one highest; `all` is 8 times the sum of x. Numbers that have not been cut
 * out hold what is above them, too: so sums are modulo 2^32, and end within int32_t. */
static const uint16_t *four_rows(const uint16_t *values, const int16_t *x, size_t count, uint32_t all, int32_t *sums)
{
    uint32_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t value = values[i], factor = (uint32_t)x[i];
        a += (value >> 12) * factor;
        b += (value >> 8) * factor;
        c += (value >> 4) * factor;
        d += value * factor;
    }
    sums[0] = (int32_t)(a - all);
    sums[1] = (int32_t)(b - 16 * a - all);
    sums[2] = (int32_t)(c - 16 * b - all);
    sums[3] = (int32_t)(d - 16 * c - all);
    return values + count;
}

static const uint16_t *one_row_4(const uint16_t *values, const int16_t *x, size_t count, uint32_t all, int32_t *sums)
{
    uint32_t sum = 0 - all;
    for (size_t i = 0; i < count; i += 4, x += 4) {
        const uint32_t value = *values++;
        sum += (value >> 12) * (uint32_t)x[0];
        sum += (value >> 8 & 15) * (uint32_t)x[1];
        sum += (value >> 4 & 15) * (uint32_t)x[2];
        sum += (value & 15) * (uint32_t)x[3];
    }
    sums[0] = (int32_t)sum;
    return values;
}

/* Values of 8 bits, 128 more than they are: those of a row, two to a number; `all` is 128 times the sum of x. */
static const uint16_t *one_row_8(const uint16_t *values, const int16_t *x, size_t count, uint32_t all, int32_t *sums)
{
    uint32_t sum = 0 - all;
    for (size_t i = 0; i < count; i += 2, x += 2) {
        const uint32_t value = *values++;
        sum += (value >> 8) * (uint32_t)x[0];
        sum += (value & 255) * (uint32_t)x[1];
    }
    sums[0] = (int32_t)sum;
    return values;
}

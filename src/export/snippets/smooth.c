/* Smooth functions of a block as products of even functions of one variable, of which tables have the first half: `count`
 * of them, of which all but four stand for a distance, with factors. */
static void moments(const float *x, size_t block, const float *tables, size_t count, float *found)
{
    for (size_t f = 0; f < count; f++, tables += block / 2) {
        found[f] = 0.0f;
        for (size_t c = 0; c < block / 2; c++) found[f] += tables[c] * (x[c] + x[block - 1 - c]);
    }
}

/* Adds to `sums` what a block with the coefficients a has for the functions along the outputs. */
static void smooth(const float *a, const float *found, const float *factors, size_t count, float *sums)
{
    const float half = a[6] * 0.707106781f;
    sums[0] += a[0] * found[0] + a[1] * found[1] + a[3] * found[2] + half * found[3];
    sums[1] += a[2] * found[0] + a[5] * found[1];
    sums[2] += a[4] * found[0];
    sums[3] += half * found[0];
    for (size_t f = 4; f < count; f++) sums[f] += a[7] * factors[f - 4] * found[f];
}

static void expand(const float *sums, size_t block, const float *tables, size_t count, float *t)
{
    for (size_t f = 0; f < count; f++, tables += block / 2)
        for (size_t r = 0; r < block / 2; r++) {
            t[r] += sums[f] * tables[r];
            t[block - 1 - r] += sums[f] * tables[r];
        }
}

/* Adds the products of a group's lists with x to y: `rows` sums side by side for each of `block` frequencies. Returns
 * where the values end. */
static const float *lists_f32(positions *p, const float *values, const float *x, float *y, size_t block, size_t rows)
{
    for (size_t i = 0; i < block; i++, y += rows) {
        size_t next = 0;
        for (size_t left = next_length(p); left > 0; left--) {
            const size_t column = next_column(p, next);
            for (size_t k = 0; k < rows; k++) y[k] += *values++ * x[column];
            next = column + 1;
        }
    }
    return values;
}

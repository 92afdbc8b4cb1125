/* Adds the products of a group's lists with x to y: `rows` sums side by side for each of `block` frequencies. */
static void lists_packed(positions *p, packed *values, const float *x, float *y, size_t block, size_t rows)
{
    for (size_t i = 0; i < block; i++, y += rows) {
        size_t next = 0, left = next_length(p);
        if (left == 0) continue;
        for (; left > 0; left--) {
            const size_t column = next_column(p, next);
            for (size_t k = 0; k < rows; k++) y[k] += next_value(values) * x[column];
            next = column + 1;
        }
        for (size_t k = 0; k < rows; k++) y[k] *= step_of(*values->steps++);
    }
}

/* The sums of a row; returns 1. */
static size_t some_rows(const matrix *m, const uint16_t **values, const int16_t *x, size_t count, uint32_t all,
                        size_t rows, int32_t *sums)
{
    (void)m;
    (void)rows;
    *values = one_row_8(*values, x, count, 128 * all, sums);
    return 1;
}

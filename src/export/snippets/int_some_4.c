/* The sums of four rows, or of one if there are fewer: of so many. */
static size_t some_rows(const matrix *m, const uint16_t **values, const int16_t *x, size_t count, uint32_t all,
                        size_t rows, int32_t *sums)
{
    (void)m;
    if (rows >= 4) {
        *values = four_rows(*values, x, count, 8 * all, sums);
        return 4;
    }
    *values = one_row_4(*values, x, count, 8 * all, sums);
    return 1;
}

/* The sums of four rows, or of one if values have 8 bits or there are fewer: of so many. */
static size_t some_rows(const matrix *m, const uint16_t **values, const int16_t *x, size_t count, uint32_t all,
                        size_t rows, int32_t *sums)
{
    if (!m->wide && rows >= 4) {
        *values = four_rows(*values, x, count, 8 * all, sums);
        return 4;
    }
    if (m->wide)
        *values = one_row_8(*values, x, count, 128 * all, sums);
    else
        *values = one_row_4(*values, x, count, 8 * all, sums);
    return 1;
}

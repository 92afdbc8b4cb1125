/* Gathers the columns of a list. A gap of 4 bits, the lower ones of a byte first, is the distance of a column from the one
 * before, or 0 for 15 that lead to none. Returns how many there are; *all is their sum. */
static size_t gather(const uint8_t *gaps, size_t bytes, const int16_t *x, int16_t *found, uint32_t *all)
{
    const uint8_t *const end = gaps + bytes;
    int16_t *to = found;
    uint32_t sum = 0;
    while (gaps != end) {
        unsigned both = *gaps++ + 256u; /* a bit that tells when both are done */
        for (; both > 1; both >>= 4) {
            const unsigned gap = both & 15;
            if (gap) {
                x += gap;
                *to = x[-1];
                sum += (uint32_t)*to++;
            } else
                x += 15;
        }
    }
    *all = sum;
    return (size_t)(to - found);
}

/* The product with a compressed matrix: group after group, for each frequency of the outputs a list, then block rows.
 * work: room for a group, the rows of a DCT, a list. */
static void lists(const matrix *m, const int16_t *h, int16_t *y, int32_t *whole, int16_t *work)
{
    const size_t block = m->block;
    int16_t *const group = work, *const rows_back = group + m->group * block;
    int16_t *const found = begin_outputs(m, rows_back);
    const uint8_t *gaps = m->gaps;
    const length_type *length = m->lengths;
    const uint16_t *values = m->values, *scales = m->scales;
    for (size_t first = 0; first < m->blocks; first += m->group) {
        const size_t rows = first + m->group < m->blocks ? m->group : m->blocks - first;
        for (size_t i = 0; i < block; i++) {
            uint32_t all;
            int32_t sums[4];
            const size_t count = gather(gaps, *length, h, found, &all);
            /* even frequencies come before odd ones */
            int16_t *to = group + (!m->cosines ? i : i % 2 ? (block + i) / 2 : i / 2);
            gaps += *length++;
            for (size_t row = 0; row < rows;) {
                const size_t made = some_rows(m, &values, found, count, all, rows - row, sums);
                for (size_t k = 0; k < made; k++, row++, to += block)
                    *to = (int16_t)shifted((sums[k] >> m->first) * *scales++, m->second);
            }
        }
        for (size_t row = 0; row < rows; row++) outputs(m, group + row * block, first + row, rows_back, y, whole);
    }
}

/* Goes on by half of `twice`, which is how a gap stands in its number. */
INSIDE void take(unsigned twice, const int16_t **x, int32_t **to, uint32_t *sum)
{
    *x += twice / 2;
    if (twice != 14) *sum += (uint32_t)(*(*to)++ = *(*x)++);
}

/* Gathers the columns of a list. A gap is how many columns are between two, or 7 that lead to none; five of them, of three
 * bits, are a number, the first lowest, above a bit that is 1 in the last number of a list. Returns the gaps of the next
 * list; *to becomes the end of the columns, *all their sum. */
APART const uint16_t *gather(const uint16_t *gaps, const int16_t *x, int32_t **to, uint32_t *all)
{
    int32_t *at = *to;
    uint32_t sum = 0;
    unsigned five;
    do {
        five = *gaps++;
        take(five & 14, &x, &at, &sum);
        take(five >> 3 & 14, &x, &at, &sum);
        take(five >> 6 & 14, &x, &at, &sum);
        take(five >> 9 & 14, &x, &at, &sum);
        take(five >> 12 & 14, &x, &at, &sum);
    } while (!(five & 1));
    *to = at;
    *all = sum;
    return gaps;
}

/* The product with a compressed matrix: group after group, for each frequency of the outputs a list, then block rows.
 * work: the rows of a DCT back, if there is one, a list or a block of outputs, a group. */
static void lists(const matrix *m, const int16_t *h, int16_t *y, int32_t *whole, int16_t *work)
{
    const size_t block = m->block;
    int32_t *const found = (int32_t *)(void *)(work + (BACK && m->cosines ? block * block / 2 : 0));
    int16_t *const group = (int16_t *)(void *)(found + m->longest);
    const uint16_t *gaps = m->gaps;
    const uint16_t *values = m->values;
    const scale_type *scales = m->scales;
    if (BACK && m->cosines) make_rows(m->cosines, block, (uint32_t *)(void *)work, 1, (int16_t *)found);
    for (size_t first = 0; first < m->blocks; first += m->group) {
        const size_t rows = first + m->group < m->blocks ? m->group : m->blocks - first;
        for (size_t i = 0; i < block; i++) {
            uint32_t all;
            int32_t sums[4], *end = found;
            /* even frequencies come before odd ones */
            int16_t *to = group + (!BACK || !m->cosines ? i : i % 2 ? (block + i) / 2 : i / 2);
            gaps = gather(gaps, h, &end, &all);
            for (size_t row = 0; row < rows;) {
                const size_t made = some_rows(m->wide, m->first, &values, found, end, all, rows - row, sums);
                for (size_t k = 0; k < made; k++, row++, to += block)
                    *to = (int16_t)shifted(sums[k] * scale_of(*scales++), m->second);
            }
        }
        for (size_t row = 0; row < rows; row++)
            outputs(m, group + row * block, (first + row) * block, work, found, y, whole);
    }
}

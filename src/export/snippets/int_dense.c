/* work: room for the inputs. */
static void dense(const matrix *m, const int16_t *x, int16_t *y, int32_t *whole, int16_t *work)
{
    const uint16_t *values = m->values;
    int32_t *const wide = (int32_t *)(void *)work;
    uint32_t all = 0;
    int32_t sums[4];
    for (size_t i = 0; i < m->in; i++) all += (uint32_t)(wide[i] = x[i]);
    for (size_t row = 0; row < m->out;) {
        const size_t made = some_rows(m->wide, m->first, &values, wide, wide + m->in, all, m->out - row, sums);
        for (size_t k = 0; k < made; k++, row++) put(m, row, sums[k] * scale_of(m->scales[row]), y, whole);
    }
}

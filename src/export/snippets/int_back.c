/* The rows of a DCT back, if there is one. Returns where they end. */
static int16_t *begin_outputs(const matrix *m, int16_t *rows)
{
    if (!m->cosines) return rows;
    make_rows(m->cosines, m->block, rows, 1, m->block);
    return rows + m->block * m->block / 2;
}

/* The outputs of a block row. */
static void outputs(const matrix *m, const int16_t *g, size_t row, const int16_t *rows, int16_t *y, int32_t *whole)
{
    const size_t n = m->block, half = n / 2, first = row * n, last = first + n - 1;
    for (size_t i = 0; i < half; i++, rows += n) {
        int32_t front = g[i] * 8192, back = g[n - 1 - i] * 8192;
        if (m->cosines) {
            const int32_t even = dot(g, rows, half), odd = dot(g + half, rows + half, half);
            front = even + odd;
            back = even - odd;
        }
        if (first + i < m->out) put(m, first + i, front, y, whole);
        if (last - i < m->out) put(m, last - i, back, y, whole);
    }
}

/* The two-dimensional DCT of an image: first its lines, then its columns, which become shorter and move together at the
 * beginning of h. Bits tell which frequencies are used: along lines, then along each column that is. */
static void image(const input_type *x, size_t height, size_t width, const int16_t *high, const int16_t *wide,
                  const uint8_t *used, unsigned first, unsigned second, int16_t *h, int16_t *work)
{
    const size_t longer = height > width ? height : width;
    uint32_t *const rows = (uint32_t *)(void *)work;
    int32_t *const folded = (int32_t *)(void *)(work + 2 * half_of(longer) * half_of(longer));
    int16_t *const line = (int16_t *)(folded + 2 * half_of(longer));
    int16_t *end = h, *to = h;
    make_rows(wide, width, rows, 0, line);
    for (size_t r = 0; r < height; r++) {
        for (size_t c = 0; c < width; c++) line[c] = *x++;
        end = forward(line, width, rows, used, first, h + r, height, folded);
    }
    used += (half_of(width) + 7) / 8 * 2;
    if (high != wide) make_rows(high, height, rows, 0, line);
    for (const int16_t *from = h; from + height <= end; from += height, used += (half_of(height) + 7) / 8 * 2)
        to = forward(from, height, rows, used, second, to, 1, folded);
}

/* The two-dimensional DCT of an image: first its lines, then its columns, which become shorter and move together at the
 * beginning of h. Bits tell which frequencies are used: along lines, then along each column that is. */
static void image(const input_type *x, size_t height, size_t width, const int16_t *high, const int16_t *wide,
                  const uint8_t *used, unsigned first, unsigned second, int16_t *h, int16_t *work)
{
    int16_t *const line = work, *const folded = line + width;
    int16_t *const rows = folded + 2 * half_of(height > width ? height : width);
    int16_t *end = h, *to = h;
    make_rows(wide, width, rows, half_of(width), 1);
    for (size_t r = 0; r < height; r++) {
        for (size_t c = 0; c < width; c++) line[c] = *x++;
        end = forward(line, width, rows, used, first, h + r, height, folded);
    }
    used += (width + 7) / 8;
    make_rows(high, height, rows, half_of(height), 1);
    for (const int16_t *from = h; from < end - height + 1; from += height, used += (height + 7) / 8)
        to = forward(from, height, rows, used, second, to, 1, folded);
}

/* The two-dimensional DCT of an image, coefficients (u, v) in zigzag order: by rising u + v, in turning directions.
 * `lines` has room for the image, `work` for its longer side. */
static void image(const float *x, size_t height, size_t width, const float *high, const float *wide, float *h,
                  float *lines, float *work)
{
    memcpy(lines, x, height * width * sizeof *x);
    for (size_t r = 0; r < height; r++) dct(lines + r * width, 1, width, wide, work);
    for (size_t c = 0; c < width; c++) dct(lines + c, width, height, high, work);
    for (size_t sum = 0; sum < height + width - 1; sum++) {
        const size_t first = sum < width ? 0 : sum - width + 1, last = sum < height ? sum : height - 1;
        for (size_t n = 0; n <= last - first; n++) {
            const size_t u = sum % 2 ? first + n : last - n;
            *h++ = lines[u * width + sum - u];
        }
    }
}

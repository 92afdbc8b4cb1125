/* A layer with a matrix. Sums of products become outputs by factors and shifts that keep all of it within int32_t:
 *
 *     (sum >> first) * scale of the row, of outputs that are transformed >> second, then their DCT
 *     (that + bias * factor) >> last, at most `most`
 */
typedef struct matrix {
    const uint16_t *gaps; /* columns of the lists */
    const uint16_t *values;
    const scale_type *scales;
    const bias_type *bias;  /* NULL: none */
    const int16_t *cosines; /* NULL: outputs are not transformed */
    size_t in, out;
    size_t block, blocks, group; /* rows of a block, of blocks, of blocks in a group */
    size_t longest;              /* room for a list or a block */
    int32_t factor, most;
    uint8_t first, second, last, relu, wide;
} matrix;

/* Of the 8 bits that a narrow scale has, the first one is a 1; the others stand behind a power of two. */
static int32_t scale_of(scale_type scale)
{
    return NARROW ? (int32_t)(128 | (scale & 127)) << (scale >> 7) : (int32_t)scale;
}

static int32_t shifted(int32_t value, unsigned shift) { return (value + ((int32_t)1 << shift >> 1)) >> shift; }

/* Output i of a layer: of the last one in `whole`. */
INSIDE void put(const matrix *m, size_t i, int32_t sum, int16_t *y, int32_t *whole)
{
    if (m->bias) sum += m->bias[i] * m->factor;
    if (m->relu && sum < 0) sum = 0;
    if (whole) {
        whole[i] = sum;
        return;
    }
    sum = shifted(sum, m->last);
    if (sum > m->most) sum = m->most;
    if (!m->relu && sum < -m->most) sum = -m->most;
    y[i] = (int16_t)sum;
}

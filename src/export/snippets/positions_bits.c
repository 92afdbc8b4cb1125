/* Columns of the lists as distances in Rice codes: ones and a zero, then as many bits as the zone of columns has.
 * The first of `widths` is for the lengths of lists, which stand as differences from their mean: 0, -1, 1, -2 .. */
typedef struct positions {
    const uint8_t *code; /* the first bit is the most significant of the first byte */
    const uint8_t *widths;
    size_t mean;
    unsigned shift; /* a zone has so many bits of a column */
    size_t at;      /* bits that have been read */
} positions;

static size_t next_bit(positions *p)
{
    const size_t bit = ((size_t)p->code[p->at / 8] >> (7 - p->at % 8)) & 1u;
    p->at++;
    return bit;
}

static size_t next_number(positions *p, unsigned width)
{
    size_t number = 0;
    while (next_bit(p)) number++;
    for (; width > 0; width--) number = 2 * number + next_bit(p);
    return number;
}

static size_t next_length(positions *p)
{
    const size_t number = next_number(p, p->widths[0]);
    return number % 2 ? p->mean - (number + 1) / 2 : p->mean + number / 2;
}

/* The column, `next` or behind it. */
static size_t next_column(positions *p, size_t next)
{
    return next + next_number(p, p->widths[1 + (next >> p->shift)]);
}

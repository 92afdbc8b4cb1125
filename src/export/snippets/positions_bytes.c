/* Lengths of lists, and their columns as distances: seven bits to a byte, the lowest first; the eighth says that more
 * follow. */
typedef struct positions {
    const uint8_t *code;
} positions;

static size_t next_number(positions *p)
{
    size_t number = *p->code & 127u;
    unsigned shift = 0;
    while (*p->code++ & 128u) {
        shift += 7;
        number |= (size_t)(*p->code & 127u) << shift;
    }
    return number;
}

static size_t next_length(positions *p) { return next_number(p); }

/* The column, `next` or behind it. */
static size_t next_column(positions *p, size_t next) { return next + next_number(p); }

/* Values of few bits: whole numbers of steps. Numbers stand without a sign, 2^(bits - 1) more than they are; a step is
 * the upper half of a float, and belongs to a row. */
typedef struct packed {
    const uint8_t *code; /* the first bit is the most significant of the first byte; a byte more than is needed */
    const uint16_t *steps;
    unsigned bits;
    size_t at; /* bits that have been read */
} packed;

static float next_value(packed *v)
{
    const uint8_t *bytes = v->code + v->at / 8;
    const unsigned both = (unsigned)bytes[0] << 8 | bytes[1];
    const unsigned number = (both >> (16 - v->bits - v->at % 8)) & ((1u << v->bits) - 1);
    v->at += v->bits;
    return (float)((int)number - (1 << (v->bits - 1)));
}

static float step_of(uint16_t upper)
{
    const uint32_t bits = (uint32_t)upper << 16;
    float step;
    memcpy(&step, &bits, sizeof step);
    return step;
}

/* Turns the queries and keys of a place: in each of `heads` heads of d numbers the pair n, n + d/2 by
 * place base^(-2n/d). */
static void rotary(float *qkv, size_t heads, size_t d, double base, size_t place)
{
    for (size_t n = 0; n < d / 2; n++) {
        const double angle = (double)place * pow(base, -2.0 * (double)n / (double)d);
        const float c = (float)cos(angle), s = (float)sin(angle);
        for (size_t h = 0; h < 2 * heads; h++) {
            float *a = qkv + h * d + n, *b = a + d / 2;
            const float turned = *a * c - *b * s;
            *b = *a * s + *b * c;
            *a = turned;
        }
    }
}

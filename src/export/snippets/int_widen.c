static void widen(const uint8_t *x, size_t n, int16_t *to)
{
    for (size_t i = 0; i < n; i++) to[i] = x[i];
}

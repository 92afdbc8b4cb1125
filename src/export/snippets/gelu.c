static void gelu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] *= 0.5f * (1.0f + erff(x[i] * 0.707106781f));
}

/* x / sqrt(mean of x^2 + epsilon); then comes the scale. */
static void rms_norm(float *x, size_t n, float epsilon)
{
    float squares = 0.0f, factor;
    for (size_t i = 0; i < n; i++) squares += x[i] * x[i];
    factor = 1.0f / sqrtf(squares / (float)n + epsilon);
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

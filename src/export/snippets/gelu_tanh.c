/* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static void gelu_tanh(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float twice = 1.595769122f * x[i] * (1.0f + 0.044715f * x[i] * x[i]);
        x[i] /= 1.0f + expf(-twice);
    }
}

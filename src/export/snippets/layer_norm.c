/* (x - mean of x) / sqrt(variance of x + epsilon); then comes the weight. */
static void layer_norm(float *x, size_t n, float epsilon)
{
    float mean = 0.0f, squares = 0.0f, factor;
    for (size_t i = 0; i < n; i++) mean += x[i];
    mean /= (float)n;
    for (size_t i = 0; i < n; i++) {
        x[i] -= mean;
        squares += x[i] * x[i];
    }
    factor = 1.0f / sqrtf(squares / (float)n + epsilon);
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

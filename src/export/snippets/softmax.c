static void softmax(float *x, size_t n)
{
    float largest = x[0], sum = 0.0f;
    for (size_t i = 1; i < n; i++)
        if (x[i] > largest) largest = x[i];
    for (size_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - largest);
        sum += x[i];
    }
    for (size_t i = 0; i < n; i++) x[i] /= sum;
}

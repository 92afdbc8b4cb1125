static void log_softmax(float *x, size_t n)
{
    float largest = x[0], sum, log_sum;
    for (size_t i = 1; i < n; i++)
        if (x[i] > largest) largest = x[i];
    sum = expf(x[0] - largest);
    for (size_t i = 1; i < n; i++) sum += expf(x[i] - largest);
    log_sum = largest + logf(sum);
    for (size_t i = 0; i < n; i++) x[i] -= log_sum;
}

/* Adds the product of a dense matrix, row after row, with x to y. */
static void dense_packed(packed weight, const float *x, size_t in, float *y, size_t out)
{
    for (size_t o = 0; o < out; o++) {
        float sum = 0.0f;
        for (size_t i = 0; i < in; i++) sum += next_value(&weight) * x[i];
        y[o] += step_of(*weight.steps++) * sum;
    }
}

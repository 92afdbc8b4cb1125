static float size_of(float value) { return value < 0.0f ? -value : value; }

/* The largest error, over the largest output. */
static float error_of(const float *y, const float *expected)
{
    float largest = 1e-30f, error = 0.0f;
    for (size_t i = 0; i < PLACES * OUTPUTS; i++) {
        const float off = size_of(y[i] - expected[i]);
        if (size_of(expected[i]) > largest) largest = size_of(expected[i]);
        if (!(off <= error)) error = off;
    }
    return error / largest;
}

/* Microseconds; 0 where there is no clock. */
static double time_of(float *y)
{
    const clock_t start = clock();
    clock_t now = start;
    unsigned long runs = 0;
    if (start == (clock_t)-1) return 0.0;
    while (now - start < CLOCKS_PER_SEC / 100 && runs < 1000000) {
        for (size_t n = 0; n < SAMPLES; n++, runs++) (void)test_sample(n, y);
        now = clock();
    }
    return 1e6 * (double)(now - start) / (double)CLOCKS_PER_SEC / (double)runs;
}

int main(void)
{
    static float y[PLACES * OUTPUTS];
    float worst = 0.0f;
    for (size_t n = 0; n < SAMPLES; n++) {
        float error;
        if (test_sample(n, y) != 0) return 1;
        error = error_of(y, test_outputs + n * PLACES * OUTPUTS);
        if (!(error <= worst)) worst = error;
    }
    printf("%s: %d samples, error %.2g, constants %lu bytes, scratch %lu bytes, %.1f us a sample\n", test_name,
           (int)SAMPLES, (double)worst, test_constants, (unsigned long)SCRATCH, time_of(y));
    if (worst <= test_tolerance) return 0;
    printf("%s: expected an error of at most %g\n", test_name, (double)test_tolerance);
    return 1;
}

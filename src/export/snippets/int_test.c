/* The place of the largest output. */
static int32_t class_of(const int32_t *y)
{
    int32_t best = 0;
    for (int32_t i = 1; i < OUTPUTS; i++)
        if (y[i] > y[best]) best = i;
    return best;
}

/* Microseconds. */
static double time_of(int32_t *y)
{
    const clock_t start = clock();
    clock_t now = start;
    unsigned long runs = 0;
    while (now - start < CLOCKS_PER_SEC / 100 && runs < 1000000) {
        for (size_t n = 0; n < SAMPLES; n++, runs++) (void)test_sample(n, y);
        now = clock();
    }
    return 1e6 * (double)(now - start) / (double)CLOCKS_PER_SEC / (double)runs;
}

int main(void)
{
    static int32_t y[OUTPUTS];
    int equal = 0, same = 0;
    for (size_t n = 0; n < SAMPLES; n++) {
        if (test_sample(n, y) != 0) return 1;
        equal += memcmp(y, test_outputs + n * OUTPUTS, sizeof y) == 0;
        same += class_of(y) == test_classes[n];
    }
    printf("%s: %d samples, %d of the library's class, constants %lu bytes, scratch %lu bytes, %.1f us a sample\n",
           test_name, (int)SAMPLES, same, test_constants, (unsigned long)SCRATCH, time_of(y));
    if (equal == SAMPLES) return 0;
    printf("%s: outputs of %d samples differ from those that are expected\n", test_name, (int)SAMPLES - equal);
    return 1;
}

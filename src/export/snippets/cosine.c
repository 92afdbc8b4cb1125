/* cosines[k] = sqrt(2 / n) cos(pi k / 2n), k = 0 .. n, go on to k < 4n. */
static float cosine(const float *cosines, size_t n, size_t k)
{
    if (k > 2 * n) k = 4 * n - k;
    return k > n ? -cosines[2 * n - k] : cosines[k];
}

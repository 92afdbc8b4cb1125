/* Selection by radix: the n-th largest key is found byte by byte from the top. Each pass counts, among the keys
 * that agree with the bytes known so far, the values of the next byte: 8 passes at most, whatever the keys are.
 */
#include "adapt/rank.h"

uint64_t rbe_rank_nth(const uint64_t *keys, size_t count, size_t n) {
    uint64_t known = 0, mask = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        size_t bins[256] = {0};
        for (size_t i = 0; i < count; i++)
            if ((keys[i] & mask) == known) bins[keys[i] >> shift & 255]++;
        size_t byte = 255;
        while (bins[byte] < n) n -= bins[byte--];
        known |= (uint64_t)byte << shift;
        mask |= (uint64_t)255 << shift;
        /* All keys of this beginning are wanted: the lowest possible one will do. */
        if (bins[byte] == n) break;
    }
    return known;
}

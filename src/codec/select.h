/* Which positions to keep: those of largest score whose joint cost stays within a limit.
 *
 * The threshold is found digit by digit from the top over the bits of the scores, whose order is that of
 * non-negative floats (a radix select): each round counts the costs of the scores that share the digits found so
 * far. The scores are seen once per round, in any number of pieces and the same order, and need not be kept.
 *
 *     rbe_selection_start(&s, limit, digit_bits);
 *     do rbe_selection_count(&s, piece), for each piece; while (rbe_selection_next(&s));
 *     rbe_selection_mark(&s, piece, keep), for each piece
 */
#ifndef RBE_CODEC_SELECT_H
#define RBE_CODEC_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* rows x columns scores, rows `stride` apart, none negative or NaN; keeping one costs `cost` values. */
typedef struct rbe_scores {
    const float *score;
    size_t rows, columns, stride;
    size_t cost;
} rbe_scores;

enum { RBE_COARSE_DIGIT = 16, RBE_FINE_DIGIT = 8 }; /* two rounds for much data, four for little */

typedef struct rbe_selection {
    unsigned digit_bits, shift;
    uint64_t found;      /* digits found so far; in the end the threshold */
    uint64_t rest;       /* what is left for scores at the threshold */
    uint64_t *histogram; /* 1 << digit_bits, the caller's */
} rbe_selection;

void rbe_selection_start(rbe_selection *s, uint64_t limit, unsigned digit_bits, uint64_t *histogram);
void rbe_selection_count(rbe_selection *s, const rbe_scores *scores);
bool rbe_selection_next(rbe_selection *s);

/* For several who count at once, each with a copy of the selection and a histogram of its own: sets its counts to
 * 0, and adds them to the selection's. */
void rbe_selection_clear(const rbe_selection *s, uint64_t *histogram);
void rbe_selection_merge(rbe_selection *s, const uint64_t *histogram);

/* keep (laid out like the scores) = 1 for scores above the threshold, and for the first at the threshold while the
 * limit allows it; else 0. A score of 0 is never kept. */
void rbe_selection_mark(rbe_selection *s, const rbe_scores *scores, uint8_t *keep);

#endif

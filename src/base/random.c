/* Seeded generators: GSL's MT19937 and its distributions, on memory of the library's own allocator.
 *
 * gsl_rng_alloc would call malloc and, when that fails, an error handler that aborts. A gsl_rng is a public struct
 * of a type and a state, so both can live in one block of ours. MT19937 takes 32 bits of seed; seed and stream are
 * mixed into them by splitmix64.
 */
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "base/alloc.h"
#include "base/splitmix.h"

struct rbe_rng {
    gsl_rng generator;
};

rbe_rng *rbe_rng_new(uint64_t seed, uint64_t stream) {
    size_t head = rbe_aligned(sizeof(rbe_rng));
    rbe_rng *rng = rbe_alloc(1, head + gsl_rng_mt19937->size);
    if (!rng) return NULL;
    rng->generator.type = gsl_rng_mt19937;
    rng->generator.state = (char *)rng + head;
    gsl_rng_set(&rng->generator, (unsigned long)(rbe_splitmix64(seed ^ rbe_splitmix64(stream)) >> 32));
    return rng;
}

void rbe_rng_free(rbe_rng *rng) { rbe_free(rng); }

double rbe_rng_uniform(rbe_rng *rng) { return rng ? gsl_rng_uniform(&rng->generator) : 0.0; }

double rbe_rng_normal(rbe_rng *rng) { return rng ? gsl_ran_gaussian_ziggurat(&rng->generator, 1.0) : 0.0; }

uint32_t rbe_rng_below(rbe_rng *rng, uint32_t bound) {
    if (!rng || bound <= 1) return 0; /* GSL calls its error handler for 0 */
    return (uint32_t)gsl_rng_uniform_int(&rng->generator, bound);
}

/* Seeded generators: GSL's MT19937 and its distributions, on memory of the library's own allocator.
 *
 * gsl_rng_alloc would call malloc and, when that fails, an error handler that aborts. A gsl_rng is a public struct
 * of a type and a state, so both can live in one block of ours. MT19937 takes 32 bits of seed; seed and stream are
 * mixed into them by the finaliser of splitmix64 (Steele, Lea and Flood 2014).
 */
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "base/alloc.h"

struct rbe_rng {
    gsl_rng generator;
};

static uint64_t splitmix64(uint64_t z) {
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

rbe_rng *rbe_rng_new(uint64_t seed, uint64_t stream) {
    size_t head = rbe_aligned(sizeof(rbe_rng));
    rbe_rng *rng = rbe_alloc(1, head + gsl_rng_mt19937->size);
    if (!rng) return NULL;
    rng->generator.type = gsl_rng_mt19937;
    rng->generator.state = (char *)rng + head;
    gsl_rng_set(&rng->generator, (unsigned long)(splitmix64(seed ^ splitmix64(stream)) >> 32));
    return rng;
}

void rbe_rng_free(rbe_rng *rng) { rbe_free(rng); }

double rbe_rng_uniform(rbe_rng *rng) { return gsl_rng_uniform(&rng->generator); }

double rbe_rng_normal(rbe_rng *rng) { return gsl_ran_gaussian_ziggurat(&rng->generator, 1.0); }

uint32_t rbe_rng_below(rbe_rng *rng, uint32_t bound) {
    if (bound <= 1) return 0; /* GSL calls its error handler for 0 */
    return (uint32_t)gsl_rng_uniform_int(&rng->generator, bound);
}

/* What several test suites need: errors of float arrays, random data, a gradient check, allocations that fail. */
#ifndef RBE_TESTS_SUPPORT_H
#define RBE_TESTS_SUPPORT_H

#include <check.h>
#include <stdatomic.h>

#include "rbe/tensor.h"

/* By how much random damage and random models are fewer under ASan, which takes ten times as long. */
#if defined(__SANITIZE_ADDRESS__)
enum { LESS_DAMAGE = 10 };
#else
enum { LESS_DAMAGE = 1 };
#endif

/* ||found - expected|| / ||expected||, or ||found|| if nothing but zeros is expected. NaN if there is one. */
double relative_error(const float *found, const double *expected, size_t count);

/* The same between two float arrays. */
double relative_difference(const float *found, const float *expected, size_t count);

/* Normal numbers of mean 0 and the given standard deviation. */
void fill_normal(float *values, size_t count, double deviation, uint64_t seed);

/* A zeroed tensor, to be freed with rbe_tensor_free; the test fails if there is no memory for it. */
rbe_tensor new_tensor(int dims, const size_t *shape);

/* Builds a function of the leaves on a tape. It may return any shape. */
typedef rbe_var *(*build_function)(rbe_tape *tape, rbe_var **leaves, void *user);

/* Compares the gradients of L = sum_i w_i output_i, w random but fixed, with finite differences in the values of
 * the leaves; returns the largest relative error of a leaf's gradient.
 *
 * Central differences of steps h and h/2, h = 1e-2 of a leaf's root mean square, are extrapolated: what remains of
 * the truncation is of order h^4. The float32 rounding of the outputs, about 1e-7 / h = 1e-5 of their size, grows
 * with sums inside the function; errors below 1e-3 are to be expected for smooth functions. Kinks (relu at 0) must
 * be further than h from the data. Every evaluation has a fresh tape, so dropout masks are the same. */
double gradient_error(build_function build, rbe_tensor *leaves, int count, void *user);

/* An allocator that fails one request and counts the blocks that were not released. */
typedef struct failing_allocator {
    size_t fail_at; /* the request that fails, counted from 1; 0: none */
    atomic_size_t requests;
    atomic_size_t outstanding;
} failing_allocator;

/* Makes it the library's allocator, which must hold nothing, with new counts. */
void failing_allocator_install(failing_allocator *allocator, size_t fail_at);

/* Restores malloc; the test fails if a block is outstanding. Returns whether the request to fail was reached. */
bool failing_allocator_remove(failing_allocator *allocator);

/* Runs `run` again and again, with another of its allocations failing each time, until none does: it must return
 * INSUFFICIENT_MEMORY as long as one fails, and RBE_OK then. Returns how many there are. */
size_t fail_each_allocation(rbe_status (*run)(void *user), void *user);

/* The same for a step, on a new tape each time. */
size_t fail_each_allocation_of_step(rbe_status (*step)(rbe_tape *tape));

/* Makes a locale of decimal commas and sets it; whether there is a localedef to make it with. */
bool use_decimal_commas(void);

#endif

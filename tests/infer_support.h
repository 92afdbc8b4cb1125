/* What the tests of the small library share: it stands beside the full one in the test program (bench/infer_library.h). */
#ifndef RBE_TESTS_INFER_SUPPORT_H
#define RBE_TESTS_INFER_SUPPORT_H

#include <check.h>

#include "bench/infer_library.h"
#include "io_support.h"

extern small_library small;

/* Loads it, if it is not there yet. Both libraries then use the instruction set of this name (NULL: the best one); false if
 * the processor has none such. */
bool small_library_load(const char *isa);

/* Names, kinds and parameters of a model of the full library and one of the small one are the same. (Their types and
 * transforms are others.) */
void check_same_model(const rbe_model *by_full, const rbe_model *by_small);

/* Outputs of a model by the library that it belongs to, for rows of normal numbers; to be freed. */
float *outputs_of_full(const rbe_model *model, size_t rows, uint64_t seed, size_t *count);
float *outputs_of_small(const rbe_model *model, size_t rows, uint64_t seed, size_t *count);

/* The model, stored so, gives the same bits in both libraries, for a few rows and for many; or, if dense products are in
 * it, the same to 1e-5 of the largest output. */
typedef enum exactness { SAME_BITS, ROUNDED } exactness;
void check_same_outputs(const rbe_model *model, const rbe_save_options *options, exactness wanted, const char *what);

/* |a - b| at most 1e-5 of the largest of a. */
void check_close(const float *a, const float *b, size_t count, const char *what);

TCase *infer_files_case(void);

#endif

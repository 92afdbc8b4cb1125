/* The test suites: one for each room of the library, a few for the larger ones. */
#ifndef RBE_TESTS_SUITES_H
#define RBE_TESTS_SUITES_H

#include <check.h>

Suite *base_suite(void);
Suite *parallel_suite(void);
Suite *processes_suite(void);
Suite *ranks_suite(void);
Suite *bits_suite(void);
Suite *tensor_suite(void);
Suite *operations_suite(void);
Suite *shapes_suite(void);
Suite *own_operations_suite(void);
Suite *attention_suite(void);
Suite *gpt_suite(void);
Suite *text_suite(void);
Suite *limits_suite(void);
Suite *codec_suite(void);
Suite *sides_suite(void);
Suite *compress_suite(void);
Suite *specification_suite(void);
Suite *kernels_suite(void);
Suite *linear_suite(void);
Suite *nn_suite(void);
Suite *params_suite(void);
Suite *trees_suite(void);
Suite *recurrent_suite(void);
Suite *safe_suite(void);
Suite *threads_suite(void);
Suite *optim_suite(void);
Suite *positions_suite(void);
Suite *extremes_suite(void);
Suite *growth_suite(void);
Suite *quantise_suite(void);
Suite *prune_suite(void);
Suite *repair_suite(void);
Suite *tune_suite(void);
Suite *data_suite(void);
Suite *dataset_suite(void);
Suite *augment_suite(void);
Suite *io_suite(void);
Suite *packed_suite(void);
Suite *infer_suite(void);
Suite *export_suite(void);
Suite *faults_suite(void);
Suite *train_suite(void);
Suite *checkpoint_suite(void);
Suite *predict_suite(void);
Suite *best_suite(void);
Suite *step_suite(void);
Suite *losses_suite(void);
Suite *metrics_suite(void);
Suite *misuse_suite(void);
Suite *sensitivity_suite(void);

#endif

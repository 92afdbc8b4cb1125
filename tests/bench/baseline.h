/* What OpenBLAS is to be measured by: kernels that suit the processor, and what the processor can do at most. */
#ifndef BENCH_BASELINE_H
#define BENCH_BASELINE_H

/* Ends the program if OpenBLAS's kernels are older than the processor: ratios against them would flatter. After
 * example_parse, which starts the program again with better ones where there are any. */
void bench_require_kernels(void);

/* Runs fused multiply-adds of the processor's widest vectors for about 0.1 ms, in registers only, on independent
 * chains; gives their number of floating-point operations. What they reach per second is the peak of one core, at the
 * present clock. */
double bench_multiply_add(void);

#endif

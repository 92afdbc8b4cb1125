/* APART: where the time goes. These have enough registers by themselves; where there are only eight (Thumb-1) they are fast
 * even if the rest is to be small. INSIDE: what is better off where it is called. */
#if defined(__thumb__) && !defined(__thumb2__) && defined(__GNUC__) && !defined(__clang__)
#define APART __attribute__((noinline, optimize("O2"))) static
#elif defined(__GNUC__)
#define APART __attribute__((noinline)) static
#else
#define APART static
#endif
#if defined(__GNUC__)
#define INSIDE __attribute__((always_inline)) static inline
#else
#define INSIDE static inline
#endif

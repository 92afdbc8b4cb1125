/* What a call takes of a Cortex-M, measured by startup.c. Elsewhere nothing is measured. */
#ifndef BOARD_H
#define BOARD_H

#ifdef __ARM_ARCH_PROFILE
void measure_begin(void);
unsigned long measure_instructions(void); /* since then; true in qemu -icount shift=0 alone, below 600 million */
unsigned long measure_stack(void);        /* bytes below the caller's own */
#else
static void measure_begin(void) {}
static unsigned long measure_instructions(void) { return 0; }
static unsigned long measure_stack(void) { return 0; }
#endif

#endif

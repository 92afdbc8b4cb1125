/* What runs on a Cortex-M before main: the vectors, memory as C expects it, and files and output through the debugger or
 * qemu (semihosting, -lrdimon). Then instructions and stack of a call, for board.h.
 */
#include "board.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Addresses of the linker script; that of a size is the number itself. */
extern char data_start[], data_image[], data_size[], bss_start[], bss_size[];
extern void stack_top(void); /* an address, too, of the type of the other vectors */
extern void initialise_monitor_handles(void);
extern int main(void);

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

void reset(void) {
#ifdef __ARM_FP
    REGISTER(0xE000ED88) |= 0xFu << 20; /* the floating-point unit may be used */
    __asm volatile("dsb\n isb");
#endif
    memcpy(data_start, data_image, (size_t)data_size);
    memset(bss_start, 0, (size_t)bss_size);
    initialise_monitor_handles();
    const int status = main();
    fflush(NULL);
    _Exit(status);
}

/* A fault ends the program; nothing else interrupts it. */
static void fault(void) { _Exit(70); }

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {stack_top, reset, fault, fault,
                                                                                     fault,     fault, fault};

/* ---- what a call takes --------------------------------------------------------------------------------------------- */

enum {
    PAINTED = 4096, /* bytes of stack that are looked at */
    SPARED = 16,    /* of them those that these functions use themselves */
    PER_TICK = 40,  /* instructions while the timer of qemu's board goes on by one, with -icount shift=0 */
    TIMER = 0xFFFFFF
};

static unsigned char *stack_now(void) {
    unsigned char *at;
    __asm volatile("mov %0, sp" : "=r"(at));
    return at;
}

void measure_begin(void) {
    volatile unsigned char *const at = stack_now();
    for (int n = SPARED; n < PAINTED; n++) at[-n] = 0xA5;
    REGISTER(0xE000E014) = TIMER; /* SysTick: from here down to 0, and again */
    REGISTER(0xE000E018) = 0;
    REGISTER(0xE000E010) = 5;
}

unsigned long measure_instructions(void) { return PER_TICK * ((TIMER - REGISTER(0xE000E018)) & TIMER); }

unsigned long measure_stack(void) {
    const volatile unsigned char *const at = stack_now();
    int n = PAINTED - 1;
    while (n >= SPARED && at[-n] == 0xA5) n--;
    return n < SPARED ? 0 : (unsigned long)n;
}

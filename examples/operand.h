/* A program's first argument, before its options: the file it works on. */
#ifndef RBE_EXAMPLES_OPERAND_H
#define RBE_EXAMPLES_OPERAND_H

#include "common.h"

/* Takes a file's name off the command line, which example_parse then reads as usual; NULL if it begins with an
 * option. */
static inline const char *example_operand(int *argc, char ***argv) {
    if (*argc < 2 || (*argv)[1][0] == '-') return NULL;
    const char *operand = (*argv)[1];
    (*argv)[1] = (*argv)[0];
    ++*argv;
    --*argc;
    return operand;
}

#endif

/* An environment in which OpenBLAS works as it can. */
#ifndef RBE_EXAMPLES_OPENBLAS_H
#define RBE_EXAMPLES_OPENBLAS_H

/* Starts the program again, once, where OpenBLAS would be several times too slow or hang. If that is not what the
 * environment asks for, it says so on stderr, in a line that begins with the program's name. Warnings of the library are
 * printed from here on. Called by example_parse; the first call counts. */
void example_start_well(const char *program, char **argv);

#endif

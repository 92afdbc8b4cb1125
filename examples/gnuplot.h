/* gnuplot at the other end of a pipe: script and data go through it, so that nothing but the picture is left. */
#ifndef RBE_EXAMPLES_GNUPLOT_H
#define RBE_EXAMPLES_GNUPLOT_H

#include <stdio.h>

/* Begins a PNG file of that size in pixels. Ends the program on failure, as does the end of it. */
FILE *gnuplot_open(const char *path, int width, int height);
void gnuplot_close(FILE *gnuplot, const char *path);

/* Writes a string of gnuplot's, and the end of the line. */
void gnuplot_string(FILE *gnuplot, const char *text);

#endif

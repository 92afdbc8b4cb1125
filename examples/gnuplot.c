#include "gnuplot.h"

#include <signal.h>

#include "common.h"

FILE *gnuplot_open(const char *path, int width, int height) {
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN); /* if there is no gnuplot: pclose says so */
    FILE *gnuplot = example_need(popen("gnuplot", "w"));
    fprintf(gnuplot, "set terminal pngcairo size %d,%d font 'DejaVu Sans,18' noenhanced\nset output ", width, height);
    gnuplot_string(gnuplot, path);
    return gnuplot;
}

void gnuplot_close(FILE *gnuplot, const char *path) {
    if (pclose(gnuplot) != 0) example_fail(1, "%s: gnuplot failed, or is not installed (scripts/deps.sh)", path);
}

void gnuplot_string(FILE *gnuplot, const char *text) {
    fputc('\'', gnuplot);
    for (; *text; text++) fprintf(gnuplot, *text == '\'' ? "''" : "%c", *text);
    fputs("'\n", gnuplot);
}

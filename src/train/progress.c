/* The progress bar.
 *
 *     dense  epoch 3/8 [#########>-----------]  31%  loss 0.1234  error 3.45 %  ETA 0:12
 *     dense  epoch 2/8   train loss 0.1301  error 3.90 %   test loss 0.1420  error 4.20 +- 0.63 %   1.9 s
 *     net    epoch 2/8   train loss 0.1301  r2 0.9133   test loss 0.1420  r2 0.9018   1.9 s
 *
 * The first form is redrawn in place, on a terminal only, at most ten times a second, and is as wide as the
 * terminal. The second is written once per epoch and stays.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "train/progress.h"

#define DRAW_INTERVAL 0.1
#define WIDEST_LINE 120
#define WIDEST_BAR 40
#define NARROWEST_BAR 5

void rbe_bar_open(rbe_bar *bar, FILE *out, const char *label, const rbe_metric *metric) {
    *bar = (rbe_bar){.out = out, .label = label ? label : "", .metric = metric, .terminal = out && isatty(fileno(out))};
}

/* Columns that a line may take: one less than there are, for a full line would wrap on some terminals. */
static int line_width(const rbe_bar *bar) {
    struct winsize size;
    int columns = 80;
    if (ioctl(fileno(bar->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) columns = size.ws_col;
    return columns - 1 < WIDEST_LINE ? columns - 1 : WIDEST_LINE;
}

/* "0:07", "12:34", "3:05:00". */
static void format_duration(char *text, size_t size, double seconds) {
    unsigned long s = (unsigned long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, size, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, size, "%lu:%02lu", s / 60, s % 60);
}

/* "dense  epoch  3/15"; as wide for every epoch. */
static int format_epoch(char *text, size_t size, const rbe_bar *bar, const rbe_progress *p) {
    int digits = snprintf(NULL, 0, "%zu", p->epochs);
    return snprintf(text, size, "%.40s%sepoch %*zu/%zu", bar->label, bar->label[0] ? "  " : "", digits, p->epoch + 1,
                    p->epochs);
}

#define MEANS_SIZE 128

/* "loss 0.1234  error 3.45 %", "loss 0.1234  r2 0.9133", "loss 0.1234"; an error is `width` wide. */
static int format_means(char text[MEANS_SIZE], const rbe_bar *bar, double loss, double metric, int width) {
    if (bar->metric == rbe_metric_error)
        return snprintf(text, MEANS_SIZE, "loss %.4f  error %*.2f %%", loss, width, 100.0 * metric);
    if (bar->metric->value) return snprintf(text, MEANS_SIZE, "loss %.4f  %s %.4g", loss, bar->metric->name, metric);
    return snprintf(text, MEANS_SIZE, "loss %.4f", loss);
}

static void clear_line(rbe_bar *bar) {
    if (bar->drawn) fputs("\r\033[K", bar->out);
    bar->drawn = false;
}

static void draw(rbe_bar *bar, const rbe_progress *p) {
    double done = (double)(p->step + 1) / (double)p->steps;
    char left[32], head[96], means[MEANS_SIZE], tail[MEANS_SIZE + 64], cells[WIDEST_BAR + 1];
    format_duration(left, sizeof left, p->seconds * (1.0 - done) / done);
    int head_width = format_epoch(head, sizeof head, bar, p);
    format_means(means, bar, p->mean_loss, p->mean_metric, 0);
    int tail_width = snprintf(tail, sizeof tail, "%3.0f%%  %s  ETA %s", 100.0 * done, means, left);
    int room = line_width(bar);
    int width = room - head_width - tail_width - 5; /* " [" before the bar, "] " behind, one to spare */
    if (width > WIDEST_BAR) width = WIDEST_BAR;
    clear_line(bar);
    if (width >= NARROWEST_BAR) {
        int filled = (int)(done * width);
        memset(cells, '-', (size_t)width);
        memset(cells, '#', (size_t)filled);
        if (filled < width) cells[filled] = '>';
        fprintf(bar->out, "%s [%.*s] %s", head, width, cells, tail);
    } else {
        char line[320];
        snprintf(line, sizeof line, "%s %s", head, tail);
        fprintf(bar->out, "%.*s", room > 0 ? room : 0, line);
    }
    bar->drawn = true;
    fflush(bar->out);
}

void rbe_bar_step(rbe_bar *bar, const rbe_progress *progress) {
    if (!bar->terminal || progress->seconds < bar->next_due) return;
    bar->next_due = progress->seconds + DRAW_INTERVAL;
    draw(bar, progress);
}

void rbe_bar_epoch(rbe_bar *bar, const rbe_progress *p) {
    if (!bar->out) return;
    clear_line(bar);
    char head[96], means[MEANS_SIZE];
    format_epoch(head, sizeof head, bar, p);
    format_means(means, bar, p->mean_loss, p->mean_metric, 5);
    fprintf(bar->out, "%s   train %s", head, means);
    if (p->test && bar->metric == rbe_metric_error)
        fprintf(bar->out, "   test loss %.4f  error %5.2f +- %.2f %%", p->test->loss, 100.0 * p->test->error,
                100.0 * p->test->error_uncertainty);
    else if (p->test) {
        format_means(means, bar, p->test->loss, p->test->metric, 0);
        fprintf(bar->out, "   test %s", means);
    }
    fprintf(bar->out, "   %.1f s\n", p->seconds);
    fflush(bar->out);
}

void rbe_bar_note(rbe_bar *bar, const char *text) {
    if (!bar->out) return;
    clear_line(bar);
    fprintf(bar->out, "%.40s%s%s\n", bar->label, bar->label[0] ? "  " : "", text);
    fflush(bar->out);
}

void rbe_bar_close(rbe_bar *bar) {
    if (!bar->out) return;
    clear_line(bar);
    fflush(bar->out);
}

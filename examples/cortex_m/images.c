/* Runs an exported classifier over test images and compares it with the library: on a computer, or on a Cortex-M.
 *
 * Reads the files "images", "labels" and "classes" of the current folder, IDX without compression; "classes" is what the
 * library answers (classify --classes). The net's name is "net". Types of another export than the float one are told by
 * -DINPUT=uint8_t, which takes the pixels as they are, and -DOUTPUT=.
 */
#include <stdint.h>
#include <stdio.h>

#include "board.h"
#include "net.h"

#ifdef INPUT
#define PIXEL(byte) (byte)
#else
#define INPUT float
#define PIXEL(byte) ((float)(byte) / 255.0f)
#endif
#ifndef OUTPUT
#define OUTPUT float
#endif

static unsigned char scratch[NET_SCRATCH], bytes[NET_INPUTS];
static INPUT x[NET_INPUTS];
static OUTPUT y[NET_OUTPUTS];

/* Big-endian, as IDX has it. */
static unsigned long read_number(FILE *file) {
    unsigned char four[4] = {0};
    if (fread(four, 1, 4, file) != 4) return 0;
    return (unsigned long)four[0] << 24 | (unsigned long)four[1] << 16 | (unsigned long)four[2] << 8 | four[3];
}

/* The file behind its header, if the samples have `dims` dimensions and `width` values; *count is how many there are. */
static FILE *open_idx(const char *name, int dims, unsigned long width, unsigned long *count) {
    FILE *file = fopen(name, "rb");
    if (!file) return NULL;
    const unsigned long magic = read_number(file);
    *count = read_number(file);
    unsigned long values = 1;
    for (int n = 0; n < dims; n++) values *= read_number(file);
    if (magic == 0x801ul + (unsigned long)dims && values == width && *count > 0) return file;
    fclose(file);
    return NULL;
}

static int largest(void) {
    int best = 0;
    for (int n = 1; n < NET_OUTPUTS; n++)
        if (y[n] > y[best]) best = n;
    return best;
}

/* The largest numbers that a call took. */
static unsigned long instructions, stack;

static int class_of_image(void) {
    for (int i = 0; i < NET_INPUTS; i++) x[i] = PIXEL(bytes[i]);
    measure_begin();
    if (net_predict(x, y, scratch) != 0) return -1;
    const unsigned long counted = measure_instructions(), used = measure_stack();
    if (counted > instructions) instructions = counted;
    if (used > stack) stack = used;
    return largest();
}

int main(void) {
    unsigned long count = 0, labelled = 0, classified = 0, wrong = 0, different = 0;
    FILE *images = open_idx("images", 2, NET_INPUTS, &count), *labels = open_idx("labels", 0, 1, &labelled),
         *classes = open_idx("classes", 0, 1, &classified);
    if (!images || !labels || !classes || labelled != count || classified != count) {
        printf("expected files images, labels and classes of equally many samples, images of %d pixels\n", NET_INPUTS);
        return 1;
    }
    for (unsigned long n = 0; n < count; n++) {
        if (fread(bytes, 1, NET_INPUTS, images) != NET_INPUTS) {
            printf("images: expected %lu, found %lu\n", count, n);
            return 1;
        }
        const int found = class_of_image();
        wrong += found != fgetc(labels);
        different += found != fgetc(classes);
    }
    printf("images %lu wrong %lu different %lu scratch %lu input %lu output %lu stack %lu instructions %lu\n", count,
           wrong, different, (unsigned long)NET_SCRATCH, (unsigned long)sizeof x, (unsigned long)sizeof y, stack,
           instructions);
    return 0;
}

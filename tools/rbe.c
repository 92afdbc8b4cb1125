/* rbe COMMAND ...: the example programs in one. Makefile gives the main of examples/NAME.c the name NAME_main; a command
 * and the program of its own are the same code.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "../examples/openblas.h"
#include "rbe/base.h"

/* Name of the command, of its source, and what it does. */
#define COMMANDS(X)                                                                                                    \
    X("train", train_digits, "trains a classifier of digits, dense or compressed")                                     \
    X("classify", classify, "measures the accuracy of a stored classifier")                                            \
    X("train-text", char_model, "trains a transformer on the characters of a text")                                    \
    X("generate", generate, "writes text with such a transformer")                                                     \
    X("regression", regression, "learns a column of a table from the others, and predicts it")                         \
    X("autoencoder", autoencoder, "trains an autoencoder of digits")                                                   \
    X("import", import_torch, "makes a model of the weights that PyTorch has trained")                                 \
    X("export", export_c, "writes a model as C source, with a test")                                                   \
    X("inspect", inspect, "lists and draws the layers of a model, or the matrices of a file")                          \
    X("compress", compress_weights, "compresses the matrices of a safetensors file")                                   \
    X("compress-digits", compress_digits, "compresses a trained classifier of digits, fitted to its activations")      \
    X("expand", expand, "makes compressed matrices dense again")                                                       \
    X("digits", make_digits, "generates a data set of digits")                                                         \
    X("frontier", frontier, "measures the error that a classifier of a given size reaches")                            \
    X("growth", growth, "compares grown positions with static ones and with dense networks")                           \
    X("prune", prune_sweep, "compares pruning by every score and at thresholds")                                       \
    X("tune", tune_blocks, "compares block sizes by memory, speed and accuracy")

#define DECLARE(name, source, purpose) int source##_main(int argc, char **argv);
COMMANDS(DECLARE)
#undef DECLARE

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *purpose;
} command;

#define ROW(name, source, purpose) {name, source##_main, purpose},
static const command commands[] = {COMMANDS(ROW)};
#undef ROW

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static const command *command_named(const char *name) {
    for (size_t n = 0; n < COMMAND_COUNT; n++)
        if (strcmp(commands[n].name, name) == 0) return &commands[n];
    return NULL;
}

static int wrong(const char *what, const char *found) {
    if (found)
        fprintf(stderr, "rbe: %s \"%s\"\n", what, found);
    else
        fprintf(stderr, "rbe: %s\n", what);
    fprintf(stderr, "Try 'rbe --help'.\n");
    return 2;
}

/* The exit code after what has been printed. */
static int printed(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    perror("rbe: the output is lost");
    return 1;
}

static int print_help(void) {
    printf("Usage: rbe COMMAND [options] ...\n"
           "Neural networks whose linear layers are trained, stored and run in compressed form.\n\n");
    for (size_t n = 0; n < COMMAND_COUNT; n++) printf("  %-17s %s\n", commands[n].name, commands[n].purpose);
    printf("\n  help COMMAND      print the options of a command: rbe COMMAND --help\n"
           "  -h, --help        print this and exit\n"
           "  --version         print the version and exit\n");
    return printed();
}

/* `arguments` are those of the command, behind a place for its name. */
static int run(const command *c, int count, char **arguments, char **all) {
    static char name[32]; /* also of warnings, to the end */
    snprintf(name, sizeof name, "rbe %s", c->name);
    example_start_well(name, all);
    arguments[0] = name;
    return c->run(count, arguments);
}

int main(int argc, char **argv) {
    if (argc < 2) return wrong("expected a command", NULL);
    const char *first = argv[1];
    const bool help = strcmp(first, "help") == 0;
    if (strcmp(first, "--version") == 0) {
        printf("rbe %s\n", rbe_version());
        return printed();
    }
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || (help && argc == 2)) return print_help();
    if (help && argc > 3) return wrong("unexpected argument", argv[3]);
    const command *c = command_named(argv[help ? 2 : 1]);
    if (!c) return wrong(first[0] == '-' ? "unknown option" : "unknown command", argv[help ? 2 : 1]);
    char *ask[] = {NULL, "--help", NULL};
    return help ? run(c, 2, ask, argv) : run(c, argc - 1, argv + 1, argv);
}

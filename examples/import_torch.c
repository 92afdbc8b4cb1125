/* A network that PyTorch has trained becomes a stored model of this library:
 *
 *     torch: safetensors.torch.save_file(net.state_dict(), "net.safetensors")
 *     import_torch net.safetensors "body.0 relu body.2 relu head" --calibrate inputs.npy -o model.safetensors
 *
 * The line says which layers and operations follow each other. Layers are compressed one after the other, each fitted
 * to what the compressed ones before it make of the network's inputs. By default a layer gets the fewest values that
 * keep the error of its outputs at 0.1; the last layer, whose outputs are the answers, stays dense, and so does one that is
 * smaller than a block or that compression would not make smaller.
 */
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compression.h"
#include "tensors.h"

typedef struct settings {
    const char *in, *network, *out, *select, *calibrate;
    bool left_over;
    size_t threads;
    compression compression;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.compression = compression_default()};
    example_option options[7 + COMPRESSION_OPTIONS] = {
        {"IN.safetensors", EXAMPLE_FILE, &s.in, NULL, "a state_dict in a safetensors file", 0, 0},
        {"NETWORK", EXAMPLE_FILE, &s.network, NULL,
         "its layers and operations in their order, \"body.0 relu body.2 relu head\"", 0, 0},
        {"out", EXAMPLE_TEXT, &s.out, "FILE", "the model file to write", 0, 0},
        {"calibrate", EXAMPLE_TEXT, &s.calibrate, "FILE",
         "inputs of the network (.npy, samples x in): layers are fitted to them, and biases corrected", 0, 0},
        {"select", EXAMPLE_TEXT, &s.select, "PATTERN",
         "which layers to compress, by name: * and ? stand for anything (default: all but small ones and the last)", 0,
         0},
        {"allow-left-over", EXAMPLE_FLAG, &s.left_over, NULL, "ignore tensors that the network does not name", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
    };
    compression_add_options(&s.compression, options + 7);
    example_parse(argc, argv, "Turns a network that PyTorch has trained into a stored model.", options,
                  sizeof options / sizeof *options);
    tensor_check_output(s.out, s.in);
    tensor_check_output(s.out, s.calibrate);
    compression_check(&s.compression);
    return s;
}

/* ---- the network --------------------------------------------------------------------------------------------- */

/* A word of the line: a layer, or an operation where the file has no such layer. */
typedef struct step {
    char name[RBE_NAME_SIZE];
    rbe_operation *operation; /* NULL: a layer */
    size_t first;             /* the first step of this name: its weights are shared */
} step;

typedef struct network {
    step *steps;
    size_t count, last; /* last: the last layer's number, first place of its name */
} network;

static bool has_part(const rbe_tensor_file *file, const char *name, const char *part) {
    char full[2 * RBE_NAME_SIZE];
    snprintf(full, sizeof full, "%s.%s", name, part);
    return rbe_tensor_file_find(file, full) < rbe_tensor_file_count(file);
}

static step read_step(const rbe_tensor_file *file, const char *path, const char *word, size_t length) {
    step s = {{0}, NULL, 0};
    if (length >= sizeof s.name)
        example_fail(2, "\"%.*s\": expected a name of fewer than %d bytes", (int)length, word, RBE_NAME_SIZE);
    memcpy(s.name, word, length);
    if (has_part(file, s.name, "weight")) return s;
    s.operation = rbe_operation_named(s.name);
    if (!s.operation)
        example_fail(1, "%s: there is no tensor %s.weight, and %s is no %s", path, s.name, s.name, rbe_last_error());
    return s;
}

static network read_network(const settings *s, const rbe_tensor_file *file) {
    network net = {.steps = example_take(strlen(s->network), sizeof *net.steps)};
    bool any = false;
    for (const char *at = s->network; at += strspn(at, " \t\n"), *at;) {
        size_t length = strcspn(at, " \t\n"), n = net.count++;
        net.steps[n] = read_step(file, s->in, at, length);
        net.steps[n].first = n;
        at += length;
        if (net.steps[n].operation) continue;
        for (size_t k = n; k-- > 0;)
            if (strcmp(net.steps[k].name, net.steps[n].name) == 0) net.steps[n].first = k;
        net.last = net.steps[n].first;
        any = true;
    }
    if (!any) example_fail(2, "expected a network with a layer, found \"%s\"", s->network);
    return net;
}

/* Ends the program if the network leaves out a tensor: most likely a layer has been forgotten. */
static void check_left_over(const settings *s, const rbe_tensor_file *file, const network *net) {
    const rbe_tensor_info *info;
    for (size_t n = 0; !s->left_over && (info = rbe_tensor_file_at(file, n)); n++) {
        const char *dot = strrchr(info->name, '.');
        bool used = false;
        for (size_t k = 0; dot && k < net->count; k++)
            used |= !net->steps[k].operation && strlen(net->steps[k].name) == (size_t)(dot - info->name) &&
                    strncmp(net->steps[k].name, info->name, (size_t)(dot - info->name)) == 0 &&
                    (strcmp(dot, ".weight") == 0 || strcmp(dot, ".bias") == 0);
        if (!used) example_fail(1, "%s: the network does not name tensor %s (--allow-left-over)", s->in, info->name);
    }
}

/* The dense network. */
static rbe_model *dense_model(const rbe_tensor_file *file, const network *net) {
    rbe_model *model = example_need(rbe_model_new());
    rbe_layer **layers = example_take(net->count, sizeof *layers);
    for (size_t n = 0; n < net->count; n++) {
        const step *s = &net->steps[n];
        if (s->operation) {
            example_require(rbe_model_apply(model, s->operation));
            continue;
        }
        layers[n] = s->first < n ? layers[s->first] : example_need(rbe_dense_from_file(file, s->name));
        example_require(rbe_model_add(model, layers[n]));
    }
    free(layers);
    return model;
}

/* ---- values on their way through the network ------------------------------------------------------------------- */

enum { ROWS_AT_ONCE = 1024 };

/* y = layer(x), the new samples; x is freed. */
static void pass_through(const rbe_layer *layer, rbe_tensor *x) {
    size_t rows = rbe_tensor_rows(x), in = rbe_tensor_columns(x);
    size_t out = rbe_layer_outputs(layer) ? rbe_layer_outputs(layer) : in;
    float *y = example_take(rows * out, sizeof *y);
    rbe_tape *tape = example_need(rbe_tape_new(&(rbe_tape_options){.inference = true}));
    for (size_t n = 0; n < rows; n += ROWS_AT_ONCE) {
        size_t count = rows - n < ROWS_AT_ONCE ? rows - n : ROWS_AT_ONCE;
        rbe_var *part = rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_2d(x->data + n * in, count, in)));
        example_require(rbe_tape_status(tape));
        memcpy(y + n * out, rbe_value(part)->data, count * out * sizeof *y);
        rbe_tape_reset(tape);
    }
    rbe_tape_free(tape);
    free(x->data);
    *x = rbe_tensor_2d(y, rows, out);
}

/* A copy of the samples, flat. */
static rbe_tensor copy_of(const rbe_tensor *x) {
    size_t rows = rbe_tensor_rows(x), columns = rbe_tensor_columns(x);
    float *values = example_take(rows * columns, sizeof *values);
    memcpy(values, x->data, rows * columns * sizeof *values);
    return rbe_tensor_2d(values, rows, columns);
}

/* ---- one layer ------------------------------------------------------------------------------------------------- */

/* Why a layer that nobody has asked for stays dense; NULL: it does not. */
static const char *reason_for_dense(const settings *s, const network *net, size_t n, const rbe_layer *dense) {
    if (s->select) return fnmatch(s->select, net->steps[n].name, 0) == 0 ? NULL : "not selected";
    if (n == net->last) return "the last layer (--select takes it, too)";
    bool small = rbe_layer_inputs(dense) < s->compression.block || rbe_layer_outputs(dense) < s->compression.block;
    return small ? "smaller than a block (--select takes it, too)" : NULL;
}

static void print_compressed(const rbe_layer *layer, const rbe_compress_report *r, size_t bytes, size_t before,
                             bool fitted) {
    char text[EXAMPLE_NUMBER_SIZE], error[16] = "";
    rbe_blocks_info info = rbe_blocks_describe(rbe_linear_blocks(layer));
    if (fitted) snprintf(error, sizeof error, "%.4f", r->output_error);
    printf("%9zu %9zu  %-18s %8.4f %8s  %s, %s\n", info.coefficients + info.alphas, bytes,
           example_smaller(bytes, before, text), r->relative_error, error, rbe_transform_name(r->row_transform),
           rbe_transform_name(r->column_transform));
}

/* Compresses a layer, and prints its row of the table. NULL: it stays dense. */
static rbe_layer *compress(const settings *s, const rbe_tensor_file *file, const char *name, const rbe_tensor *samples,
                           size_t dense_bytes) {
    rbe_compress_options options = compression_options(&s->compression);
    if (samples->data) {
        options.samples = samples->data;
        options.sample_count = rbe_tensor_rows(samples);
    }
    rbe_compress_report report;
    rbe_layer *layer = rbe_linear_from_file(file, name, &options, &report);
    if (!layer && rbe_last_status() != RBE_INSUFFICIENT_COMPRESSION)
        example_fail(1, "%s: %s: %s", name, rbe_status_name(rbe_last_status()), rbe_last_error());
    size_t bytes = 0;
    if (layer)
        example_require(rbe_blocks_stored_bytes(rbe_linear_blocks(layer),
                                                &(rbe_save_options){.store = s->compression.store}, &bytes));
    if (layer && (s->compression.target_error == 0 || bytes < dense_bytes)) {
        print_compressed(layer, &report, bytes, dense_bytes, samples->data);
        double error = samples->data ? report.output_error : report.relative_error;
        if (s->compression.target_error == 0 && error > COMPRESSION_SAFE_ERROR)
            example_warn("%s has an error above %g: the network's answers will change", name, COMPRESSION_SAFE_ERROR);
        return layer;
    }
    if (layer)
        printf("dense: it would take %zu bytes instead of %zu\n", bytes, dense_bytes);
    else
        printf("dense: %s\n", rbe_last_error());
    rbe_layer_free(layer);
    return NULL;
}

static rbe_layer *make_layer(const settings *s, const rbe_tensor_file *file, const network *net, size_t n,
                             const rbe_tensor *samples) {
    const char *name = net->steps[n].name;
    rbe_layer *dense = example_need(rbe_dense_from_file(file, name));
    size_t in = rbe_layer_inputs(dense), out = rbe_layer_outputs(dense);
    printf("%-24s %6zu x %-6zu ", name, out, in);
    const char *reason = reason_for_dense(s, net, n, dense);
    if (reason) printf("dense: %s\n", reason);
    rbe_layer *layer = reason ? NULL : compress(s, file, name, samples, out * in * sizeof(float));
    fflush(stdout);
    if (!layer) return dense;
    rbe_layer_free(dense);
    return layer;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

/* The compressed network. `inputs` without data: nothing to fit to. */
static rbe_model *compress_network(const settings *s, const rbe_tensor_file *file, const network *net,
                                   const rbe_tensor *inputs) {
    rbe_model *model = example_need(rbe_model_new());
    rbe_layer **layers = example_take(net->count, sizeof *layers);
    rbe_tensor samples = inputs->data ? copy_of(inputs) : (rbe_tensor){0};
    printf("%-24s %15s %9s %9s  %-18s %8s %8s  %s\n", "layer", "out x in", "values", "bytes", "than before", "error",
           "outputs", "transforms");
    for (size_t n = 0; n < net->count; n++) {
        const step *now = &net->steps[n];
        if (now->operation)
            layers[n] = example_need(rbe_operation_new(now->operation));
        else
            layers[n] = now->first < n ? layers[now->first] : make_layer(s, file, net, n, &samples);
        if (samples.data) pass_through(layers[n], &samples);
        example_require(rbe_model_add(model, layers[n]));
    }
    free(samples.data);
    free(layers);
    return model;
}

/* Outputs of a model for the samples, to be freed; *columns of them. */
static float *answers(const rbe_model *model, const rbe_tensor *inputs, size_t *columns) {
    size_t rows = rbe_tensor_rows(inputs);
    *columns = rbe_model_outputs(model);
    float *y = example_take(rows * *columns, sizeof *y);
    example_require(rbe_predict(model, inputs->data, rows, y));
    return y;
}

static size_t largest(const float *row, size_t columns) {
    size_t best = 0;
    for (size_t n = 1; n < columns; n++)
        if (row[n] > row[best]) best = n;
    return best;
}

/* What the stored model makes of the samples, against the dense network. */
static void print_error(const rbe_model *dense, const rbe_model *stored, const rbe_tensor *inputs) {
    size_t rows = rbe_tensor_rows(inputs), columns, same = 0;
    float *expected = answers(dense, inputs, &columns), *found = answers(stored, inputs, &columns);
    double error = 0, norm = 0;
    for (size_t n = 0; n < rows * columns; n++) {
        double difference = (double)found[n] - (double)expected[n];
        error += difference * difference;
        norm += (double)expected[n] * (double)expected[n];
    }
    for (size_t n = 0; n < rows; n++)
        same += largest(found + n * columns, columns) == largest(expected + n * columns, columns);
    printf("output error %.6f of the dense network's outputs, on %zu samples; the largest output is the same for "
           "%.2f %%\n",
           norm > 0 ? sqrt(error / norm) : sqrt(error), rows, 100.0 * (double)same / (double)rows);
    free(expected);
    free(found);
}

static rbe_tensor read_inputs(const settings *s, const rbe_model *dense) {
    rbe_tensor inputs = {0};
    if (!s->calibrate) return inputs;
    example_require(rbe_npy_read(s->calibrate, &inputs));
    size_t columns = rbe_tensor_columns(&inputs), expected = rbe_model_inputs(dense);
    if (columns != expected)
        example_fail(1, "%s: expected samples of the network's %zu inputs, found %zu", s->calibrate, expected, columns);
    return inputs;
}

/* Saves the model, and says what has become of it: of that which is read back. */
static void save(const settings *s, const rbe_model *model, const rbe_model *dense, const rbe_tensor *inputs) {
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE], c[EXAMPLE_NUMBER_SIZE];
    const rbe_save_options options = {.store = s->compression.store}, f32 = {0};
    size_t bytes, before;
    example_require(rbe_model_stored_bytes(model, &options, &bytes));
    example_require(rbe_model_stored_bytes(dense, &f32, &before));
    example_require(rbe_model_save(model, s->out, &options));
    printf("%s: %s bytes, dense %s: %s\n", s->out, example_number(bytes, a), example_number(before, b),
           example_smaller(bytes, before, c));
    if (!inputs->data) return;
    rbe_model *stored = example_need(rbe_model_load(s->out));
    print_error(dense, stored, inputs);
    rbe_model_free(stored);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads) example_require(rbe_set_threads((int)s.threads));
    rbe_tensor_file *file = example_need(rbe_tensor_file_open(s.in));
    network net = read_network(&s, file);
    check_left_over(&s, file, &net);
    rbe_model *dense = dense_model(file, &net);
    rbe_tensor inputs = read_inputs(&s, dense);
    rbe_model *model = compress_network(&s, file, &net, &inputs);
    save(&s, model, dense, &inputs);
    rbe_model_free(model);
    rbe_model_free(dense);
    rbe_tensor_free(&inputs);
    free(net.steps);
    rbe_tensor_file_close(file);
    return 0;
}

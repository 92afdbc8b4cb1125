/* What the tests of files share: a folder of their own, whole files in memory, models of every kind. */
#ifndef RBE_TESTS_IO_SUPPORT_H
#define RBE_TESTS_IO_SUPPORT_H

#include <check.h>

#include "io/safetensors.h"
#include "reference.h"

/* The first Python with NumPy, or NULL. */
const char *find_python(void);

/* A path in a new folder of this process, in memory if the machine has such a file system. Static. */
const char *scratch_path(const char *name);

/* Number of files in that folder, and their removal. */
size_t scratch_count(void);
void scratch_clear(void);

typedef struct bytes {
    uint8_t *data; /* freed with free */
    size_t count;
} bytes;

bytes read_whole(const char *path);
void write_whole(const char *path, bytes b);

/* A file in memory, opened as by rbe_tensor_file_open, or as a model. */
rbe_tensor_file *open_bytes(bytes b);
rbe_model *load_bytes(bytes b);

/* The file that rbe_model_save writes. */
bytes saved(const rbe_model *model, rbe_store store, rbe_store_positions positions);

/* The same file without the keys of its checksums. */
void rename_checksums(bytes b);

/* Changes, moves, inserts or removes some bytes; `room` bytes may be used. */
void mutate(bytes *b, size_t room, rbe_rng *rng);

/* Compressed (75 -> 50), relu, dropout, dense (50 -> 7) without bias, softmax. */
rbe_model *small_model(rbe_alpha_mode alpha, size_t group, const char *row_transform, const char *column_transform);

/* The same with positions that no seed draws. */
rbe_model *grown_model(void);

/* residual "block" of (compressed "up", tanh, "up" again, dense), repeat 3 times (residual "step" of dense), "block" again,
 * dense "head"; 12 wide, with 5 outputs. */
rbe_model *nested_model(void);

/* A model file taken apart: what a forger can change before the checksums are made. */
typedef struct contents {
    rbe_stored_tensor tensors[16];
    size_t count;
    char stages[16000];
    const char *version;
} contents;

contents take_apart(bytes b);
void discard(contents *c);

/* Puts `to` into the place of the first `from` in the stages. */
void forge(contents *c, const char *from, const char *to);

/* The file that has these contents and right checksums. */
bytes put_together(const contents *c);

/* The model of the file that has these contents and right checksums; NULL if it is refused. */
rbe_model *load_contents(const contents *c);

/* The model of a file whose stages have `to` in the place of the first `from`. With a `reason` it must be refused for that:
 * NULL. */
rbe_model *load_forgery(bytes file, const char *from, const char *to, const char *reason);

/* Whether options, parameters, positions and what is inside two layers are the same bits, and so of two models. */
bool same_layers(const rbe_layer *x, const rbe_layer *y);
bool same_models(const rbe_model *a, const rbe_model *b);

/* The same of two compressed matrices. */
bool same_matrices(const rbe_blocks *a, const rbe_blocks *b);

/* `count` random changes of a model's file, one at a time: what `load` takes is the same file with the same model, and what
 * it refuses is BAD_FORMAT with this word. Returns how many it took. */
size_t assert_mutations_noticed(bytes original, rbe_model *(*load)(bytes), const char *word, int count, uint64_t seed,
                                uint64_t stream);

/* Each allocation of storing and loading the model fails in turn: INSUFFICIENT_MEMORY. */
void assert_storing_survives(rbe_model *(*make)(void), rbe_store store);

/* The last error has this status and a text with this word. */
void assert_failed(rbe_status status, const char *word);

TCase *io_disk_case(void);
TCase *io_replace_case(void);
TCase *io_files_case(void);
TCase *io_npy_case(void);
TCase *io_metadata_case(void);
TCase *io_sources_case(void);
TCase *io_damage_case(void);
TCase *io_memory_case(void);
TCase *io_matrix_case(void);
TCase *io_trees_case(void);
TCase *io_weights_case(void);

#endif

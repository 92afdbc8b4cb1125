/* rbe/data.h - samples with labels or targets: IDX files, generated digits, texts, augmentation, batches. */
#ifndef RBE_DATA_H
#define RBE_DATA_H

#include "rbe/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `count` samples, at least one, of `features` inputs each, and what is to be learned from them: labels (a class, or
 * one for each place of a sequence), targets (vectors of any width), both, or nothing. Exactly one of `pixels`,
 * `values` and `tokens` is set. Images are kept as bytes, a quarter of their float form; a batch turns them into
 * floats.
 *
 * The functions that fill a data set overwrite the struct: free it before you fill it again. On failure the struct is
 * empty. You may also fill one in yourself, with arrays of your own: they stay yours. Their values, targets and labels
 * are then checked batch by batch, after earlier steps have changed the model; rbe_dataset_from_floats and
 * rbe_dataset_from_targets check all of them first. */
typedef struct rbe_dataset {
    size_t count;
    size_t features;      /* values of a sample, or the length of its sequence */
    size_t height, width; /* of an image: height * width = features, or features of each of several channels, one after
                             the other; else 0 */
    int32_t classes;      /* labels are 0 .. classes - 1; 0 without labels */
    uint8_t *pixels;      /* count x features, 0 .. 255; a batch holds pixel / 255 */
    float *values;        /* count x features */
    int32_t *tokens;      /* count x features: the ids of a sequence, >= 0 */
    int32_t *labels;      /* count x label_width; NULL: none */
    size_t label_width;   /* labels of a sample; 0 means 1 */
    float *targets;       /* count x target_width, finite; NULL: none */
    size_t target_width;  /* numbers of a target; 0 without targets */
    float *weights;       /* count, >= 0: how much a sample's loss counts; NULL: all the same */
    size_t stride;        /* how many places the tokens and labels of a sample begin behind those of the one before:
                             windows of one text, which may overlap. 0: samples do not overlap */
    bool owned;           /* the arrays are the library's: set by the functions that fill a data set, else false */
} rbe_dataset;

/* Frees the arrays if they are the library's (`owned`), and clears the struct. NULL is allowed. */
RBE_API void rbe_dataset_free(rbe_dataset *data);

/* Copies `values` (count x features) and `labels` (count). NUMERICAL_INSTABILITY names sample and feature of the first
 * value that is not finite, INVALID_ARGUMENT the first label outside of 0 .. classes - 1. */
RBE_API rbe_status rbe_dataset_from_floats(rbe_dataset *data, const float *values, const int32_t *labels, size_t count,
                                           size_t features, int32_t classes);

/* Copies `values` (count x features) and `targets` (count x target_width). NUMERICAL_INSTABILITY names sample and place
 * of the first value that is not finite. */
RBE_API rbe_status rbe_dataset_from_targets(rbe_dataset *data, const float *values, const float *targets, size_t count,
                                            size_t features, size_t target_width);

/* Holds out the last `count` samples: *last becomes a view of them, without a copy, and *data is shorter by as many.
 * The view lives as long as the arrays, which stay those of *data (or yours); rbe_dataset_free of the view clears it
 * and nothing else. The order is not changed, so sorted samples must be shuffled first. INVALID_ARGUMENT, and nothing
 * is changed, unless 1 <= count < data->count. */
RBE_API rbe_status rbe_dataset_split(rbe_dataset *data, size_t count, rbe_dataset *last);

/* Reads an IDX image file (magic 0x00000803, unsigned bytes, count x height x width) and an IDX label file (magic
 * 0x00000801; label_path NULL: none), each plain or gzip-compressed (the content decides, not the name). Labels are
 * 0 .. classes - 1. IO_ERROR for a file that cannot be opened or is not a regular one; BAD_FORMAT, with the file's name
 * and what was expected and found, for a wrong magic number, a truncated or overlong file, counts that differ, or a
 * label out of range. On failure *data is empty.
 *
 * A file whose header promises more than 64 times its size in memory, and more than 16 MiB, is refused with
 * BAD_FORMAT before memory is taken (MNIST's images are 5 times their compressed files; gzip can reach 1000 times).
 * rbe_set_max_read_bytes (rbe/base.h) sets another bound. Buffers of at most 1 MiB come on top. */
RBE_API rbe_status rbe_dataset_read_idx(rbe_dataset *data, const char *image_path, const char *label_path,
                                        int32_t classes);

/* Reads "train-images-idx3-ubyte", "train-labels-idx1-ubyte" (train) or "t10k-images-idx3-ubyte",
 * "t10k-labels-idx1-ubyte" of a folder, each with ".gz" (preferred) or without: the names of MNIST. There are 10
 * classes. Statuses as above. */
RBE_API rbe_status rbe_dataset_read_folder(rbe_dataset *data, const char *folder, bool train);

/* Writes images and labels as gzip-compressed IDX files without a time stamp: the same data give the same bytes with
 * the same zlib. Both files are on disk before either takes its name; a half-written one never replaces a good one.
 * rbe/io.h, "Writing", says what is replaced and how. INVALID_ARGUMENT unless there are `pixels` and one label of
 * 0 .. 255 per sample, and two paths that differ; IO_ERROR. */
RBE_API rbe_status rbe_dataset_write_idx(const rbe_dataset *data, const char *image_path, const char *label_path);

/* Makes `count` (1 .. 2^31 - 1) digits of 28 x 28 pixels that look handwritten: strokes, affine and elastic jitter, pen
 * thickness, blur and noise, all from the seed. The ten classes are equally frequent, in a seeded order. */
RBE_API rbe_status rbe_digits_generate(rbe_dataset *data, size_t count, uint64_t seed);

/* ---- text ---------------------------------------------------------------------------------------------------- */

/* The content of a regular file, followed by a zero byte; *bytes is its size without it. To be freed by rbe_text_free.
 * NULL on failure: IO_ERROR, INSUFFICIENT_MEMORY, BAD_FORMAT beyond rbe_set_max_read_bytes. */
RBE_API char *rbe_text_read(const char *path, size_t *bytes);
RBE_API void rbe_text_free(char *text); /* NULL is allowed */

/* Numbers, called ids, for the characters of a text. Several threads may use one vocabulary at once. */
typedef struct rbe_vocabulary rbe_vocabulary;

/* The first has all characters of a text in UTF-8, in the order of their code points. BAD_FORMAT names the first byte
 * that is not UTF-8, or is 0; INVALID_ARGUMENT for an empty text. The second has all 256 bytes and takes any text. NULL
 * on failure. */
RBE_API rbe_vocabulary *rbe_vocabulary_of_text(const char *text, size_t bytes);
RBE_API rbe_vocabulary *rbe_vocabulary_of_bytes(void);
RBE_API void rbe_vocabulary_free(rbe_vocabulary *vocabulary); /* NULL is allowed */

/* How many ids there are: 0 .. size - 1. */
RBE_API size_t rbe_vocabulary_size(const rbe_vocabulary *vocabulary);

/* Its characters in the order of their ids, as one string that lives as long as the vocabulary; NULL for bytes. Keep it
 * with a model (rbe_model_set_metadata): given this text, rbe_vocabulary_of_text makes the same vocabulary again. */
RBE_API const char *rbe_vocabulary_text(const rbe_vocabulary *vocabulary);

/* Writes the ids of a text, *count of them, at most one for each byte; ids NULL: they are only counted.
 * INVALID_ARGUMENT names a character that is not in the vocabulary, BAD_FORMAT a byte that is not UTF-8. */
RBE_API rbe_status rbe_vocabulary_encode(const rbe_vocabulary *vocabulary, const char *text, size_t bytes, int32_t *ids,
                                         size_t *count);

/* Writes the bytes of an id's character, 1 to 4, and a zero byte behind them. Returns how many they are; 0 for an
 * unknown id. */
#define RBE_CHARACTER_SIZE 5
RBE_API size_t rbe_vocabulary_decode(const rbe_vocabulary *vocabulary, int32_t id, char text[RBE_CHARACTER_SIZE]);

/* Windows of `length` places, `stride` apart (both at least 1), as samples: the ids there are the tokens, and the ids
 * one place later are the labels. Nothing is copied: `ids` is borrowed as long as the data set is used.
 * INVALID_ARGUMENT for fewer than length + 1 ids, and for an id outside of 0 .. classes - 1. */
RBE_API rbe_status rbe_dataset_from_windows(rbe_dataset *data, int32_t *ids, size_t count, size_t length, size_t stride,
                                            int32_t classes);

/* ---- augmentation ---------------------------------------------------------------------------------------------- */

/* Images that differ a little from the given ones, in another way in every epoch: turned, scaled, sheared and shifted
 * (affine), and bent (elastic). With strengths of 0 nothing is changed, bit for bit; 0.5 and 0.8 do well for MNIST.
 *
 * Pixel (x, y) of the result, counted in pixels to the right and down from the image's centre, looks up where it comes
 * from: its value is that of the input at the place
 *
 *     [cos t  -sin t] [1  h] [s_x  0 ] [x]   [m_x]   [d_x(x, y)]
 *     [sin t   cos t] [0  1] [0   s_y] [y] + [m_y] + [d_y(x, y)]
 *
 * by bilinear interpolation between pixels; outside of the image there are zeros. With w half the width for x and half
 * the height for y, in pixels,
 *
 *     t           angle in radians   uniform in +-0.25 affine
 *     s_x, s_y    scales             uniform in 1 +- 0.15 affine
 *     h           shear              uniform in +-0.25 affine
 *     m_x, m_y    shift in pixels    uniform in +-0.12 affine w
 *     d_x, d_y    bend in pixels     from 6 x 6 nodes, normal with the deviation elastic (2 / 28) w
 *
 * Node k of an axis of n pixels, k = 0 .. 5, is at (k + 1/2) n / 6 - 1/2, counted from the first pixel. Between nodes
 * the bend is interpolated bicubically (cubic convolution with a = -3/4); outside, the outermost nodes are repeated. A
 * "normal" number is a sum of eight uniform ones, never beyond 4.9 deviations.
 *
 * All of it is drawn from the seed, the epoch and the sample's number alone. It is the same for all channels, and it
 * does not depend on threads, on other samples or on their order. AVX2, AVX-512 and portable code give the same bits if
 * the C library's sine and cosine do. Values must be finite. */
typedef struct rbe_augment_options {
    double affine, elastic; /* strengths, >= 0 */
    uint64_t seed;
} rbe_augment_options;

/* The shape of one image: channels, one after the other, each height x width, row-major. */
typedef struct rbe_image_shape {
    size_t channels, height, width;
} rbe_image_shape;

/* For images of your own: writes `count` changed images of `in` to `out`, which may be `in`. samples[i] is the number
 * of image i; samples NULL: i. (Batches do it by themselves: rbe_batches_augment, and rbe_fit_options.augment in
 * rbe/train.h.)
 *
 * INVALID_ARGUMENT for a strength that is negative or not finite, no channels, a height or a width below 2, NULL, and
 * more than can be addressed; INSUFFICIENT_MEMORY (each thread takes little more than an image). On failure nothing is
 * written. */
RBE_API rbe_status rbe_augment_images(const rbe_augment_options *options, rbe_image_shape shape, size_t epoch,
                                      const size_t *samples, size_t count, const float *in, float *out);

/* ---- batches ------------------------------------------------------------------------------------------------- */

/* The samples in their own or a seeded random order, `batch` at a time; the last batch of an epoch may be smaller. A
 * new rbe_batches is at the beginning of epoch 0. */
typedef struct rbe_batches rbe_batches;

/* The rows of a batch. Pointers to what the data set does not have are NULL, also the data of tensors. */
typedef struct rbe_batch {
    rbe_tensor x;          /* rows x features, pixels as pixel / 255; no data for tokens */
    const int32_t *tokens; /* rows x token_width */
    size_t token_width;    /* 0 without tokens */
    const int32_t *labels; /* rows x label_width */
    size_t label_width;    /* 0 without labels */
    rbe_tensor targets;    /* rows x target_width */
    const float *weights;  /* rows */
    size_t rows;
} rbe_batch; /* lives until the next call on its rbe_batches */

/* The data are borrowed and must outlive it. batch >= 1; the most is all samples. shuffle false: the order of the data
 * set. NULL on failure: INSUFFICIENT_MEMORY; INVALID_ARGUMENT for data without samples or features, with 2^32 samples
 * or more, without exactly one of pixels, values and tokens, with targets of no width, or with a weight that is
 * negative or not finite. */
RBE_API rbe_batches *rbe_batches_new(const rbe_dataset *data, size_t batch, bool shuffle, uint64_t seed);
RBE_API void rbe_batches_free(rbe_batches *batches); /* NULL is allowed */

/* Begins epoch number `epoch` (0, 1, ...). Its order depends only on the seed and this number. */
RBE_API void rbe_batches_start(rbe_batches *batches, size_t epoch);

/* Fills in *batch with the next batch of the epoch; false at its end. */
RBE_API bool rbe_batches_next(rbe_batches *batches, rbe_batch *batch);

/* Skips the next `count` batches, as if they had been taken: to go on in the middle of an epoch. */
RBE_API void rbe_batches_skip(rbe_batches *batches, size_t count);

/* From now on batches hold augmented images; options NULL, or zeros: the images as they are. A sample's number is its
 * place in the data set, so that its image does not depend on batch size, order or threads. The options are copied. A
 * batch is made by at most as many threads as rbe_threads gives now. INVALID_ARGUMENT for a strength that is negative
 * or not finite, and for data without images (pixels or values, with a height and a width of at least 2);
 * INSUFFICIENT_MEMORY. On failure nothing is changed. */
RBE_API rbe_status rbe_batches_augment(rbe_batches *batches, const rbe_augment_options *options);

/* How many batches an epoch has. */
RBE_API size_t rbe_batches_per_epoch(const rbe_batches *batches);

#ifdef __cplusplus
}
#endif
#endif

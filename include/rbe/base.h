/* rbe/base.h - what all other headers need: status codes, memory, random numbers, threads, warnings.
 *
 * Errors. Every call that can fail returns an rbe_status, or a pointer that is NULL on failure. rbe_last_error() then
 * has a text that says what was expected and what was found; each thread has its own. The library never aborts, exits
 * or prints.
 *
 * NULL. What a constructor returned may be passed on unchecked. If such an object is NULL, a call that returns a status
 * returns INVALID_ARGUMENT; any other call does nothing and returns NULL, 0, false, "" or zeros. All other pointers
 * must be valid, unless the header allows NULL.
 *
 * Threads. Several threads may call the library at once with different objects. An object belongs to one thread at a
 * time, unless its header says that it may be shared.
 */
#ifndef RBE_BASE_H
#define RBE_BASE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RBE_API __attribute__((visibility("default")))
#define RBE_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#else
#define RBE_API
#define RBE_PRINTF(format_at, args_at)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Versions. MAJOR rises when a program that was compiled with an earlier version must be compiled again or changed: a
 * function is removed or takes other arguments, a structure grows, an enumerator gets another value, or a call means
 * something else. MINOR rises when something is added, PATCH when something is fixed. Until 1.0 a new MINOR may also do
 * what later needs a new MAJOR. Model files and checkpoints have versions of their own (docs/format.md); later
 * libraries read the model files of earlier ones.
 *
 * The shared libraries are librbe.so.MAJOR and librbe_infer.so.MAJOR. They export the names in src/librbe.symbols and
 * src/librbe_infer.symbols, all of them rbe_..., and no others; make check compares. MAJOR rises when a name is removed
 * from these lists. The static libraries have more symbols: do not call those that no header declares. */
#define RBE_VERSION_MAJOR 0
#define RBE_VERSION_MINOR 1
#define RBE_VERSION_PATCH 0

/* "major.minor.patch" of the library that the program runs with. */
RBE_API const char *rbe_version(void);

/* ---- status -------------------------------------------------------------------------------------------------- */

/* The one table of errors: name, code, message. Enum, names and messages all come from it. */
#define RBE_STATUS_TABLE(X)                                                                                            \
    X(OK, 0, "success")                                                                                                \
    X(INVALID_ARGUMENT, 1, "an argument is outside its documented range")                                              \
    X(INPUT_DIMENSION_MISMATCH, 2, "the shape of an input does not fit")                                               \
    X(INSUFFICIENT_MEMORY, 3, "more memory was needed than was available")                                             \
    X(NUMERICAL_INSTABILITY, 4, "a value is not finite or too large")                                                  \
    X(CORRUPTED_BLOCK, 5, "a compressed block is not well-formed")                                                     \
    X(INSUFFICIENT_COMPRESSION, 6, "the compressed form would save too little")                                        \
    X(IO_ERROR, 7, "a file could not be read or written")                                                              \
    X(BAD_FORMAT, 8, "a file does not have the expected format")                                                       \
    X(STOPPED, 9, "a callback asked to stop")

/* What a call that can fail returns: RBE_OK, or the kind of failure. */
typedef enum rbe_status {
#define RBE_STATUS_ENUM(name, code, message) RBE_##name = code,
    RBE_STATUS_TABLE(RBE_STATUS_ENUM)
#undef RBE_STATUS_ENUM
} rbe_status;

/* "INVALID_ARGUMENT" and the like; "UNKNOWN" for a code that is not in the table. Static strings. */
RBE_API const char *rbe_status_name(rbe_status status);

/* The general message of a code. Static string. */
RBE_API const char *rbe_status_message(rbe_status status);

/* Status and text of the last failure in this thread (RBE_OK and "" before the first). The text lives until the
 * next failure in the same thread. A success does not clear it. */
RBE_API rbe_status rbe_last_status(void);
RBE_API const char *rbe_last_error(void);

/* Records a failure for this thread and returns `status`: for callbacks. The text is formatted as by printf and cut at
 * 511 bytes. */
RBE_API rbe_status rbe_fail(rbe_status status, const char *format, ...) RBE_PRINTF(2, 3);

/* Returns from the calling function with the status of `call` unless that is RBE_OK. */
#define RBE_TRY(call)                                                                                                  \
    do {                                                                                                               \
        rbe_status rbe_try_status = (call);                                                                            \
        if (rbe_try_status != RBE_OK) return rbe_try_status;                                                           \
    } while (0)

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Where the library gets its memory. `allocate` returns at least `bytes` bytes aligned as by malloc, or NULL; `release`
 * takes what `allocate` returned, never NULL. Several threads may call both at once. */
typedef struct rbe_allocator {
    void *(*allocate)(void *user, size_t bytes);
    void (*release)(void *user, void *memory);
    void *user;
} rbe_allocator;

/* Sets the allocator, whose struct is copied; NULL restores malloc and free. INVALID_ARGUMENT if a function is NULL, or
 * while the library still holds memory of the current allocator. Do not call it while other threads use the library. */
RBE_API rbe_status rbe_set_allocator(const rbe_allocator *allocator);

/* Bytes that the library holds now, the most that it has held since the last reset, and how often it has asked for
 * memory since the program began. The numbers include tapes, tables and data sets, but not the allocator's own overhead
 * (at most 64 bytes for alignment). */
typedef struct rbe_memory_usage {
    size_t current;
    size_t peak;
    size_t allocations;
} rbe_memory_usage;

/* The usage now. */
RBE_API rbe_memory_usage rbe_memory(void);

/* Sets the peak to the current use. */
RBE_API void rbe_memory_reset_peak(void);

/* ---- random numbers ------------------------------------------------------------------------------------------ */

/* A seeded generator: GSL's MT19937 on memory of the library's allocator. The same (seed, stream) gives the same
 * numbers on every machine; different streams of one seed are independent for all practical purposes. */
typedef struct rbe_rng rbe_rng;

/* NULL when memory is short. Freed by rbe_rng_free (NULL is allowed). */
RBE_API rbe_rng *rbe_rng_new(uint64_t seed, uint64_t stream);
RBE_API void rbe_rng_free(rbe_rng *rng);

RBE_API double rbe_rng_uniform(rbe_rng *rng);                 /* in [0, 1) */
RBE_API double rbe_rng_normal(rbe_rng *rng);                  /* mean 0, variance 1 (Ziggurat) */
RBE_API uint32_t rbe_rng_below(rbe_rng *rng, uint32_t bound); /* in [0, bound); bound 1 .. 2^31 */

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* The most threads that rbe_set_threads accepts. */
#define RBE_MAX_THREADS 256

/* How many threads the library's loops use, 1 .. RBE_MAX_THREADS; INVALID_ARGUMENT otherwise. The setting holds for the
 * whole process; any thread may change it at any time. The default is the number of processors that the process may run
 * on, or the quota of its control group if that is smaller. The results have the same bits for any number.
 *
 * The calling thread works, too. Helper threads are created when a loop first needs them; if the system refuses one,
 * fewer threads do the work. They serve one loop at a time: if several threads call the library at once, one of them
 * gets the helpers and the others work alone. After a fork the child creates helpers of its own.
 *
 * The results of OpenBLAS depend on its number of threads, so the library runs it on one thread. When a call returns,
 * OpenBLAS has the host program's number again. */
RBE_API rbe_status rbe_set_threads(int threads);
RBE_API int rbe_threads(void);

/* ---- warnings ------------------------------------------------------------------------------------------------ */

/* Receives what the host program should know although nothing has failed. `text` is one line without its end, and is
 * valid until the handler returns. The handler runs in the thread that found the reason, which may be one of the
 * library's own; several threads may call it at once. */
typedef void rbe_warning_handler(void *user, const char *text);

/* Sets the handler for all threads. NULL, the default, drops warnings. The library warns if OpenBLAS does not know the
 * processor (rbe_blas_kernels) and if a checkpoint cannot be written or read (rbe/checkpoint.h). */
RBE_API void rbe_set_warning_handler(rbe_warning_handler *handler, void *user);

/* ---- OpenBLAS ------------------------------------------------------------------------------------------------ */

/* The processor whose kernels OpenBLAS chose when it was loaded: "Haswell", "SkylakeX" and the like. Static string.
 *
 * An OpenBLAS that does not know a newer processor falls back to the kernels of a very old one, "Prescott", and all
 * dense products take several times as long. The first call that needs OpenBLAS then tells the warning handler, once.
 * The cure is the environment variable OPENBLAS_CORETYPE. OpenBLAS reads it when the program is loaded, so it must be
 * set before the program starts. */
RBE_API const char *rbe_blas_kernels(void);

/* The value of OPENBLAS_CORETYPE with which OpenBLAS would use what this processor has, "Haswell" or "SkylakeX"; NULL
 * if it already does, if the environment has named kernels with AVX2, or if the library does not know the kernels that
 * were chosen. Static string. */
RBE_API const char *rbe_blas_better_kernels(void);

/* ---- files --------------------------------------------------------------------------------------------------- */

/* The most memory that the content of one file may take when it is read. A reader refuses a file that would take more
 * before it allocates anything. 0, the default: a multiple of the file's size, which rbe/io.h and rbe/data.h state. The
 * setting holds for all threads. */
RBE_API void rbe_set_max_read_bytes(size_t bytes);

#ifdef __cplusplus
}
#endif
#endif

/* The routines that an exported file may have, each a file in snippets/, which the Makefile turns into a string. */
#ifndef RBE_EXPORT_SNIPPETS_H
#define RBE_EXPORT_SNIPPETS_H

/* In an order in which they may stand in a file: what one uses comes before it. The last one belongs to the test. */
#define RBE_SNIPPETS(X)                                                                                                \
    X(add)                                                                                                             \
    X(relu)                                                                                                            \
    X(gelu)                                                                                                            \
    X(gelu_tanh)                                                                                                       \
    X(tanh)                                                                                                            \
    X(sigmoid)                                                                                                         \
    X(softmax)                                                                                                         \
    X(log_softmax)                                                                                                     \
    X(rotary)                                                                                                          \
    X(attention)                                                                                                       \
    X(layer_norm)                                                                                                      \
    X(rms_norm)                                                                                                        \
    X(packed)                                                                                                          \
    X(packed_row)                                                                                                      \
    X(dense_f32)                                                                                                       \
    X(dense_packed)                                                                                                    \
    X(positions_bits)                                                                                                  \
    X(positions_bytes)                                                                                                 \
    X(lists_f32)                                                                                                       \
    X(lists_packed)                                                                                                    \
    X(cosine)                                                                                                          \
    X(dct_direct)                                                                                                      \
    X(dct_direct_back)                                                                                                 \
    X(dct_fast)                                                                                                        \
    X(dct_fast_back)                                                                                                   \
    X(walsh)                                                                                                           \
    X(wavelet)                                                                                                         \
    X(wavelet_back)                                                                                                    \
    X(overlap_cut)                                                                                                     \
    X(overlap_paste)                                                                                                   \
    X(image)                                                                                                           \
    X(smooth)                                                                                                          \
    X(test)

/* The same of files without floats. */
#define RBE_INT_SNIPPETS(X)                                                                                            \
    X(int_apart)                                                                                                       \
    X(int_matrix)                                                                                                      \
    X(int_rows)                                                                                                        \
    X(int_dense)                                                                                                       \
    X(int_dct)                                                                                                         \
    X(int_forward)                                                                                                     \
    X(int_image)                                                                                                       \
    X(int_blocks)                                                                                                      \
    X(int_outputs)                                                                                                     \
    X(int_lists)                                                                                                       \
    X(int_widen)                                                                                                       \
    X(int_test)

typedef enum rbe_snippet {
#define RBE_SNIPPET_ENUM(name) RBE_SNIPPET_##name,
    RBE_SNIPPETS(RBE_SNIPPET_ENUM)
#undef RBE_SNIPPET_ENUM
        RBE_SNIPPET_COUNT
} rbe_snippet;

#define RBE_SNIPPET_TEXT(name) extern const char rbe_snippet_##name[];
RBE_SNIPPETS(RBE_SNIPPET_TEXT)
RBE_INT_SNIPPETS(RBE_SNIPPET_TEXT)
#undef RBE_SNIPPET_TEXT

#endif

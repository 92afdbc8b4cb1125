/* The state of something as a JSON object, and back: named numbers and texts, behind the reader and the writer of
 * rbe/extend.h.
 *
 * Numbers come back with the same bits. A whole one below 2^53 stands as its digits; any other double as a text of 16
 * hexadecimal digits, its bits: decimal digits depend on how a library rounds, and NaN has none.
 */
#ifndef RBE_IO_STATE_CODE_H
#define RBE_IO_STATE_CODE_H

#include "io/json.h"
#include "nn/layer.h"

typedef struct rbe_state_writer {
    rbe_writer base;
    const char *owner; /* for error texts: "growth" */
    cJSON *json;       /* an object, to which members are added */
} rbe_state_writer;

rbe_state_writer rbe_state_write_to(cJSON *json, const char *owner);

typedef struct rbe_state_reader {
    rbe_reader base;
    const char *file, *owner; /* for error texts */
    const cJSON *json;
    int members; /* that have been read */
} rbe_state_reader;

rbe_state_reader rbe_state_read_from(const cJSON *json, const char *file, const char *owner);

/* BAD_FORMAT unless every member of the object has been read, once. */
rbe_status rbe_state_read_end(const rbe_state_reader *reader);

#endif

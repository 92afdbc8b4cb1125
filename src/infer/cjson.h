/* What the readers of files use of cJSON's interface, for a tree that the library reads itself (json_tree.c). */
#ifndef RBE_INFER_CJSON_H
#define RBE_INFER_CJSON_H

#include <stdbool.h>
#include <stddef.h>

typedef enum cjson_type { cJSON_Null, cJSON_Bool, cJSON_Number, cJSON_String, cJSON_Array, cJSON_Object } cjson_type;

typedef struct cJSON {
    struct cJSON *next, *child; /* in an array or object; the first one inside */
    cjson_type type;
    char *valuestring, *string; /* of a string; the name of a member */
    double valuedouble;
} cJSON;

/* NULL if there is no value at the beginning of the text, or no memory (errno is ENOMEM). *end: behind it, or where reading
 * stopped. Whatever `null_terminated` asks for, what follows the value is not looked at. */
cJSON *cJSON_ParseWithLengthOpts(const char *text, size_t length, const char **end, int null_terminated);
void cJSON_Delete(cJSON *root); /* what was parsed, as a whole; NULL is allowed */

/* NULL gives NULL and 0. */
cJSON *cJSON_GetObjectItemCaseSensitive(const cJSON *object, const char *name);
cJSON *cJSON_GetArrayItem(const cJSON *array, int n);
int cJSON_GetArraySize(const cJSON *array);

static inline bool cJSON_IsNumber(const cJSON *item) { return item && item->type == cJSON_Number; }
static inline bool cJSON_IsString(const cJSON *item) { return item && item->type == cJSON_String; }
static inline bool cJSON_IsArray(const cJSON *item) { return item && item->type == cJSON_Array; }
static inline bool cJSON_IsObject(const cJSON *item) { return item && item->type == cJSON_Object; }

#define cJSON_ArrayForEach(item, array) for ((item) = (array) ? (array)->child : NULL; (item); (item) = (item)->next)

#endif

/* Attention of a place to all places so far, whose keys and values it joins. scores: room for place + 1 numbers. */
static void attention(const float *qkv, size_t width, size_t heads, float *keys, float *values, size_t place, float *y,
                      float *scores)
{
    const size_t head = width / heads;
    memcpy(keys + place * width, qkv + width, width * sizeof *qkv);
    memcpy(values + place * width, qkv + 2 * width, width * sizeof *qkv);
    for (size_t first = 0; first < width; first += head) {
        for (size_t j = 0; j <= place; j++) {
            float sum = 0.0f;
            for (size_t i = 0; i < head; i++) sum += qkv[first + i] * keys[j * width + first + i];
            scores[j] = sum / sqrtf((float)head);
        }
        softmax(scores, place + 1);
        for (size_t i = 0; i < head; i++) {
            y[first + i] = 0.0f;
            for (size_t j = 0; j <= place; j++) y[first + i] += scores[j] * values[j * width + first + i];
        }
    }
}

/* Pieces of gradients on their way to other ranks. */
#include "train/exchange.h"

#include <stdio.h>

#include "base/alloc.h"
#include "nn/model.h"
#include "nn/param.h"

/* A piece has at least so many floats if there are as many: 32 kB, which take a wire of 1 Gbit/s five times as long as its
 * two rounds. */
enum { LEAST_FLOATS = 1 << 13 };

/* ---- sums ---------------------------------------------------------------------------------------------------- */

/* A failure's text is kept for the thread that asks. */
static rbe_status sum_piece(rbe_exchange *e, const rbe_piece *piece) {
    rbe_status status = e->comm->sum(e->comm->user, piece->values, piece->count);
    if (status != RBE_OK) snprintf(e->text, sizeof e->text, "%s", rbe_last_error());
    return status;
}

static bool waits(const rbe_exchange *e) { return e->status == RBE_OK && e->done < e->ready; }

static void *run_thread(void *user) {
    rbe_exchange *e = user;
    pthread_mutex_lock(&e->mutex);
    while (!e->over) {
        if (!waits(e)) {
            pthread_cond_wait(&e->changed, &e->mutex);
            continue;
        }
        const rbe_piece piece = e->pieces[e->done];
        pthread_mutex_unlock(&e->mutex);
        const rbe_status status = sum_piece(e, &piece);
        pthread_mutex_lock(&e->mutex);
        e->status = status;
        e->done++;
        if (!waits(e)) pthread_cond_broadcast(&e->changed);
    }
    pthread_mutex_unlock(&e->mutex);
    return NULL;
}

/* ---- pieces -------------------------------------------------------------------------------------------------- */

/* The first parameter of the piece that comes next. */
static size_t piece_first(const rbe_exchange *e) {
    size_t first = e->left - 1;
    while (first > 0 && e->end - e->params[first]->grad < LEAST_FLOATS) first--;
    return first;
}

rbe_status rbe_exchange_prepare(rbe_exchange *e, rbe_model *model) {
    size_t floats, count = 0;
    rbe_param *param;
    RBE_TRY(rbe_model_require_gradients(model, &floats));
    while (rbe_model_param(model, count)) count++;
    if (count > e->capacity) {
        rbe_free(e->params);
        rbe_free(e->pieces);
        e->params = rbe_alloc(count, sizeof *e->params);
        e->pieces = rbe_alloc(count, sizeof *e->pieces);
        e->capacity = e->params && e->pieces ? count : 0;
        if (e->capacity == 0) return RBE_INSUFFICIENT_MEMORY;
    }
    e->left = 0;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++)
        if (!param->frozen) e->params[e->left++] = param;
    e->end = model->gradients + floats;
    pthread_mutex_lock(&e->mutex);
    e->ready = e->done = 0;
    e->status = RBE_OK;
    pthread_mutex_unlock(&e->mutex);
    return RBE_OK;
}

/* Hands over parameters `first` .. left - 1. */
static void hand_over(rbe_exchange *e, size_t first) {
    float *values = e->params[first]->grad;
    for (size_t n = first; n < e->left; n++) rbe_param_clear_unset(e->params[n]);
    pthread_mutex_lock(&e->mutex);
    e->pieces[e->ready++] = (rbe_piece){values, (size_t)(e->end - values)};
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->mutex);
    e->left = first;
    e->end = values;
}

void rbe_exchange_advance(rbe_exchange *e, uintptr_t reach) {
    while (e->left > 0) {
        const size_t first = piece_first(e);
        if ((uintptr_t)e->params[first]->grad < reach) return;
        hand_over(e, first);
    }
}

rbe_status rbe_exchange_finish(rbe_exchange *e) {
    rbe_exchange_advance(e, 0);
    pthread_mutex_lock(&e->mutex);
    while (waits(e)) {
        if (e->has_thread)
            pthread_cond_wait(&e->changed, &e->mutex);
        else
            e->status = sum_piece(e, &e->pieces[e->done++]);
    }
    const rbe_status status = e->status;
    pthread_mutex_unlock(&e->mutex);
    return status == RBE_OK ? RBE_OK : rbe_fail(status, "%s", e->text);
}

/* ---- making and freeing -------------------------------------------------------------------------------------- */

void rbe_exchange_make(rbe_exchange *e, const rbe_comm *comm) {
    *e = (rbe_exchange){.comm = comm};
    if (!comm) return;
    pthread_mutex_init(&e->mutex, NULL);
    pthread_cond_init(&e->changed, NULL);
    e->has_thread = comm->background && pthread_create(&e->thread, NULL, run_thread, e) == 0;
}

void rbe_exchange_free(rbe_exchange *e) {
    if (!e->comm) return;
    pthread_mutex_lock(&e->mutex);
    e->over = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->mutex);
    if (e->has_thread) pthread_join(e->thread, NULL);
    pthread_mutex_destroy(&e->mutex);
    pthread_cond_destroy(&e->changed);
    rbe_free(e->params);
    rbe_free(e->pieces);
}

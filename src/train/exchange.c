/* Pieces of gradients on their way to other ranks. */
#include "train/exchange.h"

#include <stdio.h>

#include "base/sizes.h"
#include "nn/model.h"
#include "nn/param.h"

/* 32 kB take a wire of 1 Gbit/s five times as long as two rounds of a few ranks. Those of more ranks take longer. */
static size_t least_floats(const rbe_comm *comm) { return ((size_t)1 << 13) * (1 + comm->size / 16); }

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

rbe_status rbe_exchange_prepare(rbe_exchange *e, rbe_model *model) {
    RBE_TRY(rbe_model_require_gradients(model, &e->left));
    e->model = model;
    e->least = rbe_at_least(rbe_pieces(e->left, RBE_MOST_PIECES - 1), least_floats(e->comm));
    e->begins = 0;
    while (rbe_model_param(model, e->begins)) e->begins++;
    e->untouched = e->begins;
    pthread_mutex_lock(&e->mutex);
    e->ready = e->done = 0;
    e->status = RBE_OK;
    pthread_mutex_unlock(&e->mutex);
    return RBE_OK;
}

/* Floats of the next piece: those back to the begin of a parameter, or a share of them. */
static size_t next_piece(const rbe_exchange *e) {
    size_t stretch = e->left;
    for (size_t n = e->begins; n-- > 0;) {
        const rbe_param *param = rbe_model_param(e->model, n);
        if (param->frozen) continue;
        stretch = e->left - (size_t)(param->grad - e->model->gradients);
        if (stretch >= e->least) break;
    }
    return rbe_pieces(stretch, rbe_pieces(stretch, 2 * e->least));
}

/* What no backward has written is zeroed before any of it is summed. */
static void touch(rbe_exchange *e, const float *from) {
    for (; e->untouched > 0; e->untouched--) {
        const rbe_param *param = rbe_model_param(e->model, e->untouched - 1);
        if (!param->frozen && param->grad + param->count <= from) break;
        rbe_param_clear_unset(param);
    }
    for (; e->begins > 0; e->begins--) {
        const rbe_param *param = rbe_model_param(e->model, e->begins - 1);
        if (!param->frozen && param->grad < from) break;
    }
}

void rbe_exchange_advance(rbe_exchange *e, uintptr_t reach) {
    while (e->left > 0) {
        const size_t count = next_piece(e);
        float *values = e->model->gradients + e->left - count;
        if ((uintptr_t)values < reach) return;
        touch(e, values);
        e->left -= count;
        pthread_mutex_lock(&e->mutex);
        e->pieces[e->ready++] = (rbe_piece){values, count};
        pthread_cond_broadcast(&e->changed);
        pthread_mutex_unlock(&e->mutex);
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
}

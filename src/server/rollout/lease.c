/*
 * The lease of the driver. See driver_lease.h.
 */
#include "server/rollout/lease.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "model/applied.h"

#include <inttypes.h>

static const nsec_t LEASE_TTL = 10 * NSEC_PER_S;
static const nsec_t SOAKS_TTL = (nsec_t)24 * 3600 * NSEC_PER_S;

#define HOLDER STR("driver")
#define SOAKS  STR("soak/")
#define PIECES STR("applied/")

enum {
    KEY_MAX = 64,
    VALUE_MAX = 96,
    BATCH =
        12, /* so that a batch of pieces, each of up to APPLIED_PIECE ids, is below the store's limit */
};
_Static_assert(BATCH *APPLIED_PIECE *(APPLIED_ID_MAX + 1) <
                   STORE_EPHEMERAL_BYTES_MAX - BATCH * KEY_MAX,
               "a batch of pieces fits");

/* ---- who this is ---- */

static int make_id(const char *path, struct driver_lease *l, struct err *err)
{
    unsigned char bytes[SERVER_ID_BYTES];

    if (random_bytes(bytes, sizeof(bytes)))
        return err_set(err, ERR_IO, "no random bytes for the id of the server");
    hex_encode(bytes, sizeof(bytes), l->id);
    return file_replace(path, str_c(l->id), 0600, err);
}

int driver_lease_open(struct driver_lease *l, const char *data_dir, struct committer *committer,
                      struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(sizeof(l->id));
    char path[4096];
    int r;

    l->committer = committer;
    (void)snprintf(path, sizeof(path), "%s/server.id", data_dir);
    r = file_read(path, &text, err);
    if (r == 0 && text.len == sizeof(l->id) - 1) {
        memcpy(l->id, text.data, text.len);
        return 0;
    }
    return r == 0 || r == ERR_NOT_FOUND ? make_id(path, l, err) : r;
}

void driver_lease_close(struct driver_lease *l)
{
    drive_records_deinit(&l->loaded);
    drive_records_deinit(&l->saving);
}

void drive_records_deinit(struct drive_records *records)
{
    for (size_t i = 0; i < records->n; i++)
        records->at[i].ids = shared_unref(records->at[i].ids);
    VEC_DEINIT(records);
}

/* ---- in the store ---- */

struct holding {
    const char *id;
    uint64_t lease;
    bool is_other, is_ours;
};

static int look_at_holder(void *ctx, const struct store_ephemeral *item)
{
    struct holding *h = ctx;

    if (!str_eq(item->key, HOLDER))
        return 0;
    h->is_other = !str_eq(item->bytes, str_c(h->id));
    h->is_ours = !h->is_other && item->lease == h->lease;
    return 0;
}

/* Ours is what an earlier start of this server left, too. */
static int take_lease(struct driver_lease *l, struct store *store, bool *ret_held,
                      struct err *err)
{
    struct holding h = {.id = l->id, .lease = l->lease};
    struct store_ephemeral item = {.key = HOLDER, .bytes = str_c(l->id)};
    int r = 0;

    if (l->lease)
        r = store_lease_keep(store, l->lease, clock_now(), err);
    if (!l->lease || r == ERR_NOT_FOUND)
        r = store_lease_grant(store, LEASE_TTL, clock_now(), &l->lease, err);
    h.lease = l->lease;
    if (!r)
        r = store_ephemeral_list(store, HOLDER, look_at_holder, &h, err);
    if (!r && !h.is_other && !h.is_ours)
        r = store_ephemeral_put(store, l->lease, &item, 1, err);
    *ret_held = !r && !h.is_other;
    return r;
}

static int load_soak(void *ctx, const struct store_ephemeral *item)
{
    struct driver_lease *l = ctx;
    struct drive_record record = {.rollout = 0};
    struct str rest = item->bytes, parts[3];
    size_t n = 0;

    while (n < ARRAY_LEN(parts) && str_next(&rest, ' ', &parts[n]))
        n++;
    if (n < ARRAY_LEN(parts) || !str_u64(str_from(item->key, SOAKS.len), &record.rollout) ||
        !str_u64(parts[0], &record.step) || !str_u64(parts[1], &record.held_ms) ||
        !str_u64(parts[2], &record.targets))
        return 0; /* of a later version: the soak begins anew */
    return VEC_PUSH(&l->loaded, record) ? 0 : ERR_NOMEM;
}

static int load_piece(void *ctx, const struct store_ephemeral *item)
{
    struct driver_lease *l = ctx;
    struct drive_record record = {.is_piece = true};
    struct str rest = str_from(item->key, PIECES.len), id;

    if (!str_next(&rest, '/', &id) || !str_u64(id, &record.rollout) ||
        !str_u64(rest, &record.piece))
        return 0;
    if (!VEC_ROOM(&l->loaded))
        return ERR_NOMEM;
    record.ids = shared_copy(item->bytes);
    return record.ids && VEC_PUSH(&l->loaded, record) ? 0 : ERR_NOMEM;
}

/* A few records at a time, each in one transaction. */
struct record_batch {
    struct store_ephemeral items[BATCH];
    struct str ended[BATCH];
    char keys[BATCH][KEY_MAX], values[BATCH][VALUE_MAX];
    size_t n, n_ended;
};

static struct str value_of(const struct drive_record *record, char value[VALUE_MAX])
{
    if (record->is_piece)
        return shared_str(record->ids);
    (void)snprintf(value, VALUE_MAX, "%" PRIu64 " %" PRIu64 " %" PRIu64, record->step,
                   record->held_ms, record->targets);
    return str_c(value);
}

static void batch_add(struct record_batch *b, size_t at, const struct drive_record *record)
{
    if (record->is_piece)
        (void)snprintf(b->keys[at], KEY_MAX, "applied/%" PRIu64 "/%" PRIu64, record->rollout,
                       record->piece);
    else
        (void)snprintf(b->keys[at], KEY_MAX, "soak/%" PRIu64, record->rollout);
    if (record->has_ended)
        b->ended[b->n_ended++] = str_c(b->keys[at]);
    else
        b->items[b->n++] = (struct store_ephemeral){.key = str_c(b->keys[at]),
                                                    .bytes = value_of(record, b->values[at])};
}

static int save_batch(struct driver_lease *l, struct store *store, struct record_batch *b,
                      struct err *err)
{
    int r = 0;

    if (b->n && l->soaks)
        r = store_lease_keep(store, l->soaks, clock_now(), err);
    if (b->n && (!l->soaks || r == ERR_NOT_FOUND))
        r = store_lease_grant(store, SOAKS_TTL, clock_now(), &l->soaks, err);
    if (!r && b->n)
        r = store_ephemeral_put(store, l->soaks, b->items, b->n, err);
    if (!r && b->n_ended)
        r = store_ephemeral_delete(store, b->ended, b->n_ended, err);
    return r;
}

static int save(struct driver_lease *l, struct store *store, struct err *err)
{
    int r = 0;

    for (size_t from = 0; from < l->saving.n && !r; from += BATCH) {
        struct record_batch b = {.n = 0};

        for (size_t i = 0; i < BATCH && from + i < l->saving.n; i++)
            batch_add(&b, i, &l->saving.at[from + i]);
        r = save_batch(l, store, &b, err);
    }
    return r;
}

static void run(struct read_job *job, struct store *store)
{
    struct driver_lease *l = CONTAINER_OF(job, struct driver_lease, job);
    struct err err = ERR_NULL;
    bool held = false;
    int r = take_lease(l, store, &held, &err);

    if (!r && !held)
        l->has_loaded = false; /* another one keeps them now */
    if (!r && held && !l->has_loaded) {
        r = store_ephemeral_list(store, SOAKS, load_soak, l, &err);
        if (!r)
            r = store_ephemeral_list(store, PIECES, load_piece, l, &err);
        l->has_loaded = r == 0;
    }
    if (!r && held)
        r = save(l, store, &err);
    if (!r && l->is_leaving) {
        r = store_lease_revoke(store, l->lease, &err);
        held = false;
    }
    if (r && !l->failed)
        LOG(WARN, "driver_lease_failed", LOG_C("error", err.text));
    l->failed = r != 0;
    l->holds = r == 0 && held;
}

static void done(struct read_job *job)
{
    struct driver_lease *l = CONTAINER_OF(job, struct driver_lease, job);

    l->is_busy = false;
    l->is_held = l->holds;
    l->done(l->ctx);
}

/* ---- visits ---- */

void driver_lease_visit(struct driver_lease *l, struct drive_records *records)
{
    ASSERT(!l->is_busy);
    drive_records_deinit(&l->saving);
    l->saving = *records;
    *records = (struct drive_records){.n = 0};
    l->job.run = run;
    l->job.done = done;
    l->is_busy = true;
    committer_read(l->committer, &l->job);
}

void driver_lease_leave(struct driver_lease *l, struct drive_records *records)
{
    l->is_leaving = true;
    driver_lease_visit(l, records);
}

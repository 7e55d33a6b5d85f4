/*
 * The keeper. See keeper.h.
 */
#include "server/hub/keeper.h"

#include "base/log.h"
#include "proto/convert.h"

#include <trimtab/v1/presence.pb-c.h>

#define PREFIX STR("instance/")

static const nsec_t LEASE_TTL = (nsec_t)30 * 24 * 3600 * NSEC_PER_S;

enum { BATCH = STORE_EPHEMERAL_ITEMS_MAX, LEAVING_BYTES_MAX = 16 << 20 };

/* ---- packing ---- */

static struct shared *key_of(struct str id)
{
    struct shared *key = shared_new(PREFIX.len + id.len);

    if (!key)
        return NULL;
    memcpy(key->data, PREFIX.data, PREFIX.len);
    memcpy(key->data + PREFIX.len, id.data, id.len);
    return key;
}

/* A hello that is too large to be kept is kept without its scopes: who it is matters more than what it wanted. */
static struct shared *pack(const struct keeper *k, const struct presence *p)
{
    const struct introduction *who = p->introduction;
    Trimtab__V1__KeptPresence m = TRIMTAB__V1__KEPT_PRESENCE__INIT;
    Trimtab__V1__Hello hello = *who->hello;
    unsigned char digest[DIGEST_BYTES];

    hello.cursor = NULL;
    hello.serving = NULL;
    if (protobuf_c_message_get_packed_size(&hello.base) > KEEPER_HELLO_MAX)
        hello.n_scopes = 0;
    m.hello = &hello;
    m.owner = who->owner;
    m.offline_since_ms = p->is_connected ? 0 : p->seen_ms;
    m.store_id = proto_bytes(str_of(k->store_id, STORE_ID_BYTES));
    m.proved = p->standing.proved;
    m.whole = p->whole;
    m.concerned = p->standing.concerned;
    m.taken_ms = p->taken_ms;
    if (who->has_secret)
        m.secret_hash = proto_bytes(str_of(who->secret.bytes, SHA256_BYTES));
    digest_put(p->standing.serving, digest);
    if (p->standing.has_serving)
        m.serving_digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    return proto_pack(&m.base, 0);
}

/* A record of an instance that is offline as far as anybody knows; NULL: damaged, or no memory. */
static struct presence *unpack(const struct keeper *k, struct str bytes, int64_t now_ms)
{
    Trimtab__V1__KeptPresence *m = trimtab__v1__kept_presence__unpack(
        &proto_allocator, bytes.len, (const uint8_t *)bytes.data);
    struct introduction_opts opts = {.peer = "", .transport = "", .may_lack_scopes = true};
    struct introduction *who = NULL;
    struct presence *p = NULL;
    struct sha256 secret;

    if (m) {
        opts.hello = m->hello;
        opts.owner = m->owner;
    }
    if (m && m->secret_hash.len == SHA256_BYTES) {
        memcpy(secret.bytes, m->secret_hash.data, SHA256_BYTES);
        opts.secret = &secret;
    }
    if (m && m->hello && m->hello->instance && introduction_new(&opts, &who, NULL) == 0)
        p = presence_new(who);
    if (p) {
        p->taken_ms = m->taken_ms;
        p->is_restored = true;
        p->seen_ms = m->offline_since_ms ? m->offline_since_ms : now_ms;
    }
    if (p && str_eq(proto_str(m->store_id), str_of(k->store_id, STORE_ID_BYTES))) {
        p->whole = m->whole;
        p->has_stood = true; /* while it was there */
        p->standing.proved = m->proved;
        p->standing.concerned = m->concerned;
        p->standing.has_serving =
            digest_get(proto_str(m->serving_digest), &p->standing.serving);
    }
    (void)introduction_unref(who);
    if (m)
        trimtab__v1__kept_presence__free_unpacked(m, &proto_allocator);
    return p;
}

/* ---- on the committer's thread ---- */

static int load_one(void *ctx, const struct store_ephemeral *item)
{
    struct keeper *k = ctx;
    struct shared *bytes = shared_copy(item->bytes);

    if (bytes && VEC_PUSH(&k->loaded, bytes))
        return 0;
    (void)shared_unref(bytes);
    return ERR_NOMEM;
}

static void load(struct read_job *job, struct store *store)
{
    struct keeper *k = CONTAINER_OF(job, struct keeper, job);
    struct err err = ERR_NULL;

    k->failed = store_ephemeral_list(store, PREFIX, load_one, k, &err) != 0;
    if (k->failed)
        LOG(WARN, "instances_not_read", LOG_C("error", err.text));
}

static int keep_lease(struct keeper *k, struct store *store, struct err *err)
{
    int r = k->lease ? store_lease_keep(store, k->lease, clock_now(), err) : ERR_NOT_FOUND;

    return r == ERR_NOT_FOUND ? store_lease_grant(store, LEASE_TTL, clock_now(), &k->lease, err)
                              : r;
}

static int write_batch(struct keeper *k, struct store *store, size_t from, struct err *err)
{
    struct store_ephemeral items[BATCH];
    struct str gone[BATCH];
    size_t n = 0, n_gone = 0;
    int r = 0;

    for (size_t i = from; i < k->items.n && i < from + BATCH; i++) {
        struct str key = shared_str(k->items.at[i].key);

        if (k->items.at[i].bytes)
            items[n++] =
                (struct store_ephemeral){.key = key, .bytes = shared_str(k->items.at[i].bytes)};
        else
            gone[n_gone++] = key;
    }
    /* First what is to be forgotten: who took the id since is written by the same batch. */
    if (n_gone)
        r = store_ephemeral_delete(store, gone, n_gone, err);
    if (!r && n)
        r = store_ephemeral_put(store, k->lease, items, n, err);
    return r;
}

static void write_all(struct read_job *job, struct store *store)
{
    struct keeper *k = CONTAINER_OF(job, struct keeper, job);
    struct err err = ERR_NULL;
    int r = keep_lease(k, store, &err);

    for (size_t from = 0; from < k->items.n && !r; from += BATCH)
        r = write_batch(k, store, from, &err);
    if (r && !k->failed)
        LOG(WARN, "instances_not_kept", LOG_C("error", err.text));
    k->failed = r != 0;
}

int keeper_forget(struct store *store, struct str id, struct err *err)
{
    struct shared *key = key_of(id);
    struct str keys[] = {key ? shared_str(key) : STR_NULL};
    int r = key ? store_ephemeral_delete(store, keys, 1, err)
                : err_set(err, ERR_NOMEM, "no memory");

    (void)shared_unref(key);
    return r;
}

/* ---- on the loop ---- */

static int by_age(const void *a, const void *b)
{
    struct presence *const *pa = a, *const *pb = b;

    return pa[0]->seen_ms < pb[0]->seen_ms ? -1 : pa[0]->seen_ms > pb[0]->seen_ms;
}

/* Those that are here already are connected: what they say is newer. */
static void restore(struct keeper *k)
{
    int64_t now_ms = clock_wall_ms();
    struct presence **list = NEW_ARRAY(struct presence *, k->loaded.n);
    size_t n = 0, restored = 0;

    for (size_t i = 0; i < k->loaded.n; i++) {
        struct presence *p = list ? unpack(k, shared_str(k->loaded.at[i]), now_ms) : NULL;

        if (p)
            list[n++] = p;
        (void)shared_unref(k->loaded.at[i]);
    }
    VEC_DEINIT(&k->loaded);
    if (n)
        qsort(list, n, sizeof(struct presence *), by_age);
    for (size_t i = 0; i < n; i++) {
        bool is_new = roster_restore(k->roster, list[i]);

        restored += is_new;
        if (!is_new)
            (void)presence_unref(list[i]);
    }
    (void)mem_free(list);
    LOG(INFO, "instances_known", LOG_U64("offline", restored));
}

static void loaded(struct read_job *job)
{
    struct keeper *k = CONTAINER_OF(job, struct keeper, job);

    k->is_busy = false;
    k->has_loaded = true;
    if (k->is_open)
        restore(k);
}

static void items_clear(struct keeper *k)
{
    for (size_t i = 0; i < k->items.n; i++) {
        (void)shared_unref(k->items.at[i].key);
        (void)shared_unref(k->items.at[i].bytes);
    }
    VEC_DEINIT(&k->items);
}

static void written(struct read_job *job)
{
    struct keeper *k = CONTAINER_OF(job, struct keeper, job);

    k->is_busy = false;
    if (k->failed) /* it is tried again, before anything newer */
        return;
    k->n_written += k->items.n;
    items_clear(k);
}

/* Takes what is due, oldest first, up to so many bytes. Without memory the rest waits. */
static void take_due(struct keeper *k, size_t bytes_max, nsec_t now)
{
    size_t bytes = 0;

    while (k->gone.n) {
        struct kept_item item = {.key = k->gone.at[k->gone.n - 1]};

        if (!VEC_PUSH(&k->items, item))
            return;
        k->gone.n--;
    }
    while (bytes < bytes_max && !link_is_alone(&k->roster->due)) {
        struct instance *i = LINK_OF(k->roster->due.next, struct instance, due);
        struct kept_item item = {key_of(str_c(i->id)), pack(k, i->presence)};

        if (!item.key || !item.bytes || !VEC_PUSH(&k->items, item)) {
            (void)shared_unref(item.key);
            (void)shared_unref(item.bytes);
            return;
        }
        bytes += item.key->len + item.bytes->len;
        roster_kept(i, now);
    }
}

static void write_items(struct keeper *k)
{
    k->job.run = write_all;
    k->job.done = written;
    k->is_busy = true;
    committer_read(k->committer, &k->job);
}

void keeper_tick(struct keeper *k, nsec_t now)
{
    if (!k->is_open || !k->has_loaded || k->is_busy || now < k->next)
        return;
    k->next = now + NSEC_PER_S;
    if (!k->items.n)
        take_due(k, KEEPER_BYTES_PER_S, now);
    if (k->items.n)
        write_items(k);
}

nsec_t keeper_lag(const struct keeper *k, nsec_t now)
{
    if (!k->is_open || link_is_alone(&k->roster->due))
        return 0;
    return now - LINK_OF(k->roster->due.next, struct instance, due)->due_since;
}

/* ---- life ---- */

static void forgotten(void *ctx, struct str id)
{
    struct keeper *k = ctx;
    struct shared *key = key_of(id);

    if (key && !VEC_PUSH(&k->gone, key))
        (void)shared_unref(key); /* it goes with the lease, or at the next start by its age */
}

void keeper_open(struct keeper *k, struct roster *roster, struct committer *committer)
{
    struct store_identity identity = committer_identity(committer);

    *k = (struct keeper){.roster = roster, .committer = committer, .is_open = true};
    memcpy(k->store_id, identity.id.bytes, STORE_ID_BYTES);
    roster->forgotten = forgotten;
    roster->ctx = k;
    k->job.run = load;
    k->job.done = loaded;
    k->is_busy = true;
    committer_read(committer, &k->job);
}

void keeper_leave(struct keeper *k)
{
    if (!k->is_open)
        return;
    k->is_open = false;
    k->roster->forgotten = NULL;
    if (k->is_busy || !k->has_loaded)
        return; /* what is under way is written; what waits behind it is as old as the lag says */
    take_due(k, LEAVING_BYTES_MAX, clock_now());
    if (k->items.n)
        write_items(k);
}

void keeper_close(struct keeper *k)
{
    items_clear(k);
    for (size_t i = 0; i < k->loaded.n; i++)
        (void)shared_unref(k->loaded.at[i]);
    VEC_DEINIT(&k->loaded);
    for (size_t i = 0; i < k->gone.n; i++)
        (void)shared_unref(k->gone.at[i]);
    VEC_DEINIT(&k->gone);
}

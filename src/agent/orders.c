/*
 * Orders of the server. See orders.h.
 */
#include "agent/agent.h"

#include "base/file.h"
#include "base/log.h"

#include <jansson.h>

enum {
    ORDERS_FILE_MAX = 16384,
    AGAIN_MS = 1000, /* after an order could not be carried out */
};

/* An order to try again that waits for its turn. Texts stand behind it. */
struct order_waiting {
    struct order_waiting *next;
    uint64_t revision;
    bool is_release; /* else to try again */
    size_t n;
    char **ids;
    struct arena arena;
};

/* ---- the file ---- */

static json_t *as_json(const struct orders *o)
{
    char store[2 * SYNC_STORE_ID_BYTES + 1];

    hex_encode(o->store_id, SYNC_STORE_ID_BYTES, store);
    return json_pack("{s:s, s:I, s:I, s:b, s:s}", "store", store, "done", (json_int_t)o->done,
                     "fleet", (json_int_t)o->fleet, "paused", (int)o->is_paused, "reason",
                     o->reason);
}

/* ERR_IO, ERR_NOMEM: it is not written down, so it must not be acknowledged. */
static int save(struct agent *a)
{
    struct err err = ERR_NULL;
    json_t *j = as_json(&a->orders);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    int r = text ? file_replace(a->orders.path, str_c(text), 0600, &err) : ERR_NOMEM;

    free(text);
    json_decref(j);
    if (r)
        LOG(ERROR, "orders_not_kept", LOG_C("error", err.code ? err.text : "out of memory"));
    return r;
}

static bool from_json(const json_t *j, struct orders *o)
{
    const char *store, *reason;
    json_int_t done, fleet;
    int paused;

    if (json_unpack((json_t *)(uintptr_t)j, "{s:s, s:I, s:I, s:b, s:s}", "store", &store,
                    "done", &done, "fleet", &fleet, "paused", &paused, "reason", &reason))
        return false;
    if (!hex_decode(str_c(store), o->store_id, SYNC_STORE_ID_BYTES) || done < 0 || fleet < 0)
        return false;
    o->done = (uint64_t)done;
    o->fleet = (uint64_t)fleet;
    o->is_paused = paused != 0;
    (void)snprintf(o->reason, sizeof(o->reason), "%s", reason);
    return true;
}

/* Without it the server says anew what holds. */
static void load(struct agent *a)
{
    owned(buf) struct buf text = BUF_NULL(ORDERS_FILE_MAX);
    struct err err = ERR_NULL;
    json_t *j;
    int r = file_read(a->orders.path, &text, &err);

    if (r == ERR_NOT_FOUND)
        return;
    j = r ? NULL : json_loadb(text.data, text.len, 0, NULL);
    if (!j || !from_json(j, &a->orders)) {
        const char *path = a->orders.path;

        LOG(WARN, "orders_broken", LOG_C("file", path),
            LOG_C("error", r ? err.text : "not what an agent wrote"));
        a->orders = (struct orders){.path = path};
    }
    json_decref(j);
}

/* ---- the switch of the fleet ---- */

static void set_pause(struct agent *a, bool is_paused, const char *reason)
{
    struct orders *o = &a->orders;
    struct str text = str_part(str_c(reason), 0, ORDER_TEXT_MAX);

    text = str_part(text, 0, str_utf8_prefix(text));
    (void)snprintf(o->reason, sizeof(o->reason), "%.*s", STR_ARG(text));
    if (o->is_paused != is_paused)
        LOG(WARN, is_paused ? "fleet_paused" : "fleet_resumed", LOG_C("reason", o->reason));
    o->is_paused = is_paused;
    o->is_doubtful = false;
    job_pause(a->job, is_paused);
}

static void take_fleet(struct agent *a, const struct sync_order *order)
{
    bool is_paused = order->kind == TRIMTAB__V1__ORDER_KIND__PAUSE_FLEET;

    set_pause(a, is_paused, order->reason);
    a->orders.fleet = order->revision;
    if (save(a) == 0)
        sync_order_done(a->sync, order->revision);
}

/* ---- trying again ---- */

static struct order_waiting *waiting_free(struct order_waiting *w)
{
    if (!w)
        return NULL;
    arena_deinit(&w->arena);
    return mem_free(w);
}

static struct order_waiting *waiting_new(const struct sync_order *order)
{
    struct order_waiting *w = NEW(struct order_waiting);

    if (!w)
        return NULL;
    w->revision = order->revision;
    w->is_release = order->kind == TRIMTAB__V1__ORDER_KIND__RELEASE;
    w->n = order->n_resources;
    w->ids = ARENA_ARRAY(&w->arena, char *, w->n);
    for (size_t i = 0; w->ids && i < w->n; i++)
        w->ids[i] = arena_c(&w->arena, str_c(order->resources[i]));
    return arena_failed(&w->arena) ? waiting_free(w) : w;
}

/* ---- letting go ---- */

struct letting_go {
    const struct order_waiting *order;
    VEC(struct sync_release) names;
};

/* What is only needed goes by itself. */
static int add_held(void *ctx, const struct sync_held *h)
{
    struct letting_go *l = ctx;
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);
    bool is_named = false;

    key_put_id(h->item->key, &id);
    if (buf_status(&id))
        return ERR_NOMEM;
    for (size_t i = 0; i < l->order->n && !is_named; i++)
        is_named = str_eq(buf_str(&id), str_c(l->order->ids[i]));
    if (!is_named || h->is_needed)
        return 0;
    return VEC_PUSH(&l->names, (struct sync_release){h->scope, h->key, h->item->item_hash})
               ? 0
               : ERR_NOMEM;
}

/* What of the order's resources is held goes. A failure: the order comes again. */
static int let_go(struct agent *a, const struct order_waiting *w)
{
    struct letting_go l = {.order = w};
    struct err err = ERR_NULL;
    size_t n = 0;
    int r = sync_each_held(a->sync, add_held, &l);

    if (!r && l.names.n)
        r = sync_release(a->sync, l.names.at, l.names.n, &n, &err);
    VEC_DEINIT(&l.names);
    if (r)
        LOG(ERROR, "not_released", LOG_U64("order", w->revision),
            LOG_C("error", err.code ? err.text : "out of memory"));
    else
        LOG(WARN, "released", LOG_U64("order", w->revision), LOG_U64("items", n));
    return r;
}

static void try_again(struct agent *a, const struct order_waiting *w)
{
    LOG(INFO, "ordered_to_retry", LOG_U64("order", w->revision), LOG_U64("resources", w->n));
    if (w->n)
        job_retry_these(a->job, w->ids, w->n);
    else
        job_retry(a->job, JOB_RETRY_ORDERED);
}

/* Begins what waits, when no job is under way (O2). */
static void begin_waiting(struct agent *a)
{
    struct orders *o = &a->orders;

    while (o->first && !job_is_busy(a->job)) {
        struct order_waiting *w = o->first;

        o->first = w->next;
        if (w->is_release && let_go(a, w)) {
            (void)waiting_free(w);
            sync_link_reconnect(a->link, AGAIN_MS, "an order could not be carried out");
            return;
        }
        o->running = w->revision;
        if (!w->is_release)
            try_again(a, w);
        job_kick(a->job); /* also when nothing is refused: that is told, too */
        (void)waiting_free(w);
    }
}

/* Without memory the link is made anew, so that it comes again. */
static void take_other(struct agent *a, const struct sync_order *order)
{
    struct order_waiting **end = &a->orders.first, *w = waiting_new(order);

    if (!w) {
        sync_link_reconnect(a->link, 0, "out of memory");
        return;
    }
    while (*end)
        end = &(*end)->next;
    *end = w;
    begin_waiting(a);
}

void orders_take(void *agent, const struct sync_order *order)
{
    struct agent *a = agent;
    struct orders *o = &a->orders;

    if (!order) {
        while (o->first) {
            struct order_waiting *w = o->first;

            o->first = w->next;
            (void)waiting_free(w);
        }
        o->running = o->done = o->fleet = 0;
        o->is_doubtful = o->is_paused;
        return;
    }
    memcpy(o->store_id, order->store_id, SYNC_STORE_ID_BYTES);
    if (order->kind == TRIMTAB__V1__ORDER_KIND__PAUSE_FLEET ||
        order->kind == TRIMTAB__V1__ORDER_KIND__RESUME_FLEET)
        take_fleet(a, order);
    else if (order->kind == TRIMTAB__V1__ORDER_KIND__RETRY ||
             order->kind == TRIMTAB__V1__ORDER_KIND__RELEASE)
        take_other(a, order);
    else /* of a newer server: it is not acknowledged, so the server shows that it was not done */
        LOG(WARN, "order_unknown", LOG_U64("order", order->revision));
}

void orders_heard(struct agent *a)
{
    if (!a->orders.is_doubtful)
        return;
    set_pause(a, false, "the server has another history, which knows of no pause");
    (void)save(a); /* else it is found out anew after the next start */
}

/* O1: what was refused then has been tried since, and that was told. */
void orders_idle(void *agent)
{
    struct agent *a = agent;
    struct orders *o = &a->orders;
    uint64_t before = o->done;

    if (o->running && !a->must_tell && !a->ledger.must_rescan && !job_is_retrying(a->job)) {
        o->done = o->running;
        if (save(a) == 0) {
            sync_order_done(a->sync, o->running);
            o->running = 0;
        } else {
            o->done = before;
        }
    }
    begin_waiting(a);
}

/* ---- life ---- */

int orders_open(struct agent *a, struct err *err)
{
    owned(buf) struct buf path = BUF_NULL(COPY_PATH_MAX);
    struct sync_cursor cursor = sync_status(a->sync).cursor;
    struct orders *o = &a->orders;

    buf_printf(&path, "%s/orders", a->config.data_dir);
    o->path = arena_c(&a->arena, buf_str(&path));
    if (buf_status(&path) || arena_failed(&a->arena))
        return err_set(err, ERR_NOMEM, "out of memory");
    load(a);
    if (memcmp(cursor.store_id, o->store_id, SYNC_STORE_ID_BYTES) == 0)
        sync_load_orders(a->sync, o->done, o->fleet);
    if (o->is_paused)
        job_pause(a->job, true);
    return 0;
}

void orders_close(struct agent *a)
{
    while (a->orders.first) {
        struct order_waiting *w = a->orders.first;

        a->orders.first = w->next;
        (void)waiting_free(w);
    }
}

/*
 * Reading what is: resources from the newest state, never from the store.
 */
#include "server/use/api.h"
#include "server/use/methods.h"

#include "model/below.h"
#include "proto/record.h"

enum {
    LIST_DEFAULT = 1000,
    LIST_MAX = 10000,
    LIST_CONTENT_MAX = 3 << 20,
    LIST_SEEN_MAX = 30000, /* looked at for one page */
    LIST_HERE = 100, /* pages of more are made beside the loops, as contents of more are read */
    GET_HERE = 64 << 10,
    GET_WAIT_MS = 10000,
};

/* ---- get ---- */

static const Trimtab__V1__GetRequest *get_request(const struct api_call *call)
{
    return (const Trimtab__V1__GetRequest *)call->request;
}

static int not_there(const char *id, struct err *err)
{
    (void)err_set(err, ERR_NOT_FOUND, "there is no such resource");
    err_place(err, "%s", id);
    err_hint(err, "trimtab ls shows what there is");
    return ERR_NOT_FOUND;
}

static void read_version(struct api_call *call, struct store *store)
{
    const Trimtab__V1__GetRequest *q = get_request(call);
    const Trimtab__V1__Record *record;
    const Trimtab__V1__RecordChange *change;
    struct str key;
    struct version *newest, *v;
    uint64_t revision;

    call->result = api_key(call, q->id, &key, &call->err);
    if (call->result)
        return;
    newest = state_newest(call->state, key);
    call->result = newest ? api_record_of_version(call, store, newest, q->id, q->version,
                                                  &record, &revision)
                          : not_there(q->id, &call->err);
    if (call->result)
        return;
    change = record_change(record, q->id);
    v = version_from_record(change, revision, record->time_ms);
    if (v) {
        Trimtab__V1__Resource *r = resource_message(v, !q->no_content, &call->arena);

        if (r) {
            r->author = arena_c(&call->arena, str_c(record->author));
            r->message = arena_c(&call->arena, str_c(record->message));
        }
        call->response = (ProtobufCMessage *)r;
    }
    (void)version_unref(v);
}

static void read_newest(struct api_call *call, struct store *store)
{
    struct str key;
    struct version *v = NULL;

    (void)store; /* the state has it */
    call->result = api_key(call, get_request(call)->id, &key, &call->err);
    if (!call->result)
        v = state_find(call->state, key);
    if (!call->result && !v)
        call->result = not_there(get_request(call)->id, &call->err);
    if (v)
        call->response = (ProtobufCMessage *)resource_message(v, true, &call->arena);
    if (v && !call->response)
        call->result = ERR_NOMEM;
}

static void get_now(struct api_call *call)
{
    const Trimtab__V1__GetRequest *q = get_request(call);
    struct version *v;
    struct err err = ERR_NULL;
    struct str key;
    int r = api_key(call, q->id, &key, &err);

    if (r) {
        api_fail(call, &err);
        return;
    }
    r = api_require_sight(call, q->id);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    if (q->version) {
        api_read(call, read_version, api_read_finish);
        return;
    }
    v = state_find(call->hub->state, key);
    if (!v) {
        (void)not_there(q->id, &err);
        api_fail(call, &err);
        return;
    }
    if (call->form == API_BYTES) {
        call->bytes = (struct segment){shared_ref(v->wire), v->content};
        api_answer(call, (ProtobufCMessage *)resource_message(v, false, &call->arena));
        return;
    }
    if (!q->no_content && v->content.len > GET_HERE) {
        api_read(call, read_newest, api_read_finish);
        return;
    }
    api_answer(call, (ProtobufCMessage *)resource_message(v, !q->no_content, &call->arena));
}

static bool get_check(struct waiter *w)
{
    struct api_call *call = CONTAINER_OF(w, struct api_call, waiter);

    if (call->hub->state->revision < get_request(call)->min_revision) {
        struct err err = ERR_NULL;

        if (!call->hub->is_draining)
            return false;
        (void)err_set(&err, ERR_UNAVAILABLE, "the server is shutting down");
        api_fail(call, &err);
        return true;
    }
    link_remove(&w->link);
    timer_stop(&call->timer);
    get_now(call);
    return true;
}

static void get_late(struct timer *t, void *ctx)
{
    struct api_call *call = ctx;
    struct err err = ERR_NULL;

    (void)t;
    (void)err_set(&err, ERR_TIMEOUT, "revision %llu is not here yet, the newest is %llu",
                  (unsigned long long)get_request(call)->min_revision,
                  (unsigned long long)call->hub->state->revision);
    api_fail(call, &err);
}

void api_get(struct api_call *call)
{
    if (call->hub->state->revision >= get_request(call)->min_revision) {
        get_now(call);
        return;
    }
    call->waiter.check = get_check;
    hub_wait(call->hub, &call->waiter);
    call->timer.fn = get_late;
    call->timer.ctx = call;
    timer_start(&call->timer, call->hub->loop, GET_WAIT_MS, 0);
}

/* ---- list ---- */

/* A prefix may end in a slash, a star or both, which change nothing. */
static struct str space_of(struct str prefix)
{
    if (str_ends(prefix, STR("*")))
        prefix.len--;
    if (str_ends(prefix, STR("/")))
        prefix.len--;
    return prefix;
}

static bool is_listed(const Trimtab__V1__ListRequest *q, const struct version *v)
{
    return (q->deleted || !v->deleted) &&
           (!*q->name || str_glob(str_c(q->name), key_name(v->key).name));
}

struct listing {
    Trimtab__V1__ListResponse *response;
    size_t limit, content_bytes;
};

/* False when the page is full. */
static bool list_add(struct listing *l, const Trimtab__V1__ListRequest *q,
                     const struct version *v, struct arena *a)
{
    if (l->response->n_resources &&
        (l->response->n_resources == l->limit ||
         (q->content && l->content_bytes + v->content.len > LIST_CONTENT_MAX))) {
        l->response->next = l->response->resources[l->response->n_resources - 1]->id;
        return false;
    }
    l->content_bytes += v->content.len;
    l->response->resources[l->response->n_resources++] = resource_message(v, q->content, a);
    return !arena_failed(a);
}

/* The page goes on behind a key. */
static void list_goes_on(struct listing *l, struct str key, struct arena *a)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    key_put_id(key, &id);
    l->response->next = arena_c(a, buf_str(&id));
}

static void list_fill(struct api_call *call, struct listing *l, struct str after)
{
    const Trimtab__V1__ListRequest *q = (const Trimtab__V1__ListRequest *)call->request;
    struct sight sight = api_sight(call);
    struct below_walk walk;
    struct version *v;

    below_walk_init(&walk, call->state,
                    &(struct below_opts){.space = space_of(str_c(q->prefix)),
                                         .kind = str_c(q->kind),
                                         .after = after,
                                         .most = LIST_SEEN_MAX});
    while ((v = below_walk_next(&walk)))
        if (is_listed(q, v) && sight_has_key(&sight, v->key) &&
            !list_add(l, q, v, &call->arena))
            return;
    if (below_walk_has_more(&walk))
        list_goes_on(l, walk.last_seen, &call->arena);
}

static size_t list_limit(const Trimtab__V1__ListRequest *q)
{
    return MIN(q->limit ? q->limit : LIST_DEFAULT, (size_t)LIST_MAX);
}

/* One page of the pinned state. */
static int list_page(struct api_call *call)
{
    const Trimtab__V1__ListRequest *q = (const Trimtab__V1__ListRequest *)call->request;
    struct arena *a = &call->arena;
    Trimtab__V1__ListResponse *m = ARENA_NEW(a, Trimtab__V1__ListResponse);
    struct listing l = {m, list_limit(q), 0};
    struct str after = STR("");

    if (*q->after && api_key(call, q->after, &after, &call->err)) {
        err_place(&call->err, "after");
        return call->err.code;
    }
    if (!m)
        return ERR_NOMEM;
    trimtab__v1__list_response__init(m);
    m->resources = ARENA_ARRAY(a, Trimtab__V1__Resource *, l.limit);
    m->next = arena_c(a, STR(""));
    m->revision = call->state->revision;
    if (m->resources)
        list_fill(call, &l, after);
    if (arena_failed(a))
        return ERR_NOMEM;
    call->response = &m->base;
    return *q->prefix && !m->n_resources && !*m->next
               ? api_require(call, RIGHT_TO_VIEW, space_of(str_c(q->prefix)))
               : 0; /* who may see nothing of what he names is told so */
}

static void list_read(struct api_call *call, struct store *store)
{
    (void)store; /* the state has it */
    call->result = list_page(call);
}

void api_list(struct api_call *call)
{
    const Trimtab__V1__ListRequest *q = (const Trimtab__V1__ListRequest *)call->request;

    call->state = state_ref(call->hub->state);
    if (q->content || *q->name || list_limit(q) > LIST_HERE) {
        api_read(call, list_read, api_read_finish);
        return;
    }
    call->result = list_page(call);
    api_read_finish(call);
}

/* ---- info ---- */

/* How many instances are in each state, without listing them. */
static void put_states(const struct hub *hub, Trimtab__V1__InfoResponse *r, struct arena *a)
{
    struct moment at = hub_moment(hub);
    struct roster_counts counts;
    Trimtab__V1__StateCount *entries = ARENA_ARRAY(a, Trimtab__V1__StateCount, PRESENCE_STATES);

    roster_count(&hub->roster, &at, &counts);
    r->failing = counts.failing;
    r->instance_states = ARENA_ARRAY(a, Trimtab__V1__StateCount *, PRESENCE_STATES);
    for (int i = 0; entries && r->instance_states && i < PRESENCE_STATES; i++) {
        trimtab__v1__state_count__init(&entries[i]);
        entries[i].state = arena_c(a, str_c(presence_state_name((enum presence_state)i)));
        entries[i].count = counts.states[i];
        r->instance_states[r->n_instance_states++] = &entries[i];
    }
}

void api_info(struct api_call *call)
{
    struct hub *hub = call->hub;
    struct arena *a = &call->arena;
    Trimtab__V1__InfoResponse *r = ARENA_NEW(a, Trimtab__V1__InfoResponse);
    struct store_head head = committer_head(hub->committer);
    char hex[SHA256_HEX_BYTES + 1], time[WALL_TEXT_MAX];

    if (!r) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    trimtab__v1__info_response__init(r);
    r->version = arena_c(a, str_c(TRIMTAB_VERSION));
    hex_encode(hub->identity.id.bytes, STORE_ID_BYTES, hex);
    r->store_id = arena_c(a, str_c(hex));
    hex_encode(head.chain.bytes, SHA256_BYTES, hex);
    r->chain = arena_c(a, str_c(hex));
    r->head = hub->state->revision;
    r->resources = hub->state->n_resources;
    r->content_bytes = hub->state->content_bytes;
    r->instances = hub->roster.n_connected;
    put_states(hub, r, a);
    wall_format(hub->started_ms, time);
    r->started = arena_c(a, str_c(time));
    r->engine = arena_c(
        a, str_part(str_c(hub->config.store), 0, str_index(str_c(hub->config.store), ':')));
    r->draining = hub->is_draining;
    r->lost_revision = hub->lost_revision;
    r->damage = arena_c(a, str_c(committer_stats(hub->committer).damage));
    r->restored_revision = hub->state->restored.revision;
    api_answer(call, &r->base);
}

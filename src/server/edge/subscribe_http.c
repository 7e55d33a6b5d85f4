/*
 * Subscriptions over HTTP: the same sessions of the feed as by gRPC, with frames as JSON.
 *
 *   snapshot  a whole view at one revision; no session
 *   poll      a session that outlives the request: it waits for the next poll of its instance for LINGER_MS
 *   events    a session for as long as the response stream (server-sent events)
 *   ack       acknowledges in the name of an instance, or says how it is, to whichever session it has
 */
#include "server/edge/subscribe_http.h"

#include "server/edge/sse.h"
#include "server/lane/subscribe.h"

#include "base/log.h"
#include "base/vec.h"
#include "model/closure.h"
#include "proto/convert.h"
#include "proto/inbound.h"
#include "proto/json.h"
#include "proto/subject.h"

enum {
    LINGER_MS = 60000,
    POLL_WAIT_MAX_MS = 55000,
    POLL_BYTES_MAX = 64 << 20,
    EVENT_QUEUE_HIGH = 1 << 20,
};

/* ---- frames as JSON ---- */

/* Items show text where they can: nobody reads base64. */
static void show_text(Trimtab__V1__Changes *c)
{
    for (size_t i = 0; i < c->n_put; i++) {
        Trimtab__V1__Item *item = c->put[i];
        struct str content = proto_str(item->content);
        char *text;

        if (!content.len || !str_is_utf8(content) || str_index(content, '\0') < content.len)
            continue;
        text = mem_dup(content.data, content.len);
        if (!text)
            continue;      /* base64 it is */
        item->text = text; /* was the static empty text; freed with the message */
        proto_allocator.free(NULL, item->content.data);
        item->content = (ProtobufCBinaryData){0, NULL};
    }
}

/* A pulled frame as a message; freed by its free_unpacked. NULL without memory. */
static Trimtab__V1__ServerFrame *frame_message(struct feed_frame *frame)
{
    owned(buf) struct buf bytes = BUF_NULL(SIZE_MAX - 1);
    Trimtab__V1__ServerFrame *m;
    struct str packed;

    for (size_t i = 0; i < frame->n; i++)
        buf_put_str(&bytes, frame->segments[i].bytes);
    packed = str_from(buf_str(&bytes), frame->is_framed ? 5 : 0); /* gRPC's prefix */
    feed_frame_deinit(frame);
    if (buf_status(&bytes))
        return NULL;
    m = trimtab__v1__server_frame__unpack(&proto_allocator, packed.len,
                                          (const uint8_t *)packed.data);
    for (size_t i = 0; m && i < m->n_changes; i++)
        show_text(m->changes[i]);
    return m;
}

static void frame_free(Trimtab__V1__ServerFrame *m)
{
    trimtab__v1__server_frame__free_unpacked(m, &proto_allocator);
}

/* ---- who asks, and for what ---- */

static char **split_words(struct arena *a, struct str list, size_t *ret_n)
{
    struct str rest = list, word;
    size_t n = 1, at = 0;
    char **words;

    *ret_n = 0;
    if (!list.len)
        return NULL;
    for (size_t i = 0; i < list.len; i++)
        n += list.data[i] == ',';
    words = ARENA_ARRAY(a, char *, n);
    while (words && str_next(&rest, ',', &word))
        words[at++] = arena_c(a, word);
    *ret_n = at;
    return words;
}

/* namespaces=a,b&kinds=file&names=*.conf: one scope. */
static int query_scope(struct rest *r, Trimtab__V1__Hello *hello, struct err *err)
{
    struct arena *a = &r->arena;
    Trimtab__V1__Scope *scope = ARENA_NEW(a, Trimtab__V1__Scope);
    Trimtab__V1__Selector *selector = ARENA_NEW(a, Trimtab__V1__Selector);
    Trimtab__V1__Scope **scopes = ARENA_NEW(a, Trimtab__V1__Scope *);
    Trimtab__V1__Selector **selectors = ARENA_NEW(a, Trimtab__V1__Selector *);
    struct str namespaces = rest_query(r, "namespaces"), name = rest_query(r, "scope");

    if (!namespaces.len) {
        (void)err_set(err, ERR_INVALID, "the parameter namespaces is needed");
        err_hint(err, "namespaces=shop/prod,shop/common");
        return ERR_INVALID;
    }
    if (!scope || !selector || !scopes || !selectors)
        return ERR_NOMEM;
    trimtab__v1__scope__init(scope);
    trimtab__v1__selector__init(selector);
    scope->name = arena_c(a, name);
    scope->namespaces = split_words(a, namespaces, &scope->n_namespaces);
    selector->kinds = split_words(a, rest_query(r, "kinds"), &selector->n_kinds);
    selector->names = split_words(a, rest_query(r, "names"), &selector->n_names);
    selectors[0] = selector;
    scope->selectors = selectors;
    scope->n_selectors = selector->n_kinds || selector->n_names;
    scopes[0] = scope;
    hello->scopes = scopes;
    hello->n_scopes = 1;
    return arena_failed(a) ? ERR_NOMEM : 0;
}

/* labels=env:prod,zone:a */
static int query_labels(struct rest *r, Trimtab__V1__Instance *instance, struct err *err)
{
    size_t n;
    char **words = split_words(&r->arena, rest_query(r, "labels"), &n);

    instance->labels = ARENA_ARRAY(&r->arena, Trimtab__V1__Instance__LabelsEntry *, n);
    for (size_t i = 0; instance->labels && i < n; i++) {
        Trimtab__V1__Instance__LabelsEntry *e =
            ARENA_NEW(&r->arena, Trimtab__V1__Instance__LabelsEntry);
        char *colon = strchr(words[i], ':');

        if (!colon)
            return err_set(err, ERR_INVALID, "a label is written name:value");
        if (!e)
            return ERR_NOMEM;
        trimtab__v1__instance__labels_entry__init(e);
        e->key = arena_c(&r->arena, str_of(words[i], (size_t)(colon - words[i])));
        e->value = colon + 1;
        instance->labels[instance->n_labels++] = e;
    }
    return arena_failed(&r->arena) ? ERR_NOMEM : 0;
}

/* As documents show it, in base64, or in hexadecimal. */
static bool read_store_id(struct str text, char *id)
{
    owned(buf) struct buf bytes = BUF_NULL((size_t)3 * FEED_STORE_ID_BYTES);

    if (hex_decode(text, id, FEED_STORE_ID_BYTES))
        return true;
    if (!base64_get(text, &bytes) || bytes.len != FEED_STORE_ID_BYTES)
        return false;
    memcpy(id, bytes.data, FEED_STORE_ID_BYTES);
    return true;
}

/* As an ETag or in hexadecimal, or as documents show it, in base64. */
static bool read_digest(struct str text, char *digest)
{
    owned(buf) struct buf bytes = BUF_NULL((size_t)3 * DIGEST_BYTES);

    if (text.len > 2 && text.data[0] == '"')
        text = str_part(text, 1, text.len - 2);
    if (hex_decode(text, digest, DIGEST_BYTES))
        return true;
    if (!base64_get(text, &bytes) || bytes.len != DIGEST_BYTES)
        return false;
    memcpy(digest, bytes.data, DIGEST_BYTES);
    return true;
}

/* A cursor that proves nothing is none: its client gets everything. */
static void distrust(Trimtab__V1__Hello *hello)
{
    if (hello->cursor && hello->cursor->digest.len != DIGEST_BYTES)
        hello->cursor = NULL;
}

/*
 * Last-Event-ID: HEX-N-MARK. What is marked was sent by this start of the server, for just this subscription; the feed
 * takes such a cursor, which has no digest, at our word.
 */
static int query_last_event(struct rest *r, Trimtab__V1__Hello *hello, struct str last,
                            struct err *err)
{
    struct str store, number, mark = last;
    struct sha256 wish;
    uint64_t revision;
    int rc;

    if (!str_next(&mark, '-', &store) || !str_next(&mark, '-', &number) ||
        !str_u64(number, &revision))
        return err_set(err, ERR_INVALID, "last-event-id is what an event had as its id");
    rc = cursor_wish(hello, &wish);
    if (rc)
        return rc;
    if (!cursor_is_marked(&r->front->lane->hub->cursor_key, &wish, revision, mark))
        return 0;
    hello->cursor = ARENA_NEW(&r->arena, Trimtab__V1__Cursor);
    if (!hello->cursor)
        return ERR_NOMEM;
    trimtab__v1__cursor__init(hello->cursor);
    hello->cursor->store_id = proto_bytes(
        arena_str(&r->arena, str_of(feed_store_id(r->front->lane->feed), FEED_STORE_ID_BYTES)));
    hello->cursor->revision = revision;
    hello->cursor->count = 1;
    return arena_failed(&r->arena) ? ERR_NOMEM : 0;
}

/* store_id=...&revision=N&digest=HEX */
static int query_cursor(struct rest *r, Trimtab__V1__Hello *hello, struct err *err)
{
    struct arena *a = &r->arena;
    struct str store = rest_query(r, "store_id"), revision = rest_query(r, "revision");
    struct str digest = rest_query(r, "digest"),
               last = exchange_header(r->x, "last-event-id");
    Trimtab__V1__Cursor *cursor;
    char *id;

    if (last.len && !revision.data)
        return query_last_event(r, hello, last, err);
    if (!revision.data)
        return 0;
    cursor = ARENA_NEW(a, Trimtab__V1__Cursor);
    id = arena_alloc(a, FEED_STORE_ID_BYTES + DIGEST_BYTES);
    if (!cursor || !id)
        return ERR_NOMEM;
    trimtab__v1__cursor__init(cursor);
    if (!str_u64(revision, &cursor->revision) || !read_store_id(store, id))
        return err_set(err, ERR_INVALID,
                       "a cursor needs revision (a number) and store_id (as in a welcome)");
    cursor->store_id = proto_bytes(str_of(id, FEED_STORE_ID_BYTES));
    cursor->count = 1;
    if (digest.len && !read_digest(digest, id + FEED_STORE_ID_BYTES))
        return err_set(err, ERR_INVALID, "digest is that of an end, a bookmark or an ETag");
    if (digest.len)
        cursor->digest = proto_bytes(str_of(id + FEED_STORE_ID_BYTES, DIGEST_BYTES));
    hello->cursor = cursor;
    return 0;
}

static int query_hello(struct rest *r, Trimtab__V1__Hello **ret_hello, struct err *err)
{
    struct arena *a = &r->arena;
    Trimtab__V1__Hello *hello = ARENA_NEW(a, Trimtab__V1__Hello);
    Trimtab__V1__Instance *instance = ARENA_NEW(a, Trimtab__V1__Instance);
    char **features = ARENA_NEW(a, char *);
    int rc;

    if (!hello || !instance || !features)
        return ERR_NOMEM;
    trimtab__v1__hello__init(hello);
    trimtab__v1__instance__init(instance);
    hello->protocol = 1;
    hello->instance = instance;
    features[0] = arena_c(a, STR(FEATURE_ROLLOUTS)); /* who asks this way is new enough */
    hello->features = features;
    hello->n_features = 1;
    instance->id = arena_c(a, rest_query(r, "instance"));
    instance->host = arena_c(a, rest_query(r, "host"));
    instance->program = arena_c(a, exchange_header(r->x, "user-agent"));
    rc = query_labels(r, instance, err);
    if (!rc)
        rc = query_scope(r, hello, err);
    if (!rc)
        rc = query_cursor(r, hello, err);
    if (!rc && arena_failed(a))
        rc = ERR_NOMEM;
    if (!rc)
        rc = inbound_check(&hello->base, a, err);
    *ret_hello = hello;
    return rc;
}

static void fail(struct rest *r, int rc, struct err *err)
{
    if (!err->code)
        (void)err_set(err, rc, "out of memory");
    rest_fail(r, err);
}

/* ---- snapshot ---- */

static Trimtab__V1__Item *item_message(const struct version *v, struct arena *a)
{
    Trimtab__V1__Item *item = ARENA_NEW(a, Trimtab__V1__Item);
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    if (!item)
        return NULL;
    trimtab__v1__item__init(item);
    key_put_id(v->key, &id);
    item->id = arena_c(a, buf_str(&id));
    item->version = v->number;
    item->revision = v->revision;
    item->content_type = arena_c(a, v->content_type);
    item->metadata = meta_to_proto(v->meta, META_DELIVERED, a);
    item->references = references_to_proto(v->references, &item->n_references, a);
    item->size = v->content.len;
    item->content_hash = proto_bytes(str_of(v->content_hash.bytes, SHA256_BYTES));
    if (str_is_utf8(v->content) && str_index(v->content, '\0') == v->content.len)
        item->text = arena_c(a, v->content);
    else
        item->content = proto_bytes(v->content);
    return item;
}

static int fill_scope(struct rest *r, const struct viewing *viewing,
                      Trimtab__V1__Changes *changes)
{
    struct scope_walk *walk = mem_alloc(scope_walk_size(viewing->scope));
    VEC(Trimtab__V1__Item *) items = {0};
    struct scope_step step;
    int rc = walk ? 0 : ERR_NOMEM;

    trimtab__v1__changes__init(changes);
    changes->scope = arena_c(&r->arena, viewing->scope->name);
    if (walk)
        scope_walk_init(walk, viewing, 0);
    while (!rc && scope_walk_next(walk, &step))
        if (!VEC_PUSH(&items, item_message(step.item, &r->arena)))
            rc = ERR_NOMEM;
    (void)mem_free(walk);
    changes->put = items.at; /* freed by the caller */
    changes->n_put = items.n;
    return rc || arena_failed(&r->arena) ? ERR_NOMEM : 0;
}

/* What the scope refers to: borrowed from the closure. */
static int fill_referred(struct rest *r, const struct closure *closure,
                         Trimtab__V1__Changes *changes)
{
    const struct referred *at = NULL;
    int rc = 0;

    trimtab__v1__changes__init(changes);
    changes->scope = arena_c(&r->arena, SCOPE_REFERRED);
    changes->put = ARENA_ARRAY(&r->arena, Trimtab__V1__Item *, closure->count);
    while (!arena_failed(&r->arena) &&
           (at = closure_next(closure, at ? at->node.key : STR(""), !at)))
        changes->put[changes->n_put++] = item_message(at->version, &r->arena);
    if (arena_failed(&r->arena))
        rc = ERR_NOMEM;
    return rc;
}

static void snapshot_answer(struct rest *r, const Trimtab__V1__Snapshot *s,
                            struct digest digest)
{
    owned(buf) struct buf text = BUF_NULL(512 * MIB);
    unsigned char bytes[DIGEST_BYTES];
    char etag[2 * DIGEST_BYTES + 3];
    struct http_header headers[2];
    struct segment body;
    bool same;
    int rc;

    digest_put(digest, bytes);
    etag[0] = '"';
    hex_encode(bytes, DIGEST_BYTES, etag + 1);
    etag[2 * DIGEST_BYTES + 1] = '"';
    etag[2 * DIGEST_BYTES + 2] = '\0';
    same = str_eq(exchange_header(r->x, "if-none-match"), str_c(etag));
    rc = same ? 0 : proto_to_json_text(&s->base, PROTO_JSON_SPARSE, &text);
    if (rc) {
        struct err err = ERR_NULL;

        fail(r, rc, &err);
        return;
    }
    headers[0] = (struct http_header){STR("etag"), str_c(etag)};
    headers[1] = (struct http_header){STR("content-type"), STR("application/json")};
    body = segment_copy(buf_str(&text));
    (void)exchange_respond(r->x, same ? 304 : 200, headers, 2, &body, same ? 0 : 1);
    rest_free(r);
}

/* subject NULL: who gives no instance has what is stable. */
static void snapshot_now(struct rest *r, const struct scope *scope,
                         const struct subject *subject)
{
    struct viewing viewing = {scope, lane_state(r->front->lane), subject};
    struct closure_view view = {&scope, 1, lane_state(r->front->lane), subject};
    Trimtab__V1__Snapshot s = TRIMTAB__V1__SNAPSHOT__INIT;
    Trimtab__V1__Changes referred, changes = TRIMTAB__V1__CHANGES__INIT,
                                   *list[] = {&referred, &changes};
    unsigned char bytes[DIGEST_BYTES];
    struct closure closure = CLOSURE_NULL;
    struct digest digest;
    struct err err = ERR_NULL;
    struct store_identity identity = committer_identity(r->front->lane->hub->committer);
    int rc = scope_digest(&viewing, &digest, &s.count);

    if (!rc)
        rc = closure_make(&view, &closure);
    if (!rc)
        rc = fill_referred(r, &closure, &referred);
    if (!rc)
        rc = fill_scope(r, &viewing, &changes);
    digest = digest_add(digest, closure.digest);
    digest_put(digest, bytes);
    s.count += closure.count;
    s.store_id = proto_bytes(str_of(identity.id.bytes, STORE_ID_BYTES));
    s.revision = lane_state(r->front->lane)->revision;
    s.digest = (ProtobufCBinaryData){DIGEST_BYTES, bytes};
    s.changes =
        closure.count ? list : list + 1; /* what is referred to comes first, if there is any */
    s.n_changes = closure.count ? 2 : 1;
    if (rc)
        fail(r, rc, &err);
    else
        snapshot_answer(r, &s, digest);
    (void)mem_free(changes.put);
    closure_deinit(&closure);
}

/* Waits for min_revision as any read does. */
struct snapshot_wait {
    struct waiter waiter;
    struct timer timer;
    struct rest *rest;
    struct scope *scope;
    const struct subject *subject; /* NULL: nobody in particular */
    struct introduction *who;      /* whose that is, if the instance is known */
    uint64_t revision;
};

/*
 * Whose side of rollouts is shown: that of the instance as it said of itself when it was connected last, or, when it is not
 * known, as the request says.
 */
static int snapshot_subject(struct snapshot_wait *wait, const Trimtab__V1__Hello *hello)
{
    struct arena *a = &wait->rest->arena;
    const struct instance *i =
        roster_find(&wait->rest->front->lane->hub->roster, str_c(hello->instance->id));
    struct subject *subject;

    if (i) {
        wait->who = introduction_ref(i->presence->introduction);
        wait->subject = wait->who->takes_rollouts ? wait->who->subject : NULL;
        return 0;
    }
    subject = ARENA_NEW(a, struct subject);
    wait->subject = subject;
    return subject ? subject_from_proto(hello->instance, a, subject) : ERR_NOMEM;
}

/* The wait is over, and its request is answered now. */
static void snapshot_answer_now(struct snapshot_wait *wait)
{
    struct introduction *who = take(wait->who);

    snapshot_now(wait->rest, wait->scope, wait->subject);
    (void)introduction_unref(who);
}

static void snapshot_fail(struct snapshot_wait *wait, int rc, struct err *err)
{
    wait->who = introduction_unref(wait->who);
    fail(wait->rest, rc, err);
}

static bool snapshot_check(struct waiter *w)
{
    struct snapshot_wait *wait = CONTAINER_OF(w, struct snapshot_wait, waiter);

    const struct lane *lane = wait->rest->front->lane;
    bool is_here = lane_state(lane)->revision >= wait->revision;

    if (!is_here && !lane->is_draining)
        return false;
    link_remove(&w->link);
    timer_stop(&wait->timer);
    if (!is_here) {
        struct err err = ERR_NULL;

        (void)err_set(&err, ERR_UNAVAILABLE, "the server is shutting down");
        snapshot_fail(wait, ERR_UNAVAILABLE, &err);
        return true;
    }
    snapshot_answer_now(wait);
    return true;
}

static void snapshot_late(struct timer *t, void *ctx)
{
    struct snapshot_wait *wait = ctx;
    struct err err = ERR_NULL;

    (void)t;
    link_remove(&wait->waiter.link);
    (void)err_set(&err, ERR_TIMEOUT, "revision %llu is not here yet",
                  (unsigned long long)wait->revision);
    snapshot_fail(wait, ERR_TIMEOUT, &err);
}

void subscribe_http_snapshot(struct rest *r)
{
    struct snapshot_wait *wait = ARENA_NEW(&r->arena, struct snapshot_wait);
    struct str min = rest_query(r, "min_revision");
    Trimtab__V1__Hello *hello;
    struct err err = ERR_NULL;
    int rc = wait ? query_hello(r, &hello, &err) : ERR_NOMEM;

    if (rc) {
        fail(r, rc, &err);
        return;
    }
    wait->rest = r;
    rc = scopes_from_proto(hello->scopes, hello->n_scopes, hello->instance, &r->arena,
                           &wait->scope, &err);
    if (!rc && min.data && !str_u64(min, &wait->revision))
        rc = err_set(&err, ERR_INVALID, "min_revision is a number");
    if (!rc && *hello->instance->id)
        rc = snapshot_subject(wait, hello);
    if (rc) {
        snapshot_fail(wait, rc, &err);
        return;
    }
    if (lane_state(r->front->lane)->revision >= wait->revision) {
        snapshot_answer_now(wait);
        return;
    }
    wait->waiter.check = snapshot_check;
    wait->timer = (struct timer){.fn = snapshot_late, .ctx = wait};
    hub_wait(r->front->lane->hub, &wait->waiter);
    timer_start(&wait->timer, r->front->lane->loop, 10000, 0);
}

/* ---- long poll ---- */

/* A session between polls, and during one. */
struct poller {
    struct subscriber subscriber;
    struct front *front;
    struct rest *rest;  /* the poll that waits; NULL between two */
    struct timer timer; /* of the wait, or of the lingering */
    struct link link;   /* in front.http_sessions */
    char instance[INSTANCE_ID_MAX + 1];
    VEC(Trimtab__V1__ServerFrame *) frames; /* of the batch that is being collected */
};

static void frames_clear(struct poller *p)
{
    for (size_t i = 0; i < p->frames.n; i++)
        frame_free(p->frames.at[i]);
    VEC_DEINIT(&p->frames);
}

static void poller_free(struct poller *p)
{
    struct map *pollers = &p->front->pollers;

    timer_stop(&p->timer);
    link_remove(&p->link);
    if (*p->instance && map_get(pollers, str_c(p->instance)) == p)
        (void)map_remove(pollers, str_c(p->instance));
    frames_clear(p);
    subscriber_deinit(&p->subscriber);
    (void)mem_free(p);
}

/* The one timer of a poller: for its wait, or for its lingering. */
static void timer_set(struct poller *p, void (*fn)(struct timer *t, void *ctx), uint32_t ms)
{
    timer_stop(&p->timer);
    p->timer = (struct timer){.fn = fn, .ctx = p};
    timer_start(&p->timer, p->subscriber.lane->loop, ms, 0);
}

static void linger_over(struct timer *t, void *ctx)
{
    (void)t;
    poller_free(ctx);
}

/* Answers the poll that waits. A poller to which nobody can come back is gone afterwards. */
static void poll_answer(struct poller *p)
{
    Trimtab__V1__PollResponse response = TRIMTAB__V1__POLL_RESPONSE__INIT;
    owned(buf) struct buf text = BUF_NULL(512 * MIB);
    struct rest *r = take(p->rest);

    response.frames = p->frames.at;
    response.n_frames = p->frames.n;
    if (proto_to_json_text(&response.base, PROTO_JSON_SPARSE, &text)) {
        struct err err = ERR_NULL;

        fail(r, ERR_NOMEM, &err);
    } else {
        (void)exchange_respond_text(r->x, 200, "application/json", buf_str(&text));
        rest_free(r);
    }
    frames_clear(p);
    if (p->subscriber.instance)
        timer_set(p, linger_over, LINGER_MS);
    else
        poller_free(p); /* nobody can come back to it */
}

static void poll_fail(struct poller *p, int code, const char *text)
{
    struct err err = ERR_NULL;

    (void)err_set(&err, code, "%s", text);
    rest_fail(take(p->rest), &err);
    poller_free(p);
}

/* Whether the batch says anything that a poll was waiting for. */
static bool says_something(const struct poller *p)
{
    for (size_t i = 0; i < p->frames.n; i++) {
        const Trimtab__V1__ServerFrame *f = p->frames.at[i];

        if (f->n_changes || f->part || f->ask_inventory ||
            (f->end && f->end->mode != TRIMTAB__V1__MODE__RESUME))
            return true;
    }
    return false;
}

/*
 * Goes on to the next batch as if this one were stored, for who has nothing to store or cannot say it. Nothing is claimed
 * of an instance by that: what it serves it must prove itself.
 */
static bool say_stored(struct subscriber *s, uint64_t revision)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;

    ack.stage = TRIMTAB__V1__STAGE__STORED;
    ack.revision = revision;
    frame.ack = &ack;
    return !feed_session_frame(s->session, &frame, loop_now(s->lane->loop), NULL);
}

static void poll_pull(struct subscriber *s)
{
    struct poller *p = CONTAINER_OF(s, struct poller, subscriber);

    while (p->rest) {
        struct feed_frame frame;
        Trimtab__V1__ServerFrame *m;
        int rc = feed_session_pull(s->session, loop_now(s->lane->loop), &frame);

        if (rc == FEED_NOTHING)
            return;
        m = rc == FEED_FRAME ? frame_message(&frame) : NULL;
        if (!m || !VEC_PUSH(&p->frames, m)) {
            if (m)
                frame_free(m);
            poll_fail(p, ERR_NOMEM, "out of memory");
            return;
        }
        if (m->bookmark) /* while a poll waits, silence is told at its end */
            continue;
        if ((m->end && (says_something(p) || !say_stored(&p->subscriber, m->end->revision))) || m->ask_inventory) {
            poll_answer(p);
            return;
        }
    }
}

static void poll_late(struct timer *t, void *ctx)
{
    (void)t;
    poll_answer(ctx);
}

static void poll_leave(struct subscriber *s, const char *reason)
{
    struct poller *p = CONTAINER_OF(s, struct poller, subscriber);

    if (p->rest)
        poll_fail(p, ERR_UNAVAILABLE, reason);
    else
        poller_free(p);
}

static void poll_wait(struct poller *p, struct rest *r, uint32_t wait_ms)
{
    p->rest = r;
    timer_set(p, poll_late, MIN(wait_ms, (uint32_t)POLL_WAIT_MAX_MS));
    subscribe_ready(&p->subscriber);
}

static struct poller *find_poller(struct front *front, const char *instance)
{
    return *instance ? map_get(&front->pollers, str_c(instance)) : NULL;
}

/* Whether words in the name of an instance are its own. */
static bool owns(const struct rest *r, const char *instance, ProtobufCBinaryData secret)
{
    struct claimant who = claimant_with(r->who.name, proto_str(secret));

    return roster_owns(&r->front->lane->hub->roster, str_c(instance), &who);
}

/* The next poll of a known session: its cursor says that it has stored the batch before. */
static bool poll_again(struct rest *r, const Trimtab__V1__Hello *hello, uint32_t wait_ms)
{
    struct poller *p = find_poller(r->front, hello->instance ? hello->instance->id : "");
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    struct err err = ERR_NULL;

    if (!p || p->rest || !hello->cursor || !owns(r, p->instance, hello->secret) ||
        feed_session_status(p->subscriber.session).sent != hello->cursor->revision)
        return false;
    ack.stage = TRIMTAB__V1__STAGE__STORED;
    ack.revision = hello->cursor->revision;
    ack.received_digest = hello->cursor->digest;
    frame.ack = &ack;
    if (feed_session_frame(p->subscriber.session, &frame, loop_now(r->front->lane->loop), &err))
        return false;
    timer_stop(&p->timer);
    poll_wait(p, r, wait_ms);
    return true;
}

static int say_hello(struct subscriber *s, const Trimtab__V1__Hello *hello, struct err *err)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;

    frame.hello = (Trimtab__V1__Hello *)(uintptr_t)hello; /* protobuf-c has no const */
    return subscriber_frame(s, &frame, err);
}

static void poll_first(struct rest *r, Trimtab__V1__Hello *hello, uint32_t wait_ms)
{
    struct poller *p = NEW(struct poller);
    struct err err = ERR_NULL;
    int rc = p ? subscriber_init(&p->subscriber, r->front->lane, r->x, &r->who, FEED_CLIENT_LISTENS,
                                 &err)
               : ERR_NOMEM;

    if (rc) {
        (void)mem_free(p);
        fail(r, rc, &err);
        return;
    }
    p->front = r->front;
    p->subscriber.pull = poll_pull;
    p->subscriber.leave = poll_leave;
    p->subscriber.transport = "http";
    link_init(&p->link);
    link_before(&r->front->http_sessions, &p->link);
    distrust(hello);
    rc = say_hello(&p->subscriber, hello, &err);
    if (rc) {
        poller_free(p);
        fail(r, rc, &err);
        return;
    }
    if (hello->instance)
        (void)snprintf(p->instance, sizeof(p->instance), "%s", hello->instance->id);
    if (*p->instance && !map_put(&r->front->pollers, str_c(p->instance), p, NULL)) {
        poller_free(p);
        fail(r, ERR_NOMEM, &err);
        return;
    }
    poll_wait(p, r, wait_ms);
}

void subscribe_http_poll(struct rest *r)
{
    Trimtab__V1__Hello *hello = NULL;
    uint64_t wait_ms = 30000;
    struct err err = ERR_NULL;
    struct str wait = rest_query(r, "wait_ms");
    int rc;

    if (r->body.len) {
        Trimtab__V1__PollRequest *q;

        rc = inbound_json(r->body, &trimtab__v1__poll_request__descriptor, &r->arena,
                          (ProtobufCMessage **)&q, &err);
        if (!rc && !q->hello)
            rc = err_set(&err, ERR_INVALID, "a poll needs a hello");
        if (!rc) {
            hello = q->hello;
            wait_ms = q->wait_ms;
        }
    } else {
        rc = query_hello(r, &hello, &err);
    }
    if (!rc && wait.data && !str_u64(wait, &wait_ms))
        rc = err_set(&err, ERR_INVALID, "wait_ms is a number");
    if (rc)
        fail(r, rc, &err);
    else if (!poll_again(r, hello, (uint32_t)MIN(wait_ms, (uint64_t)POLL_WAIT_MAX_MS)))
        poll_first(r, hello, (uint32_t)MIN(wait_ms, (uint64_t)POLL_WAIT_MAX_MS));
}

/* ---- server-sent events ---- */

struct event_stream {
    struct subscriber subscriber;
    struct sse sse;
    char store_id[2 * FEED_STORE_ID_BYTES + 1];
    struct sha256 wish; /* what the marks of its events hold for */
};

static int put_event(const struct event_stream *e, const Trimtab__V1__ServerFrame *m,
                     struct buf *out)
{
    uint64_t revision = m->end ? m->end->revision : m->bookmark ? m->bookmark->revision : 0;
    char mark[CURSOR_MARK_HEX + 1];
    int rc;

    cursor_mark(&e->subscriber.lane->hub->cursor_key, &e->wish, revision, mark);
    if (revision)
        buf_printf(out, "id: %s-%llu-%s\n", e->store_id, (unsigned long long)revision, mark);
    buf_put_c(out, "data: ");
    rc = proto_to_json_text(&m->base, PROTO_JSON_SPARSE, out);
    buf_put_c(out, "\n\n");
    return rc ? rc : buf_status(out);
}

static void events_pull(struct subscriber *s)
{
    struct event_stream *e = CONTAINER_OF(s, struct event_stream, subscriber);

    while (!e->sse.is_ended && exchange_queued(e->sse.x) < EVENT_QUEUE_HIGH) {
        owned(buf) struct buf text = BUF_NULL(POLL_BYTES_MAX);
        struct feed_frame frame;
        Trimtab__V1__ServerFrame *m;
        struct segment segment;
        uint64_t end;
        int rc = feed_session_pull(s->session, loop_now(s->lane->loop), &frame);

        if (rc == FEED_NOTHING)
            return;
        m = rc == FEED_FRAME ? frame_message(&frame) : NULL;
        rc = m ? put_event(e, m, &text) : ERR_NOMEM;
        end = m && m->end ? m->end->revision : 0;
        if (m)
            frame_free(m);
        if (rc) {
            sse_end(&e->sse, NULL);
            return;
        }
        segment = segment_copy(buf_str(&text));
        sse_put(&e->sse, &segment);
        if (end && !s->instance && !say_stored(s, end)) {
            sse_end(&e->sse, NULL);
            return;
        }
    }
}

static void events_leave(struct subscriber *s, const char *reason)
{
    sse_end(&CONTAINER_OF(s, struct event_stream, subscriber)->sse, reason);
}

static void events_writable(struct exchange *x, void *ctx)
{
    struct event_stream *e = ctx;

    (void)x;
    events_pull(&e->subscriber);
}

static void events_close(struct exchange *x, void *ctx, int reason)
{
    struct event_stream *e = ctx;

    (void)x;
    (void)reason;
    sse_closed(&e->sse);
    subscriber_deinit(&e->subscriber);
    (void)mem_free(e);
}

static const struct exchange_ops events_ops = {.on_writable = events_writable,
                                               .on_close = events_close};

void subscribe_http_events(struct rest *r)
{
    struct store_identity identity = committer_identity(r->front->lane->hub->committer);
    struct event_stream *e = NEW(struct event_stream);
    Trimtab__V1__Hello *hello;
    struct err err = ERR_NULL;
    bool started = false;
    int rc = e ? query_hello(r, &hello, &err) : ERR_NOMEM;

    if (!rc)
        rc = cursor_wish(hello, &e->wish);
    if (!rc) {
        rc = subscriber_init(&e->subscriber, r->front->lane, r->x, &r->who, FEED_CLIENT_LISTENS, &err);
        started = !rc;
    }
    if (!rc) {
        e->subscriber.pull = events_pull;
        e->subscriber.leave = events_leave;
        e->subscriber.transport = "sse";
        if (rest_query(r, "revision").data) /* no mark: only a digest proves it */
            distrust(hello);
        rc = say_hello(&e->subscriber, hello, &err);
    }
    if (rc) {
        if (started)
            subscriber_deinit(&e->subscriber);
        (void)mem_free(e);
        fail(r, rc, &err);
        return;
    }
    hex_encode(identity.id.bytes, STORE_ID_BYTES, e->store_id);
    exchange_set_ops(r->x, &events_ops, e);
    sse_begin(&e->sse, r);
    rest_free(r);
}

/* ---- acknowledgement ---- */

void subscribe_http_ack(struct rest *r)
{
    Trimtab__V1__AckRequest *q;
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__AckResponse response = TRIMTAB__V1__ACK_RESPONSE__INIT;
    struct instance *i = NULL;
    struct err err = ERR_NULL;
    int rc = inbound_json(r->body, &trimtab__v1__ack_request__descriptor, &r->arena,
                          (ProtobufCMessage **)&q, &err);

    if (!rc && (!*q->instance || (!q->ack && !q->health)))
        rc = err_set(&err, ERR_INVALID, "an acknowledgement needs instance, and ack or health");
    if (!rc)
        i = roster_find(&r->front->lane->hub->roster, str_c(q->instance));
    if (!rc && (!i || !i->stream)) {
        rc = err_set(&err, ERR_NOT_FOUND, "the instance is not connected");
        err_hint(&err, "poll first, and acknowledge within %d s", LINGER_MS / 1000);
    }
    if (!rc && !owns(r, q->instance, q->secret))
        rc = err_set(&err, ERR_DENIED, "the instance belongs to another credential, or secret");
    if (!rc) {
        frame.ack = q->ack;
        frame.health = q->health;
        rc = subscriber_frame(i->stream, &frame, &err);
    }
    if (rc)
        fail(r, rc, &err);
    else
        rest_answer(r, 200, &response.base);
}

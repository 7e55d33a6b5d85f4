/*
 * A whole view at one revision, over HTTP: no session, and nothing is claimed of anybody by it.
 */
#include "server/edge/subscribe_http.h"

#include "base/vec.h"
#include "model/closure.h"
#include "proto/convert.h"
#include "proto/json.h"
#include "proto/subject.h"
#include "server/edge/answer.h"
#include "server/edge/hello_query.h"
#include "server/hub/errand.h"
#include "server/lane/subscribe.h"

enum { WAIT_MS = 10000 };

/* ---- the view ---- */

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
                      const struct closure *closure, Trimtab__V1__Changes *changes)
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
        if (!closure_withholds(closure, 0, step.item->key) &&
            !VEC_PUSH(&items, item_message(step.item, &r->arena)))
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

/* Made beside the loop. */
struct made {
    int r;
    struct err err;
    char etag[2 * DIGEST_BYTES + 3];
    struct shared *text; /* NULL: failed, or who asks has it */
};

static void make_text(struct rest *r, const Trimtab__V1__Snapshot *s, struct made *made)
{
    owned(buf) struct buf text = BUF_NULL(512 * MIB);

    made->etag[0] = '"';
    hex_encode(s->digest.data, DIGEST_BYTES, made->etag + 1);
    made->etag[2 * DIGEST_BYTES + 1] = '"';
    made->etag[2 * DIGEST_BYTES + 2] = '\0';
    if (answer_is_known(r, str_c(made->etag)))
        return;
    made->r = proto_to_json_text(&s->base, PROTO_JSON_SPARSE, &text);
    made->text = made->r ? NULL : shared_copy(buf_str(&text));
    if (!made->r && !made->text)
        made->r = ERR_NOMEM;
}

/* subject NULL: who gives no instance has what is stable. */
static void snapshot_make(struct rest *r, struct state *state, const struct scope *scope,
                          const struct subject *subject, const struct readable *readable,
                          struct made *made)
{
    struct viewing viewing = {scope, state, subject};
    struct closure_view view = {&scope, 1, state, subject, readable};
    Trimtab__V1__Snapshot s = TRIMTAB__V1__SNAPSHOT__INIT;
    Trimtab__V1__Changes referred, changes = TRIMTAB__V1__CHANGES__INIT,
                                   *list[] = {&referred, &changes};
    unsigned char bytes[DIGEST_BYTES];
    struct closure closure = CLOSURE_NULL;
    struct digest digest;
    int rc = scope_digest(&viewing, &digest, &s.count);

    if (!rc)
        rc = closure_make(&view, &closure);
    if (!rc)
        rc = fill_referred(r, &closure, &referred);
    if (!rc)
        rc = fill_scope(r, &viewing, &closure, &changes);
    digest = digest_add(digest, closure.digest);
    digest_put(digest, bytes);
    s.count = (uint64_t)((int64_t)s.count + closure_adds(&closure));
    s.store_id = proto_bytes(str_of(r->front->lane->hub->identity.id.bytes, STORE_ID_BYTES));
    s.revision = state->revision;
    s.digest = (ProtobufCBinaryData){DIGEST_BYTES, bytes};
    s.changes =
        closure.count ? list : list + 1; /* what is referred to comes first, if there is any */
    s.n_changes = closure.count ? 2 : 1;
    made->r = rc;
    if (!rc)
        make_text(r, &s, made);
    (void)mem_free(changes.put);
    closure_deinit(&closure);
}

/* ---- on its way to it ---- */

/* Asks the hub who the instance is, if one is given, then waits for min_revision as any read does. */
struct snapshot {
    struct errand errand;
    struct waiter waiter;
    struct timer timer;
    struct rest *rest;
    struct scope *scope;
    const Trimtab__V1__Instance *instance;
    const struct subject *subject; /* NULL: nobody in particular */
    struct introduction *who;      /* whose that is, if the instance is known */
    struct readable *readable;     /* NULL: everything */
    uint64_t revision;
    struct work work;    /* over a view that may be large */
    struct state *state; /* that it is made of */
    struct made made;
};

/* It waits no more. */
static void end(struct snapshot *s)
{
    link_remove(&s->waiter.link);
    timer_stop(&s->timer);
}

static void drop(struct snapshot *s)
{
    s->state = state_unref(s->state);
    s->readable = readable_unref(s->readable);
    s->who = introduction_unref(s->who);
}

/* A worker; the request and its arena are its own until it is done. */
static void make(struct work *w, void *ctx)
{
    struct snapshot *s = ctx;

    (void)w;
    snapshot_make(s->rest, s->state, s->scope, s->subject, s->readable, &s->made);
}

static void made(struct work *w, void *ctx)
{
    struct snapshot *s = ctx;
    owned(shared_unref) struct shared *text = s->made.text; /* s goes with the request */

    (void)w;
    drop(s);
    if (s->made.r)
        rest_fail_with(s->rest, s->made.r, &s->made.err);
    else
        answer_send(s->rest, &(struct answer){.status = 200,
                                              .type = STR("application/json"),
                                              .etag = str_c(s->made.etag),
                                              .body = segment_shared(text)});
}

static void snapshot_begin(struct snapshot *s)
{
    end(s);
    s->state = hub_newest(s->rest->front->lane->hub);
    s->work = (struct work){.run = make, .done = made, .ctx = s};
    loop_work(s->rest->front->lane->loop, &s->work);
}

static void snapshot_fail(struct snapshot *s, int rc, struct err *err)
{
    end(s);
    drop(s);
    rest_fail_with(s->rest, rc, err);
}

static bool snapshot_check(struct waiter *w)
{
    struct snapshot *s = CONTAINER_OF(w, struct snapshot, waiter);
    const struct lane *lane = s->rest->front->lane;
    struct err err = ERR_NULL;

    if (lane_state(lane)->revision >= s->revision) {
        snapshot_begin(s);
        return true;
    }
    if (!lane->is_draining)
        return false;
    (void)err_set(&err, ERR_UNAVAILABLE, "the server is shutting down");
    snapshot_fail(s, ERR_UNAVAILABLE, &err);
    return true;
}

static void snapshot_late(struct timer *t, void *ctx)
{
    struct snapshot *s = ctx;
    struct err err = ERR_NULL;

    (void)t;
    (void)err_set(&err, ERR_TIMEOUT, "revision %llu is not here yet",
                  (unsigned long long)s->revision);
    snapshot_fail(s, ERR_TIMEOUT, &err);
}

static void snapshot_wait(struct snapshot *s)
{
    struct lane *lane = s->rest->front->lane;

    if (snapshot_check(&s->waiter))
        return;
    lane_wait(lane, &s->waiter);
    timer_start(&s->timer, lane->loop, WAIT_MS, 0);
}

static void find_instance(struct errand *e)
{
    struct snapshot *s = CONTAINER_OF(e, struct snapshot, errand);
    const struct instance *i = roster_find(&e->hub->roster, str_c(s->instance->id));

    if (i)
        s->who = introduction_ref(i->presence->introduction);
    errand_return(e);
}

/*
 * Whose side of rollouts is shown: that of the instance as it said of itself when it was connected last, or, when it is not
 * known, as the request says.
 */
static void found_instance(struct errand *e)
{
    struct snapshot *s = CONTAINER_OF(e, struct snapshot, errand);
    struct arena *a = &s->rest->arena;
    struct err err = ERR_NULL;
    struct subject *subject = NULL;
    int rc = 0;

    if (s->who) {
        s->subject = s->who->takes_rollouts ? s->who->subject : NULL;
    } else {
        subject = ARENA_NEW(a, struct subject);
        rc = subject ? subject_from_proto(s->instance, a, subject) : ERR_NOMEM;
        s->subject = subject;
    }
    if (rc)
        snapshot_fail(s, rc, &err);
    else
        snapshot_wait(s);
}

void subscribe_http_snapshot(struct rest *r)
{
    struct snapshot *s = ARENA_NEW(&r->arena, struct snapshot);
    owned(auth_record_unref) struct auth_record *rights =
        auth_current(r->front->lane->hub->auth);
    struct str min = rest_query(r, "min_revision");
    Trimtab__V1__Hello *hello;
    struct err err = ERR_NULL;
    int rc = s ? hello_from_query(r, &hello, &err) : ERR_NOMEM;

    if (!rc)
        rc = scopes_from_proto(hello->scopes, hello->n_scopes, hello->instance, &r->arena,
                               &s->scope, &err);
    if (!rc)
        rc =
            subscription_rights(rights, &r->who, s->scope, hello->n_scopes, &s->readable, &err);
    if (!rc && min.data && !str_u64(min, &s->revision))
        rc = err_set(&err, ERR_INVALID, "min_revision is a number");
    if (rc) {
        if (s)
            s->readable = readable_unref(s->readable);
        rest_fail_with(r, rc, &err);
        return;
    }
    s->rest = r;
    s->instance = hello->instance;
    s->waiter.check = snapshot_check;
    link_init(&s->waiter.link);
    s->timer = (struct timer){.fn = snapshot_late, .ctx = s};
    s->errand.run = find_instance;
    s->errand.done = found_instance;
    if (*hello->instance->id)
        errand_send(&s->errand, r->front->lane->hub, r->front->lane->loop);
    else
        snapshot_wait(s);
}

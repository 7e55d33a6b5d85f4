/*
 * The life of a call, and what several use cases need. See api.h.
 */
#include "server/use/api.h"

#include "proto/json.h"
#include "proto/record.h"
#include "server/hub/marks.h"
#include "server/rollout/picture.h"
#include "server/use/instance_page.h"

enum { TEXT_MAX = 256 << 20, SHAPED_BESIDE = 64 << 10 };

struct api_call *api_call_new(const struct desk *desk, struct loop *home,
                              const struct api_method *method)
{
    struct api_call *call = NEW(struct api_call);

    if (!call)
        return NULL;
    call->home = home;
    call->hub = desk->hub;
    call->driver = desk->driver;
    call->method = method;
    link_init(&call->waiter.link);
    return call;
}

void api_call_free(struct api_call *call)
{
    commit_job_deinit(&call->commit);
    (void)state_unref(call->state);
    (void)state_unref(call->looked_at);
    picture_free(call->picture);
    instance_page_deinit(call->page);
    (void)shared_unref(call->packed);
    (void)shared_unref(call->text);
    (void)shared_unref(call->bytes.owner);
    if (call->unpacked)
        protobuf_c_message_free_unpacked(call->unpacked, &proto_allocator);
    while (call->records)
        api_record_drop(call);
    arena_deinit(&call->arena);
    (void)mem_free(call);
}

/* ---- to the hub and back ---- */

static void run(struct errand *e)
{
    struct api_call *call = CONTAINER_OF(e, struct api_call, errand);

    call->method->run(call);
}

static void done(struct errand *e)
{
    struct api_call *call = CONTAINER_OF(e, struct api_call, errand);

    call->done(call->ctx, call);
    api_call_free(call);
}

const ProtobufCMessage *api_response(struct api_call *call)
{
    struct str packed;

    if (call->response || call->unpacked)
        return call->response ? call->response : call->unpacked;
    packed = shared_str(call->packed);
    call->unpacked = protobuf_c_message_unpack(call->type, &proto_allocator, packed.len,
                                               (const uint8_t *)packed.data);
    return call->unpacked;
}

struct shared *api_text_of(const ProtobufCMessage *m)
{
    owned(buf) struct buf text = BUF_NULL(TEXT_MAX);

    if (proto_to_json_text(m, PROTO_JSON_FULL, &text))
        return NULL;
    buf_put_byte(&text, '\n');
    return buf_status(&text) ? NULL : shared_copy(buf_str(&text));
}

struct shared *api_packed(struct api_call *call)
{
    if (!call->packed)
        call->packed = proto_pack(call->response, 0);
    return call->packed;
}

void api_run(struct api_call *call)
{
    call->principal = identity_principal(&call->who);
    call->errand.run = run;
    call->errand.done = done;
    errand_send(&call->errand, call->hub, call->home);
}

/* Whether the answer is given as text that nobody has made yet. A resource is answered with a tag, which is made from the message. */
static bool wants_text(const struct api_call *call)
{
    return call->form == API_TEXT && call->response && !call->text &&
           call->response->descriptor != &trimtab__v1__resource__descriptor;
}

/* Beside the loops, of a response of which nobody else has anything. Without memory the loops do it, or say so. */
static void shape(struct api_call *call)
{
    if (wants_text(call))
        call->text = api_text_of(call->response);
    else if (call->home != call->hub->loop)
        (void)api_packed(call);
}

/* A worker: of what the hub has packed. */
static void shape_packed(struct work *w, void *ctx)
{
    struct api_call *call = ctx;
    const ProtobufCMessage *m = api_response(call);

    (void)w;
    if (m)
        call->text = api_text_of(m);
}

static void go_home(struct api_call *call)
{
    if (call->home != call->hub->loop) {
        if (!call->err.code && !call->text && !api_packed(call))
            (void)err_set(&call->err, ERR_NOMEM, "out of memory");
        call->response = NULL;
    }
    errand_return(&call->errand);
}

static void shaped(struct work *w, void *ctx)
{
    (void)w;
    go_home(ctx);
}

/* Nothing of it stays with the hub, and nothing of the hub goes with it. A large answer becomes text on the way. */
static void give_back(struct api_call *call)
{
    link_remove(&call->waiter.link);
    timer_stop(&call->timer);
    if (call->err.code || !wants_text(call) ||
        protobuf_c_message_get_packed_size(call->response) < SHAPED_BESIDE ||
        !api_packed(call)) {
        go_home(call);
        return;
    }
    call->response = NULL;
    call->beside = (struct work){.run = shape_packed, .done = shaped, .ctx = call};
    loop_work(call->hub->loop, &call->beside);
}

void api_answer(struct api_call *call, ProtobufCMessage *response)
{
    if (!response || arena_failed(&call->arena)) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    err_clear(&call->err);
    call->response = response;
    call->type = response->descriptor;
    give_back(call);
}

void api_fail(struct api_call *call, const struct err *err)
{
    if (err != &call->err)
        call->err = *err;
    if (!call->err.code)
        (void)err_set(&call->err, ERR_BUG, "the request failed");
    give_back(call);
}

void api_fail_code(struct api_call *call, int code)
{
    struct err err = ERR_NULL;

    (void)err_set(&err, code, "%s", code == ERR_NOMEM ? "out of memory" : "the request failed");
    api_fail(call, &err);
}

void api_fail_here(struct api_call *call, int r)
{
    if (!call->err.code)
        (void)err_set(&call->err, r, "%s",
                      r == ERR_NOMEM ? "out of memory" : "the request failed");
    api_fail(call, &call->err);
}

/* ---- rights ---- */

/* By the pinned state wherever there is one: beside the hub's thread nothing else may be looked at. */
static const struct state *state_of(const struct api_call *call)
{
    return call->state ? call->state : call->hub->state;
}

int api_require(struct api_call *call, enum right_to right, struct str space)
{
    return rights_require(state_of(call)->rights, &call->principal, right, space, &call->err);
}

int api_require_sight(struct api_call *call, const char *id)
{
    struct name name;
    int r = name_parse(str_c(id), &name, &call->err);

    return r ? r : api_require(call, right_to_see(name), name.space);
}

struct sight api_sight(const struct api_call *call)
{
    return sight_of(state_of(call)->rights, &call->who);
}

/* ---- reading the store ---- */

struct api_work {
    void (*work)(struct api_call *call, struct store *store);
    void (*finish)(struct api_call *call);
};

static void read_run(struct read_job *job, struct store *store)
{
    struct api_call *call = CONTAINER_OF(job, struct api_call, read);
    struct api_work *w = call->ctx_work;

    w->work(call, store);
    if (!call->result && call->response && w->finish == api_read_finish)
        shape(call);
}

static void read_done(struct read_job *job)
{
    struct api_call *call = CONTAINER_OF(job, struct api_call, read);
    struct api_work *w = call->ctx_work;

    w->finish(call);
}

static bool read_prepare(struct api_call *call, struct api_work work)
{
    struct api_work *w = ARENA_NEW(&call->arena, struct api_work);

    if (!w) {
        api_fail_code(call, ERR_NOMEM);
        return false;
    }
    *w = work;
    call->ctx_work = w;
    if (!call->state)
        call->state = state_ref(call->hub->state);
    call->read.run = read_run;
    call->read.done = read_done;
    return true;
}

void api_read(struct api_call *call, void (*work)(struct api_call *call, struct store *store),
              void (*finish)(struct api_call *call))
{
    if (read_prepare(call, (struct api_work){work, finish}))
        committer_history(call->hub->committer, &call->read);
}

void api_visit(struct api_call *call, void (*work)(struct api_call *call, struct store *store),
               void (*finish)(struct api_call *call))
{
    if (read_prepare(call, (struct api_work){work, finish}))
        committer_read(call->hub->committer, &call->read);
}

void api_read_finish(struct api_call *call)
{
    if (!call->result) {
        api_answer(call, call->response);
        return;
    }
    if (!call->err.code)
        (void)err_set(&call->err, call->result, "%s",
                      call->result == ERR_NOMEM ? "out of memory" : "history cannot be read");
    api_fail(call, &call->err);
}

/* ---- records ---- */

struct kept_record {
    uint64_t revision;
    Trimtab__V1__Record *record;
    struct kept_record *next;
};

static int unpack_entry(void *ctx, const struct store_entry *entry)
{
    Trimtab__V1__Record **record = ctx;
    int r;

    *record = record_unpack(log_parts(entry), &r, NULL);
    return r;
}

static int read_record(struct api_call *call, struct store *store, uint64_t revision,
                       Trimtab__V1__Record **ret_record)
{
    int r = store_read(store, revision, revision, unpack_entry, ret_record, &call->err);

    if (r == STORE_COMPACTED)
        return err_set(&call->err, ERR_COMPACTED, "revision %llu is no longer in the history",
                       (unsigned long long)revision);
    if (!r && !*ret_record)
        return err_set(&call->err, ERR_NOT_FOUND, "there is no revision %llu",
                       (unsigned long long)revision);
    return r;
}

int api_record(struct api_call *call, struct store *store, uint64_t revision,
               const Trimtab__V1__Record **ret_record)
{
    Trimtab__V1__Record *record = NULL;
    struct kept_record *kept;
    int r;

    for (kept = call->records; kept; kept = kept->next)
        if (kept->revision == revision) {
            *ret_record = kept->record;
            return 0;
        }
    kept = NEW(struct kept_record);
    r = kept ? read_record(call, store, revision, &record) : ERR_NOMEM;
    if (r) {
        (void)mem_free(kept);
        return r;
    }
    *kept = (struct kept_record){revision, record, call->records};
    call->records = kept;
    *ret_record = record;
    return 0;
}

void api_record_drop(struct api_call *call)
{
    struct kept_record *kept = call->records;

    if (!kept)
        return;
    call->records = kept->next;
    trimtab__v1__record__free_unpacked(kept->record, &proto_allocator);
    (void)mem_free(kept);
}

const Trimtab__V1__RecordChange *record_change(const Trimtab__V1__Record *record,
                                               const char *id)
{
    for (size_t i = 0; i < record->n_changes; i++)
        if (strcmp(record->changes[i]->id, id) == 0)
            return record->changes[i];
    return NULL;
}

static int no_version(struct api_call *call, const char *id, uint64_t version)
{
    (void)err_set(&call->err, ERR_NOT_FOUND, "there is no version %llu",
                  (unsigned long long)version);
    err_place(&call->err, "%s", id);
    return ERR_NOT_FOUND;
}

/* A mark proves nothing: it counts when the record has the change. */
static bool is_mark_right(struct api_call *call, struct store *store,
                          const struct store_mark *mark, const char *id)
{
    const Trimtab__V1__Record *record;
    const Trimtab__V1__RecordChange *change;

    if (api_record(call, store, mark->revision, &record)) {
        call->err = ERR_NULL; /* whoever looks on finds its own */
        return false;
    }
    change = record_change(record, id);
    return change && change->version == mark->number;
}

uint64_t api_version_from(struct api_call *call, struct store *store,
                          const struct version *newest, const char *id, uint64_t version)
{
    struct store_mark mark;

    if (newest->number < MARK_EVERY || version > newest->number - MARK_EVERY ||
        store_mark_find(store, newest->key, version, &mark, NULL) ||
        mark.number >= newest->number || !is_mark_right(call, store, &mark, id))
        return newest->revision;
    return mark.revision;
}

int api_record_of_version(struct api_call *call, struct store *store,
                          const struct version *newest, const char *id, uint64_t version,
                          const Trimtab__V1__Record **ret_record, uint64_t *ret_revision)
{
    uint64_t revision = version ? api_version_from(call, store, newest, id, version)
                                : newest->previous_revision;

    while (revision && version <= newest->number) {
        const struct kept_record *kept = call->records;
        const Trimtab__V1__RecordChange *change;
        int r = api_record(call, store, revision, ret_record);

        if (r)
            return r;
        change = record_change(*ret_record, id);
        if (change && (!version || change->version == version)) {
            *ret_revision = revision;
            return 0;
        }
        revision = change ? change->previous_revision : 0;
        if (call->records != kept) /* one that was there before may be pointed into */
            api_record_drop(call);
    }
    return no_version(call, id, version);
}

/* ---- messages ---- */

static bool is_text(struct str s)
{
    return str_is_utf8(s) && str_index(s, '\0') == s.len;
}

void resource_set_content(Trimtab__V1__Resource *r, struct str content, struct arena *a)
{
    if (is_text(content))
        r->text = arena_c(a, content);
    else
        r->content = proto_bytes(arena_str(a, content));
}

Trimtab__V1__Resource *resource_message(const struct version *v, bool with_content,
                                        struct arena *a)
{
    Trimtab__V1__Resource *r = ARENA_NEW(a, Trimtab__V1__Resource);
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);
    char hex[SHA256_HEX_BYTES + 1], time[WALL_TEXT_MAX];

    if (!r)
        return NULL;
    trimtab__v1__resource__init(r);
    key_put_id(v->key, &id);
    r->id = arena_c(a, buf_str(&id));
    r->version = v->number;
    r->revision = v->revision;
    r->deleted = v->deleted;
    wall_format(v->time_ms, time);
    r->time = arena_c(a, str_c(time));
    if (v->deleted)
        return buf_status(&id) ? NULL : r;
    hex_encode(v->content_hash.bytes, SHA256_BYTES, hex);
    r->content_hash = arena_c(a, str_c(hex));
    r->content_type = arena_c(a, v->content_type);
    r->metadata = meta_to_proto(v->meta, META_ALL, a);
    r->references = references_to_proto(v->references, &r->n_references, a);
    r->size = v->content.len;
    if (with_content)
        resource_set_content(r, v->content, a);
    return buf_status(&id) ? NULL : r;
}

int api_key(struct api_call *call, const char *id, struct str *ret_key, struct err *err)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct name name;
    int r = name_parse(str_c(id), &name, err);

    if (r)
        return r;
    name_put_key(name, &key);
    *ret_key = arena_str(&call->arena, buf_str(&key));
    return buf_status(&key) || arena_failed(&call->arena) ? ERR_NOMEM : 0;
}

/*
 * Trimtab: the whole protocol with hello, batches and acknowledgements. See docs/protocol.md.
 */
#include "base/alloc.h"
#include "bench/h2.h"
#include "bench/trimtab.h"
#include "proto/convert.h"
#include "proto/subject.h"

#include "trimtab/v1/admin.pb-c.h"

#include <stdio.h>
#include <string.h>

enum { SPACE_ID_MAX = 64 };

static void send_message(struct peer_conn *c, const ProtobufCMessage *m, bool is_last)
{
    uint8_t room[512], *bytes = room;
    size_t len = protobuf_c_message_get_packed_size(m);

    if (len > sizeof(room))
        bytes = mem_alloc(len);
    if (!bytes)
        die("out of memory");
    (void)protobuf_c_message_pack(m, bytes);
    h2_message(c, str_of(bytes, len), is_last);
    if (bytes != room)
        (void)mem_free(bytes);
}

static void call(struct peer_conn *c, const char *path)
{
    char bearer[120];

    (void)snprintf(bearer, sizeof(bearer), "Bearer %s", bench.token); /* a token has 64 bytes */
    h2_call(c, path, bearer);
}

/* All watch the same, so one cursor is that of all. */
static Trimtab__V1__Cursor *last_cursor(void)
{
    return bench.cursor.len ? trimtab__v1__cursor__unpack(NULL, bench.cursor.len,
                                                          (const uint8_t *)bench.cursor.data)
                            : NULL;
}

/* In the room that is given: one label, group. */
static void put_group(Trimtab__V1__Instance *instance, size_t index,
                      Trimtab__V1__Instance__LabelsEntry *entry,
                      Trimtab__V1__Instance__LabelsEntry **entries)
{
    static char key[] = "group";
    const char *group = bench.group_of ? bench.group_of(index) : NULL;

    trimtab__v1__instance__labels_entry__init(entry);
    if (!group)
        return;
    entry->key = key;
    entry->value = (char *)(uintptr_t)group; /* is only read */
    entries[0] = entry;
    instance->labels = entries;
    instance->n_labels = 1;
}

static void watch(struct peer_conn *c)
{
    Trimtab__V1__Instance__LabelsEntry label, *labels[1];
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    char id[32], space[] = "bench/fan", *spaces[] = {space};
    char rollouts[] = FEATURE_ROLLOUTS, *features[] = {rollouts};

    (void)snprintf(id, sizeof(id), "bench-%d", c->index);
    instance.id = id;
    put_group(&instance, (size_t)c->index, &label, labels);
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    hello.protocol = 1;
    hello.instance = &instance;
    hello.scopes = scopes;
    hello.n_scopes = 1;
    hello.features = features;
    hello.n_features = 1;
    hello.cursor = last_cursor();
    frame.hello = &hello;
    h2_open(c);
    call(c, "/trimtab.v1.Sync/Subscribe");
    send_message(c, &frame.base, false);
    if (hello.cursor)
        trimtab__v1__cursor__free_unpacked(hello.cursor, NULL);
}

static void keep_cursor(const Trimtab__V1__Welcome *w, const Trimtab__V1__End *end)
{
    static unsigned char store_id[64];
    static size_t store_id_len;
    Trimtab__V1__Cursor cursor = TRIMTAB__V1__CURSOR__INIT;
    char *at;
    size_t len;

    if (w && w->store_id.len <= sizeof(store_id)) {
        store_id_len = w->store_id.len;
        memcpy(store_id, w->store_id.data, store_id_len);
    }
    if (!end || !end->revision) /* nothing of an empty store: what is 0 asks to be compared */
        return;
    cursor.store_id = (ProtobufCBinaryData){store_id_len, store_id};
    cursor.revision = end->revision;
    cursor.digest = end->digest;
    cursor.count = end->count;
    cursor.mark = end->mark; /* without it the revision is only our word */
    len = trimtab__v1__cursor__get_packed_size(&cursor);
    buf_deinit(&bench.cursor);
    bench.cursor = BUF_NULL(1024);
    at = buf_room(&bench.cursor, len);
    if (!at)
        die("out of memory");
    (void)trimtab__v1__cursor__pack(&cursor, (uint8_t *)at);
    buf_added(&bench.cursor, len);
}

static void acknowledge(struct peer_conn *c, const Trimtab__V1__End *end)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;

    ack.stage = TRIMTAB__V1__STAGE__APPLIED; /* implies stored */
    ack.revision = end->revision;
    ack.received_digest = end->digest;
    ack.serving_digest = end->digest;
    frame.ack = &ack;
    send_message(c, &frame.base, false);
}

/* Of an answer about a rollout, which is the only one that a writer of these figures looks at. */
static void keep_rollout(struct str bytes)
{
    Trimtab__V1__RolloutResponse *m;

    if (!bench.asks_rollouts)
        return;
    m = trimtab__v1__rollout_response__unpack(NULL, bytes.len, (const uint8_t *)bytes.data);
    if (!m || !m->rollout)
        die("no rollout in an answer");
    bench.rollout = m->rollout->id;
    trimtab__v1__rollout_response__free_unpacked(m, NULL);
}

static void on_message(struct peer_conn *c, struct str bytes)
{
    Trimtab__V1__ServerFrame *m;

    if (c->is_writer) {
        keep_rollout(bytes);
        return;
    }
    m = trimtab__v1__server_frame__unpack(NULL, bytes.len, (const uint8_t *)bytes.data);
    if (!m)
        die("a message that is none");
    if (!c->is_ready)
        keep_cursor(m->welcome, m->end);
    if (m->end) {
        c->revision = m->end->revision;
        if (c->is_ready && m->n_changes && m->changes[0]->n_put)
            conn_value(c, proto_str(m->changes[0]->put[0]->content));
        if (c->is_ready && c->index == 0)
            keep_cursor(NULL, m->end);
        acknowledge(c, m->end);
        conn_ready(c);
    }
    trimtab__v1__server_frame__free_unpacked(m, NULL);
}

static size_t take_in(struct peer_conn *c, struct str in)
{
    return h2_take(c, in, on_message);
}

static void open_writer(struct peer_conn *c)
{
    h2_open(c);
    conn_ready(c);
}

static void put(struct peer_conn *c, uint64_t key, struct str value)
{
    Trimtab__V1__CommitRequest request = TRIMTAB__V1__COMMIT_REQUEST__INIT;
    Trimtab__V1__Change change = TRIMTAB__V1__CHANGE__INIT, *changes[] = {&change};
    char id[SPACE_ID_MAX], type[] = "text/plain";

    if (key)
        (void)snprintf(id, sizeof(id), "bench/load/file/k%06llu", (unsigned long long)key);
    else
        (void)snprintf(id, sizeof(id), "bench/fan/file/x");
    change.id = id;
    change.content_type = type;
    change.content.data = (uint8_t *)(uintptr_t)value.data; /* is only read */
    change.content.len = value.len;
    request.changes = changes;
    request.n_changes = 1;
    call(c, "/trimtab.v1.Admin/Commit");
    send_message(c, &request.base, true);
}

/* ---- rollouts ---- */

/* One step for the watchers of a group, and where it lies. */
struct step_room {
    Trimtab__V1__Step step, *steps[1];
    Trimtab__V1__Target target, *targets[1];
    char labels[64];
};

static void step_for(struct step_room *r, const char *group)
{
    trimtab__v1__step__init(&r->step);
    trimtab__v1__target__init(&r->target);
    (void)snprintf(r->labels, sizeof(r->labels), "group=%s", group);
    r->target.labels = r->labels;
    r->targets[0] = &r->target;
    r->step.targets = r->targets;
    r->step.n_targets = 1;
    r->steps[0] = &r->step;
}

void trimtab_start(struct peer_conn *c, struct str value, const char *group, uint64_t soak_ms)
{
    Trimtab__V1__StartRolloutRequest request = TRIMTAB__V1__START_ROLLOUT_REQUEST__INIT;
    Trimtab__V1__RolloutPlan plan = TRIMTAB__V1__ROLLOUT_PLAN__INIT;
    Trimtab__V1__Change change = TRIMTAB__V1__CHANGE__INIT, *changes[] = {&change};
    char id[] = "bench/fan/file/x", type[] = "text/plain";
    struct step_room room;

    step_for(&room, group);
    room.step.soak_case = TRIMTAB__V1__STEP__SOAK_SOAK_MS;
    room.step.soak_ms = soak_ms;
    room.step.empty_case = TRIMTAB__V1__STEP__EMPTY_ALLOW_EMPTY;
    room.step.allow_empty = true;
    plan.steps = room.steps;
    plan.n_steps = 1;
    plan.automatic = soak_ms != 0;
    change.id = id;
    change.content_type = type;
    change.content.data = (uint8_t *)(uintptr_t)value.data; /* is only read */
    change.content.len = value.len;
    request.changes = changes;
    request.n_changes = 1;
    request.plan = &plan;
    call(c, "/trimtab.v1.Admin/StartRollout");
    send_message(c, &request.base, true);
}

void trimtab_move(struct peer_conn *c, const char *move, const char *group)
{
    Trimtab__V1__MoveRolloutRequest request = TRIMTAB__V1__MOVE_ROLLOUT_REQUEST__INIT;
    char reason[] = "measured";
    struct step_room room;

    request.id = bench.rollout;
    request.move = (char *)(uintptr_t)move; /* is only read */
    request.reason = reason;
    if (group) {
        step_for(&room, group);
        request.step = &room.step;
    }
    call(c, "/trimtab.v1.Admin/MoveRollout");
    send_message(c, &request.base, true);
}

void trimtab_say(struct peer_conn *c, bool is_failing)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Health health = TRIMTAB__V1__HEALTH__INIT;
    char reason[] = "measured";

    health.failing = is_failing;
    health.revision = c->revision;
    if (is_failing)
        health.reason = reason;
    frame.health = &health;
    send_message(c, &frame.base, false);
}

const struct peer peer_trimtab = {"trimtab", watch, open_writer, put, take_in};

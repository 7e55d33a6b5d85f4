/*
 * Messages as JSON and back, made at random from their descriptors; records and snapshots there and back, whole and cut.
 */
#include "base/buf.h"
#include "proto/record.h"
#include "proto/rollout.h"
#include "proto/json.h"
#include "proto/subject.h"
#include "tap.h"

#include <trimtab/v1/admin.pb-c.h>

/* ---- random messages ---- */

static uint64_t seed = 20260101;

static uint64_t rnd(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

static char *random_text(struct arena *a)
{
    static const char *const texts[] = {
        "", "x", "a/item/b", "\xc3\xa4\xe2\x82\xac", "\"\\\n\t\x01", "null"};

    return arena_c(a, str_c(texts[rnd(ARRAY_LEN(texts))]));
}

static ProtobufCBinaryData random_bytes_of(struct arena *a)
{
    char bytes[9];
    size_t n = rnd(sizeof(bytes));

    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)rnd(256);
    return proto_bytes(arena_str(a, str_of(bytes, n)));
}

/* JSON's integers are those of int64_t. */
static uint64_t random_number(void)
{
    static const uint64_t numbers[] = {0,     1,          127,        128,
                                       65536, UINT32_MAX, 1ull << 53, INT64_MAX};

    return numbers[rnd(ARRAY_LEN(numbers))];
}

static ProtobufCMessage *random_message(const ProtobufCMessageDescriptor *d, int depth,
                                        struct arena *a);

/* Fills one value; false for a message that is left out. */
static void random_value(const ProtobufCFieldDescriptor *f, void *at, int depth,
                         struct arena *a)
{
    const ProtobufCEnumDescriptor *e;

    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: *(char **)at = random_text(a); break;
    case PROTOBUF_C_TYPE_BYTES: *(ProtobufCBinaryData *)at = random_bytes_of(a); break;
    case PROTOBUF_C_TYPE_BOOL: *(protobuf_c_boolean *)at = (protobuf_c_boolean)rnd(2); break;
    case PROTOBUF_C_TYPE_ENUM:
        e = f->descriptor;
        *(int *)at = e->values[rnd(e->n_values)].value;
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)at = random_message(f->descriptor, depth + 1, a);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: *(uint32_t *)at = (uint32_t)random_number(); break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64: *(uint64_t *)at = random_number(); break;
    case PROTOBUF_C_TYPE_DOUBLE: *(double *)at = (double)rnd(10001) / 100; break;
    case PROTOBUF_C_TYPE_FLOAT:
        tap_check(false, __FILE__, __LINE__, "no message has these");
        break;
    }
}

static size_t size_of_type(ProtobufCType type)
{
    switch ((int)type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64: return sizeof(uint64_t);
    default: return sizeof(uint32_t);
    }
}

static bool is_map(const ProtobufCFieldDescriptor *f)
{
    return f->type == PROTOBUF_C_TYPE_MESSAGE &&
           strstr(((const ProtobufCMessageDescriptor *)f->descriptor)->name, "Entry") &&
           strcmp(((const ProtobufCMessageDescriptor *)f->descriptor)->short_name, "Entry") !=
               0;
}

/* At most one entry in a map, so that its order is not in question. */
static void random_list(const ProtobufCFieldDescriptor *f, char *m, int depth, struct arena *a)
{
    size_t n = rnd(is_map(f) ? 2 : 4), size = size_of_type(f->type);
    char *list = arena_alloc(a, n * size + 1);

    for (size_t i = 0; i < n; i++)
        random_value(f, list + i * size, depth, a);
    *(size_t *)(void *)(m + f->quantifier_offset) = n;
    *(void **)(void *)(m + f->offset) = list;
}

static ProtobufCMessage *random_message(const ProtobufCMessageDescriptor *d, int depth,
                                        struct arena *a)
{
    char *m = arena_alloc(a, d->sizeof_message);

    d->message_init((ProtobufCMessage *)(void *)m);
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];

        if (depth > 4 || (f->type == PROTOBUF_C_TYPE_MESSAGE && rnd(2)))
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            random_list(f, m, depth, a);
        else if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && rnd(2))
            continue; /* absent, which is not the same as 0 */
        else
            random_value(f, m + f->offset, depth, a);
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
            *(uint32_t *)(void *)(m + f->quantifier_offset) = f->id;
    }
    return (ProtobufCMessage *)(void *)m;
}

static bool is_same(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    owned(shared_unref) struct shared *pa = proto_pack(a, 0), *pb = proto_pack(b, 0);

    return pa && pb && str_eq(shared_str(pa), shared_str(pb));
}

static void check_both_ways(const ProtobufCMessageDescriptor *d, enum proto_json_style style)
{
    owned(arena) struct arena a = ARENA_NULL;
    owned(buf) struct buf text = BUF_NULL(16 * MIB);
    ProtobufCMessage *m = random_message(d, 0, &a), *back = NULL;
    struct err err = ERR_NULL;

    CHECK_I64(proto_to_json_text(m, style, &text), 0);
    if (!CHECK_I64(proto_from_json_text(buf_str(&text), d, &a, &back, &err), 0) ||
        !CHECK(is_same(m, back)))
        tap_note("%s: %s (%s): %.*s", d->name, err.text, err.place,
                 STR_ARG(str_part(buf_str(&text), 0, 400)));
}

/* ---- JSON ---- */

static const ProtobufCMessageDescriptor *const types[] = {
    &trimtab__v1__commit_request__descriptor,
    &trimtab__v1__commit_response__descriptor,
    &trimtab__v1__get_request__descriptor,
    &trimtab__v1__resource__descriptor,
    &trimtab__v1__list_request__descriptor,
    &trimtab__v1__list_response__descriptor,
    &trimtab__v1__history_request__descriptor,
    &trimtab__v1__history_response__descriptor,
    &trimtab__v1__commits_request__descriptor,
    &trimtab__v1__commits_response__descriptor,
    &trimtab__v1__diff_request__descriptor,
    &trimtab__v1__diff_response__descriptor,
    &trimtab__v1__rollback_request__descriptor,
    &trimtab__v1__instances_request__descriptor,
    &trimtab__v1__instances_response__descriptor,
    &trimtab__v1__status_request__descriptor,
    &trimtab__v1__status_response__descriptor,
    &trimtab__v1__info_request__descriptor,
    &trimtab__v1__info_response__descriptor,
    &trimtab__v1__poll_request__descriptor,
    &trimtab__v1__poll_response__descriptor,
    &trimtab__v1__ack_request__descriptor,
    &trimtab__v1__ack_response__descriptor,
    &trimtab__v1__snapshot__descriptor,
    &trimtab__v1__error__descriptor,
    &trimtab__v1__start_rollout_request__descriptor,
    &trimtab__v1__rollout_response__descriptor,
    &trimtab__v1__rollout_picture__descriptor,
};

TEST("every message comes back from JSON as it went")
{
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (int round = 0; round < 60 && !tap_failed(); round++) {
            check_both_ways(types[t], PROTO_JSON_SPARSE);
            check_both_ways(types[t], PROTO_JSON_FULL);
        }
}

TEST("fields that are not known, of another type or out of range are refused by name")
{
    static const struct {
        const char *text, *piece;
    } wrong[] = {
        {"{\"nothing\":1}", "nothing"},
        {"{\"changes\":[{\"nothing\":1}]}", "nothing"},
        {"{\"message\":1}", "message"},
        {"{\"changes\":{}}", "changes"},
        {"{\"changes\":[1]}", "Change must"},
        {"{\"changes\":[{\"based_on\":-1}]}", "based_on"},
        {"{\"changes\":[{\"based_on\":1.5}]}", "based_on"},
        {"{\"changes\":[{\"based_on\":9223372036854775808}]}", ""},
        {"{\"changes\":[{\"content\":\"*\"}]}", "content"},
        {"{\"dry_run\":1}", "dry_run"},
        {"{\"message\":\"a\\u0000b\"}", ""},
        {"{\"dry_run\":true", ""},
        {"[]", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        owned(arena) struct arena a = ARENA_NULL;
        ProtobufCMessage *m = NULL;
        struct err err = ERR_NULL;
        int r = proto_from_json_text(str_c(wrong[i].text), types[0], &a, &m, &err);

        if (!CHECK_I64(r, ERR_INVALID) ||
            !CHECK(strstr(err.place, wrong[i].piece) || strstr(err.text, wrong[i].piece)))
            tap_note("%s: %s at %s", wrong[i].text, err.text, err.place);
    }
}

TEST("JSON tells 0 from nothing where that matters")
{
    static const struct {
        const char *text;
        bool has_soak, has_lost;
    } cases[] = {
        {"{}", false, false},
        {"{\"soak_ms\":0}", true, false},
        {"{\"soak_ms\":null}", false, false},
        {"{\"criteria\":{\"max_lost\":0}}", false, true},
        {"{\"criteria\":{\"max_refused\":0}}", false, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        owned(arena) struct arena a = ARENA_NULL;
        owned(buf) struct buf full = BUF_NULL(1 << 16);
        ProtobufCMessage *m;
        struct step step;

        REQUIRE(proto_from_json_text(str_c(cases[i].text), &trimtab__v1__step__descriptor, &a,
                                     &m, NULL) == 0);
        step = step_from_proto((Trimtab__V1__Step *)(void *)m, &a);
        CHECK(step.has_soak == cases[i].has_soak &&
              step.criteria.has_max_lost == cases[i].has_lost);
        CHECK_I64(proto_to_json_text(m, PROTO_JSON_FULL, &full), 0);
        buf_put_byte(&full, '\0');
        CHECK((strstr(full.data, "\"soak_ms\":0") != NULL) == cases[i].has_soak);
        CHECK((strstr(full.data, "\"max_lost\":0") != NULL) == cases[i].has_lost);
    }
}

TEST("reading and writing JSON without memory fails and leaves nothing")
{
    int r = ERR_NOMEM;

    ALLOC_SWEEP (n) {
        owned(arena) struct arena a = ARENA_NULL;
        owned(buf) struct buf out = BUF_NULL(MIB);
        ProtobufCMessage *m = NULL;

        r = proto_from_json_text(
            STR("{\"message\":\"m\",\"changes\":[{\"id\":\"a\",\"content\":\"MQ==\"}]}"),
            types[0], &a, &m, NULL);
        if (!r)
            r = proto_to_json_text(m, PROTO_JSON_FULL, &out);
    }
    CHECK_I64(r, 0);
}

TEST("base64 comes back, and only what RFC 4648 writes is read")
{
    static const char *const wrong[] = {"A",    "AA",   "AAA",  "AAAAA", "=AAA",
                                        "A===", "AA=A", "AA*=", "AAAA=", "A A="};
    char bytes[70];

    for (size_t n = 0; n < sizeof(bytes); n++) {
        owned(buf) struct buf text = BUF_NULL(MIB), back = BUF_NULL(MIB);

        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)rnd(256);
        base64_put(str_of(bytes, n), &text);
        CHECK_U64(text.len, (n + 2) / 3 * 4);
        CHECK(base64_get(buf_str(&text), &back));
        CHECK_STR(buf_str(&back), str_of(bytes, n));
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        owned(buf) struct buf back = BUF_NULL(MIB);

        if (!CHECK(!base64_get(str_c(wrong[i]), &back)))
            tap_note("%s", wrong[i]);
    }
}

/* ---- records and snapshots ---- */

enum { CHANGES = 3 };

/* A record of three changes, the second of which changes nothing. */
static struct record_encoded make_record(void)
{
    struct record_encoded made = {.envelope = NULL};
    struct pair label = {STR("env"), STR("prod")};
    struct str ref = STR("a/item/ref");
    struct meta meta = {.labels = &label,
                        .n_labels = 1,
                        .depends_on = &ref,
                        .n_depends_on = 1,
                        .owner = STR("me")};
    struct change changes[CHANGES] = {{.id = STR("a/item/x"), .content = STR("1\0002")},
                                      {.id = STR("a/item/same"), .content = STR("1")},
                                      {.id = STR("a/item/gone"), .delete = true}};
    struct change_plan plans[CHANGES] = {
        {.action = CHANGE_CREATED,
         .number = 7,
         .content_type = STR("text/plain"),
         .type_against = STR("application/json"),
         .type_origin = TYPE_DECLARED,
         .meta = meta},
        {.action = CHANGE_UNCHANGED},
        {.action = CHANGE_DELETED,
         .number = 2,
         .content_type = STR("text/x-ini"),
         .type_origin = TYPE_DECLARED},
    };
    struct commit c = {.changes = changes,
                       .n = CHANGES,
                       .author = STR("me"),
                       .message = STR("why"),
                       .request_id = STR("r1"),
                       .time_ms = 12345};

    return record_encode(&c, plans, NULL, &made) ? (struct record_encoded){.envelope = NULL} : made;
}

/* A start with targets of every sort. */
static struct record_encoded make_start(void)
{
    struct record_encoded made = {.envelope = NULL};
    struct str ids[] = {STR("b"), STR("a")}, fingerprints[] = {STR("[x]*")},
               hosts[] = {STR("web-*")}, networks[] = {STR("10.0.0.0/8"), STR("fd00::1")};
    struct target targets[] = {{.ids = ids,
                                .n_ids = 2,
                                .fingerprints = fingerprints,
                                .n_fingerprints = 1,
                                .hosts = hosts,
                                .n_hosts = 1},
                               {.networks = networks,
                                .n_networks = 2,
                                .labels = STR("tier in (a,b)"),
                                .has_percent = true,
                                .percent = 1250},
                               {.everyone = true}};
    struct step steps[] = {{.targets = targets,
                            .n_targets = 2,
                            .soak_ms = 5000,
                            .has_soak = true,
                            .criteria = {1, 2, 3, 4}},
                           {.targets = targets + 2,
                            .n_targets = 1,
                            .has_soak = true,
                            .criteria = {.has_max_lost = true}}};
    struct rollout_plan plan = {.name = STR("new"),
                                .steps = steps,
                                .n_steps = 2,
                                .is_automatic = true,
                                .is_declared = true,
                                .expires_ms = 99};
    struct rollout_move move = {.kind = MOVE_START, .reason = STR("to see"), .plan = &plan};
    struct change changes[] = {{.id = STR("a/item/x"), .content = STR("2")},
                               {.id = STR("a/item/gone"), .delete = true}};
    struct change_plan plans[] = {
        {.action = CHANGE_UPDATED,
         .number = 7,
         .content_type = STR("application/json"),
         .is_candidate = true},
        {.action = CHANGE_DELETED, .number = 2, .is_candidate = true}};
    struct commit c = {.changes = changes,
                       .n = 2,
                       .moves = &move,
                       .n_moves = 1,
                       .author = STR("me"),
                       .time_ms = 12345};

    return record_encode(&c, plans, NULL, &made) ? (struct record_encoded){.envelope = NULL} : made;
}

TEST("a record gives the versions that its commit made")
{
    struct record_encoded made = make_record();
    struct record record;

    REQUIRE(made.envelope &&
            record_decode(record_encoded_parts(&made), 9, &record, NULL) == 0);
    CHECK_U64(made.n_contents, 1);
    CHECK(!memmem(made.envelope->data, made.envelope->len, "1\0002", 3)); /* it lies beside it */
    if (CHECK_U64(record.outcome.n_versions, 2)) {
        struct version **v = record.outcome.versions;

        CHECK_STR(v[0]->key, STR("a\0item\0x"));
        struct sha256 hash = sha256_of(STR("1\0002"));

        CHECK_STR(v[0]->content, STR("1\0002"));
        CHECK(sha256_eq(&v[0]->content_hash, &hash));
        CHECK_STR(v[0]->content_type, STR("text/plain"));
        CHECK_STR(v[0]->type_against, STR("application/json"));
        CHECK_STR(v[1]->content_type, STR("text/x-ini")); /* remembered over the deletion */
        CHECK(v[0]->type_origin == TYPE_DECLARED && v[1]->type_origin == TYPE_DECLARED);
        CHECK(v[0]->number == 7 && v[0]->revision == 9 && v[0]->time_ms == 12345);
        CHECK(v[0]->meta && v[0]->meta->n_labels == 1 && v[0]->meta->n_depends_on == 1);
        CHECK(v[1]->deleted && v[1]->number == 2);
    }
    CHECK_U64(record.outcome.n_moves, 0);
    record_deinit(&record);
    record_encoded_deinit(&made);
}

TEST("a record whose contents are not those that it names is refused")
{
    struct record_encoded made = make_record();
    struct hashed others[2];
    struct record_parts parts;
    struct record record;

    REQUIRE(made.n_contents == 1);
    parts = record_encoded_parts(&made);
    others[0] = others[1] = made.contents[0];
    parts.contents = others;
    parts.n_contents = 2;
    CHECK_I64(record_decode(parts, 9, &record, NULL), ERR_CORRUPT);
    parts.n_contents = 0;
    CHECK_I64(record_decode(parts, 9, &record, NULL), ERR_CORRUPT);
    parts.n_contents = 1;
    others[0].hash.bytes[3] ^= 1;
    CHECK_I64(record_decode(parts, 9, &record, NULL), ERR_CORRUPT);
    others[0] = made.contents[0];
    others[0].bytes.len--;
    CHECK_I64(record_decode(parts, 9, &record, NULL), ERR_CORRUPT);
    others[0].bytes = STR_NULL;
    CHECK_I64(record_decode(parts, 9, &record, NULL), ERR_CORRUPT);
    record_encoded_deinit(&made);
}

TEST("a purged content leaves its size and hash in the record, and history can show that it was")
{
    struct record_encoded made = make_record();
    Trimtab__V1__Record *record;
    int r = 0;

    REQUIRE(made.n_contents == 1);
    made.contents[0].bytes = STR_NULL;
    record = record_unpack(record_encoded_parts(&made), &r, NULL);
    if (CHECK(record && record->n_changes == 2)) {
        CHECK_U64(record->changes[0]->size, 3);
        CHECK_U64(record->changes[0]->blob.len, SHA256_BYTES);
        CHECK_U64(record->changes[0]->content.len, 0);
    }
    if (record)
        trimtab__v1__record__free_unpacked(record, &proto_allocator);
    record_encoded_deinit(&made);
}

/* Before contents lay beside records they were inside; such records are read for ever. */
TEST("a record with its contents inside is read as it was written")
{
    struct record_encoded made = make_record();
    owned(shared_unref) struct shared *old = NULL;
    struct record record;
    Trimtab__V1__Record *m;
    int r = 0;

    REQUIRE(made.envelope != NULL);
    m = record_unpack(record_encoded_parts(&made), &r, NULL);
    record_encoded_deinit(&made);
    REQUIRE(m != NULL);
    (void)mem_free(m->changes[0]->blob.data);
    m->changes[0]->blob = (ProtobufCBinaryData){0, NULL};
    old = proto_pack(&m->base, 0);
    trimtab__v1__record__free_unpacked(m, &proto_allocator);
    REQUIRE(old && record_decode((struct record_parts){.envelope = shared_str(old)}, 9, &record,
                                 NULL) == 0);
    CHECK_STR(record.outcome.versions[0]->content, STR("1\0002"));
    record_deinit(&record);
}

static void alter(struct record_encoded *made)
{
    struct record_parts parts = record_encoded_parts(made), other = parts;
    struct shared *bytes = made->envelope;
    struct record record;

    for (size_t cut = 1; cut < bytes->len; cut++) {
        char *copy =
            mem_dup(bytes->data, cut); /* of its own, so that reading behind it is seen */

        other.envelope = str_of(copy, cut);
        if (record_decode(other, 9, &record, NULL) == 0)
            record_deinit(
                &record); /* whole fields were cut off: the log's own checks see that */
        (void)mem_free(copy);
    }
    for (size_t at = 0; at < bytes->len; at++)
        for (int bit = 0; bit < 8; bit++) {
            bytes->data[at] = (char)(bytes->data[at] ^ (1 << bit));
            if (record_decode(parts, 9, &record, NULL) == 0)
                record_deinit(&record);
            bytes->data[at] = (char)(bytes->data[at] ^ (1 << bit));
        }
}

TEST("a record cut or altered at any byte is refused or read, never worse")
{
    struct record_encoded plain = make_record(), start = make_start();

    REQUIRE(plain.envelope && start.envelope);
    alter(&plain);
    alter(&start);
    record_encoded_deinit(&plain);
    record_encoded_deinit(&start);
}

TEST("a record that is read without memory leaves nothing behind")
{
    struct record_encoded made = make_start();
    int r = ERR_NOMEM;

    REQUIRE(made.envelope != NULL);
    ALLOC_SWEEP (at) {
        struct record record;

        r = record_decode(record_encoded_parts(&made), 9, &record, NULL);
        if (!r)
            record_deinit(&record);
    }
    CHECK_I64(r, 0);
    ALLOC_SWEEP (at) {
        struct record_encoded again = make_start();

        r = again.envelope ? 0 : ERR_NOMEM;
        record_encoded_deinit(&again);
    }
    CHECK_I64(r, 0);
    record_encoded_deinit(&made);
}

/* A state in which the record of a start, and what else is given, was folded. */
static struct state *folded(const struct record_encoded *start, struct rollout_move *then)
{
    struct state *s = state_new(), *next;
    struct record record;
    struct rollout *r;
    struct effect e;

    if (!CHECK_I64(record_decode(record_encoded_parts(start), 9, &record, NULL), 0))
        return s;
    CHECK_I64(outcome_effect(s, &record.outcome, &r, &e, NULL), 0);
    CHECK_I64(state_apply_more(&s, &e, 9), 0);
    (void)rollout_unref(r);
    record_deinit(&record);
    if (!then)
        return s;
    CHECK_I64(outcome_effect(s, &(struct outcome){.moves = then, .n_moves = 1}, &r, &e, NULL),
              0);
    next = state_apply(s, &e, 10);
    (void)rollout_unref(r);
    (void)state_unref(s);
    return next;
}

static void check_same_rollout(const struct rollout *a, const struct rollout *b)
{
    owned(arena) struct arena arena = ARENA_NULL;
    struct shared *pa, *pb;

    REQUIRE(a && b);
    pa = proto_pack(&rollout_to_plan(a, &arena)->base, 0);
    pb = proto_pack(&rollout_to_plan(b, &arena)->base, 0);
    CHECK_STR(shared_str(pa), shared_str(pb));
    CHECK(a->phase == b->phase && a->n_moves == b->n_moves && a->n_begun == b->n_begun &&
          a->node.revision == b->node.revision && a->started_ms == b->started_ms &&
          a->moved_ms == b->moved_ms);
    CHECK_STR(a->author, b->author);
    CHECK_STR(a->moved_why, b->moved_why);
    CHECK_U64(a->n_candidates, b->n_candidates);
    for (size_t i = 0; i < a->n_candidates; i++) {
        CHECK_STR(a->candidates[i]->key, b->candidates[i]->key);
        CHECK(a->candidates[i]->number == b->candidates[i]->number);
        CHECK_STR(a->candidates[i]->content, b->candidates[i]->content);
    }
    (void)shared_unref(pa);
    (void)shared_unref(pb);
}

static struct state *through_snapshot(const struct state *s)
{
    struct state *back = state_new();
    struct snapshot_walk walk;
    struct shared *part;
    bool failed;

    snapshot_walk_init(&walk, s);
    while ((part = snapshot_part(&walk, 1, &failed))) {
        CHECK_I64(snapshot_apply(shared_str(part), &back, NULL), 0);
        (void)shared_unref(part);
    }
    CHECK(!failed);
    return back;
}

/* The state after a commit that notes a restore. */
static struct state *restored_from(const struct restored *restored, struct state *before,
                                   uint64_t revision)
{
    struct commit c = {.restored = restored};
    struct record_encoded made;
    struct record record;
    struct effect effect;
    struct state *after = NULL;

    if (!CHECK_I64(record_encode(&c, NULL, NULL, &made), 0))
        return NULL;
    if (CHECK_I64(record_decode(record_encoded_parts(&made), revision, &record, NULL), 0)) {
        CHECK_I64(outcome_effect(before, &record.outcome, NULL, &effect, NULL), 0);
        after = state_apply(before, &effect, revision);
        record_deinit(&record);
    }
    record_encoded_deinit(&made);
    return after;
}

TEST("a restore comes back from its record and from a snapshot, and only its release lets deletions go")
{
    struct restored restored = {.from_revision = 5, .acknowledged = 9};
    struct str from = str_of(restored.from, STATE_STORE_ID_BYTES);
    owned(state_unref) struct state *empty = state_new(), *s = NULL, *later = NULL,
                                    *back = NULL;

    memset(restored.from, 3, sizeof(restored.from));
    s = restored_from(&restored, empty, 6);
    REQUIRE(s != NULL);
    CHECK(s->restored.revision == 6 && s->restored.from_revision == 5 &&
          s->restored.acknowledged == 9);
    CHECK(!state_deletes_newer(s, from) && !state_deletes_newer(empty, from));
    restored = s->restored;
    restored.deletes_newer = true;
    later = restored_from(&restored, s, 8);
    REQUIRE(later != NULL);
    CHECK(later->restored.revision == 6 && later->revision == 8);
    CHECK(state_deletes_newer(later, from));
    CHECK(!state_deletes_newer(later, STR("another store id")));
    back = through_snapshot(later);
    CHECK(back->revision == 8 && memcmp(&back->restored, &later->restored, sizeof(back->restored)) == 0);
}

TEST("a rollout comes back from its record and from a snapshot, with its targets, steps and "
     "candidates")
{
    struct record_encoded start = make_start();
    owned(state_unref) struct state *s = folded(&start, NULL), *back = through_snapshot(s);
    const struct rollout *r = state_rollout(s, 9);
    struct version *v;

    record_encoded_deinit(&start);
    REQUIRE(r != NULL);
    CHECK_STR(r->name, STR("new"));
    CHECK_STR(r->reason, STR("to see"));
    CHECK(r->is_automatic && r->is_declared && r->expires_ms == 99 && r->n_steps == 2 &&
          r->steps[0].criteria.max_silent == 3);
    /* what was said to be 0 stays so, what was not said stays unsaid */
    CHECK(r->steps[0].has_soak && !r->steps[0].criteria.has_max_lost);
    CHECK(r->steps[1].has_soak && r->steps[1].soak_ms == 0 &&
          r->steps[1].criteria.has_max_lost);
    CHECK(r->steps[0].targets[1].percent == 1250 && r->steps[0].targets[1].n_requirements == 1);
    check_same_rollout(r, state_rollout(back, 9));
    CHECK(state_carrier(back, STR("a\0item\0x"), &v) == state_rollout(back, 9) &&
          v->number == 7);
    CHECK_U64(back->n_live, 1);
}

TEST("an order comes back from its record and from a snapshot, and so does the switch of the "
     "fleet")
{
    struct str who[2] = {STR("web-2"), STR("web-1")}, what = STR("a/item/x");
    struct order_request retry = {.kind = ORDER_RETRY,
                                  .instances = who,
                                  .n_instances = 2,
                                  .resources = &what,
                                  .n_resources = 1,
                                  .reason = STR("again")},
                         pause = {.kind = ORDER_PAUSE, .reason = STR("fire")};
    struct commit commits[2] = {{.order = &retry, .author = STR("ann"), .time_ms = 5},
                                {.order = &pause, .author = STR("eve"), .time_ms = 6}};
    struct state *s = state_new(), *back;
    const struct order *o;

    for (uint64_t i = 0; i < 2; i++) {
        struct record_encoded made = {.envelope = NULL};
        struct record record;
        struct effect e;
        struct state *next;

        REQUIRE(record_encode(&commits[i], NULL, NULL, &made) == 0 &&
                record_decode(record_encoded_parts(&made), 9 + i, &record, NULL) == 0);
        CHECK_I64(outcome_effect(s, &record.outcome, NULL, &e, NULL), 0);
        next = state_apply(s, &e, 9 + i);
        effect_deinit(&e, NULL);
        (void)state_unref(s);
        s = next;
        record_deinit(&record);
        record_encoded_deinit(&made);
    }
    back = through_snapshot(s);
    o = state_order(back, 9);
    REQUIRE(o != NULL);
    CHECK(order_names(o, STR("web-1")) && order_names(o, STR("web-2")));
    CHECK_STR(o->what.resources[0], what);
    CHECK_STR(o->what.reason, STR("again"));
    CHECK_STR(o->what.author, STR("ann"));
    CHECK_I64(o->what.time_ms, 5);
    CHECK(state_is_paused(back) && back->fleet == 10 && back->n_orders == 1);
    (void)state_unref(s);
    (void)state_unref(back);
}

TEST("an ended rollout comes back too, and so do the numbers that it took")
{
    struct record_encoded start = make_start();
    struct rollout_move back_move = {.kind = MOVE_ROLL_BACK,
                                     .id = 9,
                                     .expected = 1,
                                     .author = STR("you"),
                                     .reason = STR("bad"),
                                     .revision = 10};
    owned(state_unref) struct state *s = folded(&start, &back_move), *back = through_snapshot(s);

    record_encoded_deinit(&start);
    check_same_rollout(state_rollout(s, 9), state_rollout(back, 9));
    CHECK(state_carrier(back, STR("a\0item\0x"), NULL) == NULL);
    CHECK_U64(state_number(back, STR("a\0item\0x")), 7);
    CHECK(back->n_live == 0 && back->n_ended == 1);
}

/* ---- instances as subjects ---- */

TEST("an instance is the subject that its hello describes, by host or else by its first address")
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__Instance__LabelsEntry label = TRIMTAB__V1__INSTANCE__LABELS_ENTRY__INIT;
    Trimtab__V1__Instance__LabelsEntry *labels[] = {&label};
    char id[] = "web-1", host[] = "h1", address[] = "10.1.2.3", key[] = "tier", value[] = "web";
    char *addresses[] = {address};
    Trimtab__V1__Instance p = TRIMTAB__V1__INSTANCE__INIT;
    struct subject s;

    label.key = key;
    label.value = value;
    p.id = id;
    p.host = host;
    p.port = 8080;
    REQUIRE(subject_from_proto(&p, &a, &s) == 0);
    CHECK_STR(s.id, STR("web-1"));
    CHECK_STR(s.host, STR("h1"));
    CHECK_STR(s.fingerprint, STR("[h1][8080][web-1]"));
    CHECK(s.n_addresses == 0 && s.n_labels == 0);
    host[0] = '\0';
    p.addresses = addresses;
    p.n_addresses = 1;
    p.labels = labels;
    p.n_labels = 1;
    REQUIRE(subject_from_proto(&p, &a, &s) == 0);
    CHECK_STR(s.fingerprint, STR("[10.1.2.3][8080][web-1]"));
    CHECK(s.n_addresses == 1 && str_eq(s.addresses[0], STR("10.1.2.3")));
    CHECK(s.n_labels == 1 && str_eq(s.labels[0].key, STR("tier")) &&
          str_eq(s.labels[0].value, STR("web")));
}

TEST("a state comes back from the parts of its snapshot, whatever their size")
{
    for (size_t bytes = 1; bytes < 2000; bytes *= 7) {
        owned(state_unref) struct state *s = state_new(), *back = state_new();
        struct snapshot_walk walk;
        struct version *a, *b;
        struct shared *part;
        bool failed;
        size_t parts = 0;

        for (int i = 0; i < 40; i++) {
            char key[32];
            int len = snprintf(key, sizeof(key), "a%citem%cn%02d", 0, 0, i);
            owned(version_unref) struct version *v = version_with_wire(
                &(struct version_opts){.key = str_of(key, (size_t)len),
                                       .content_type = STR("text/plain"),
                                       .type_against = STR("a/b"),
                                       .type_origin = i % 2 ? TYPE_DECLARED : TYPE_GUESSED,
                                       .content = STR("12"),
                                       .deleted = i % 5 == 0,
                                       .number = 3,
                                       .revision = (uint64_t)i + 1,
                                       .time_ms = 5});

            CHECK_I64(state_apply_more(&s, &(struct effect){.versions = &v, .n_versions = 1},
                                       (uint64_t)i + 1),
                      0);
        }
        snapshot_walk_init(&walk, s);
        while ((part = snapshot_part(&walk, bytes, &failed))) {
            CHECK_I64(snapshot_apply(shared_str(part), &back, NULL), 0);
            (void)shared_unref(part);
            parts++;
        }
        CHECK(!failed && parts >= 1 && back->revision == s->revision);
        CHECK(back->n_resources == s->n_resources && back->content_bytes == s->content_bytes);
        for (int i = 0; i < 40; i++) {
            char key[32];
            int len = snprintf(key, sizeof(key), "a%citem%cn%02d", 0, 0, i);

            a = state_newest(s, str_of(key, (size_t)len));
            b = state_newest(back, str_of(key, (size_t)len));
            CHECK(a && b && a->revision == b->revision && a->deleted == b->deleted &&
                  a->number == b->number);
            CHECK(a->deleted || sha256_eq(&a->item_hash, &b->item_hash));
            CHECK_STR(b->type_against, STR("a/b"));
            CHECK(a->type_origin == b->type_origin && str_eq(a->content_type, b->content_type));
        }
    }
}

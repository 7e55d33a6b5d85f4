/*
 * What clients say, held to its rules: no field without one, each text as its rule wants it, bounds at the bound and one
 * above it.
 */
#include "proto/inbound.h"

#include "base/text.h"
#include "model/commit.h"
#include "model/scope.h"
#include "proto/convert.h"
#include "proto/wire.h"
#include "tap.h"

#include <trimtab/v1/admin.pb-c.h>
#include <trimtab/v1/record.pb-c.h>

#define FRAME  (&trimtab__v1__client_frame__descriptor)
#define COMMIT (&trimtab__v1__commit_request__descriptor)

/* ---- the table ---- */

/* Counts the texts and lists below a message, and tells those that no rule names. */
static size_t walk_type(const ProtobufCMessageDescriptor *type, size_t *n_bare)
{
    size_t n = 0;

    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &type->fields[i];
        bool is_bound = f->type == PROTOBUF_C_TYPE_STRING || f->label == PROTOBUF_C_LABEL_REPEATED;
        enum inbound_rule rule;
        size_t max;

        n += is_bound;
        if (is_bound && !inbound_rule_of(type, f, &rule, &max)) {
            tap_note("%s.%s has no rule in src/proto/inbound.c", type->short_name, f->name);
            (*n_bare)++;
        }
        if (f->type == PROTOBUF_C_TYPE_MESSAGE)
            n += walk_type(f->descriptor, n_bare);
    }
    return n;
}

TEST("every text and every list that a client can send has a rule")
{
    const ProtobufCServiceDescriptor *services[] = {&trimtab__v1__admin__descriptor,
                                                    &trimtab__v1__sync__descriptor};
    size_t n = 0, n_bare = 0;

    for (size_t s = 0; s < ARRAY_LEN(services); s++)
        for (unsigned i = 0; i < services[s]->n_methods; i++)
            n += walk_type(services[s]->methods[i].input, &n_bare);
    n += walk_type(&trimtab__v1__poll_request__descriptor, &n_bare);
    n += walk_type(&trimtab__v1__ack_request__descriptor, &n_bare);
    CHECK_U64(n_bare, 0);
    CHECK(n > 100);
}

/* ---- helpers ---- */

static int unpack(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *m, struct arena *a,
                  ProtobufCMessage **ret, struct err *err)
{
    owned(shared_unref) struct shared *packed = proto_pack(m, 0);

    *err = ERR_NULL;
    return packed ? inbound_unpack(type, shared_str(packed), a, ret, err) : ERR_NOMEM;
}

static int try_frame(const Trimtab__V1__ClientFrame *frame, struct arena *a,
                     Trimtab__V1__ClientFrame **ret, struct err *err)
{
    return unpack(FRAME, &frame->base, a, (ProtobufCMessage **)ret, err);
}

/* A frame with one of each, whose texts a test exchanges. */
struct sample {
    Trimtab__V1__ClientFrame frame;
    Trimtab__V1__Hello hello;
    Trimtab__V1__Instance instance;
    Trimtab__V1__Instance__LabelsEntry label, *labels[1];
    Trimtab__V1__Scope scope, *scopes[1];
    Trimtab__V1__Selector selector, *selectors[1];
    Trimtab__V1__Serving serving;
    Trimtab__V1__Ack ack;
    Trimtab__V1__Refusal refusal, *refused[1];
    Trimtab__V1__Health health;
    char *address[1], *feature[1], *namespace[1], *kind[1], *name[1];
};

static void sample_init(struct sample *s)
{
    static char word[] = "word";

    *s = (struct sample){.address = {word}, .feature = {word}, .namespace = {word}, .kind = {word}, .name = {word}};
    trimtab__v1__client_frame__init(&s->frame);
    trimtab__v1__hello__init(&s->hello);
    trimtab__v1__instance__init(&s->instance);
    trimtab__v1__instance__labels_entry__init(&s->label);
    trimtab__v1__scope__init(&s->scope);
    trimtab__v1__selector__init(&s->selector);
    trimtab__v1__serving__init(&s->serving);
    trimtab__v1__ack__init(&s->ack);
    trimtab__v1__refusal__init(&s->refusal);
    trimtab__v1__health__init(&s->health);
    s->frame.hello = &s->hello;
    s->frame.ack = &s->ack;
    s->frame.health = &s->health;
    s->hello.instance = &s->instance;
    s->hello.serving = &s->serving;
    s->labels[0] = &s->label;
    s->instance.labels = s->labels;
    s->scopes[0] = &s->scope;
    s->hello.scopes = s->scopes;
    s->selectors[0] = &s->selector;
    s->scope.selectors = s->selectors;
    s->refused[0] = &s->refusal;
    s->ack.refused = s->refused;
    s->instance.n_labels = s->hello.n_scopes = s->scope.n_selectors = s->ack.n_refused = 1;
    s->instance.addresses = s->address;
    s->hello.features = s->feature;
    s->scope.namespaces = s->namespace;
    s->selector.kinds = s->kind;
    s->selector.names = s->name;
    s->instance.n_addresses = s->hello.n_features = s->scope.n_namespaces = 1;
    s->selector.n_kinds = s->selector.n_names = 1;
}

/* A text of n bytes. */
static char *text_of(struct arena *a, char c, size_t n)
{
    char *text = arena_alloc(a, n + 1);

    ASSERT(text);
    memset(text, c, n);
    return text;
}

/* ---- texts that decide ---- */

TEST("a text that decides is refused, by the name of its field, when it is no plain text or too long")
{
    struct sample s;
    const struct {
        char **at;
        const char *field;
        size_t max;
    } fields[] = {
        {&s.instance.id, "hello.instance.id", INBOUND_ID_MAX},
        {&s.label.key, "hello.instance.labels.key", META_KEY_BYTES_MAX},
        {&s.label.value, "hello.instance.labels.value", META_VALUE_BYTES_MAX},
        {&s.address[0], "hello.instance.addresses", 64},
        {&s.feature[0], "hello.features", 64},
        {&s.scope.name, "hello.scopes.name", 4096},
        {&s.namespace[0], "hello.scopes.namespaces", 4096},
        {&s.kind[0], "hello.scopes.selectors.kinds", 4096},
        {&s.name[0], "hello.scopes.selectors.names", 4096},
        {&s.refusal.scope, "ack.refused.scope", SEGMENT_BYTES_MAX},
        {&s.refusal.key, "ack.refused.key", ID_BYTES_MAX},
        {&s.refusal.code, "ack.refused.code", 64},
        {&s.refusal.held_by, "ack.refused.held_by", ID_BYTES_MAX},
    };
    static const char *const bad[] = {"a\xff",         "a\x1b[31m", "a\n",           "a\x7f",
                                      "a\xc2\x9bz", "\xe2\x80\xae", "\xe2\x80\xa8"};

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        owned(arena) struct arena a = ARENA_NULL;
        Trimtab__V1__ClientFrame *got;
        struct err err;

        for (size_t b = 0; b < ARRAY_LEN(bad); b++) {
            sample_init(&s);
            *fields[i].at = arena_c(&a, str_c(bad[b]));
            CHECK_I64(try_frame(&s.frame, &a, &got, &err), ERR_INVALID);
            CHECK_STR(str_c(err.place), str_c(fields[i].field));
            CHECK(strstr(err.text, fields[i].field) == err.text);
        }
        sample_init(&s);
        *fields[i].at = text_of(&a, 'x', fields[i].max);
        CHECK_I64(try_frame(&s.frame, &a, &got, &err), 0);
        *fields[i].at = text_of(&a, 'x', fields[i].max + 1);
        CHECK_I64(try_frame(&s.frame, &a, &got, &err), ERR_INVALID);
        CHECK_STR(str_c(err.place), str_c(fields[i].field));
    }
}

TEST("an instance id has no spaces, and may be missing")
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__ClientFrame *got;
    struct sample s;
    struct err err;

    sample_init(&s);
    CHECK_I64(try_frame(&s.frame, &a, &got, &err), 0);
    s.instance.id = arena_c(&a, STR("a b"));
    CHECK_I64(try_frame(&s.frame, &a, &got, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("hello.instance.id"));
}

/* ---- texts that are shown ---- */

TEST("a text that is only shown is made plain and cut between characters")
{
    struct sample s;
    const struct {
        char **at;
        size_t max;
        bool is_lines;
    } fields[] = {
        {&s.instance.host, INBOUND_HOST_MAX, false},
        {&s.instance.program, INBOUND_PROGRAM_MAX, false},
        {&s.instance.program_version, 64, false},
        {&s.serving.source, 64, false},
        {&s.refusal.message, INBOUND_REASON_MAX, true},
        {&s.ack.reason, INBOUND_REASON_MAX, true},
        {&s.health.reason, INBOUND_HEALTH_REASON_MAX, true},
        {&s.health.source, INBOUND_HOST_MAX, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        owned(arena) struct arena a = ARENA_NULL;
        ptrdiff_t offset = (char *)fields[i].at - (char *)&s;
        Trimtab__V1__ClientFrame *got;
        struct sample back;
        struct err err;
        const char *text;

        for (int round = 0; round < 2; round++) {
            char *cut = text_of(&a, 'x', fields[i].max + 1);

            memcpy(cut + fields[i].max - 1, "\xc3\xbc", 2); /* the last one goes on behind the bound */
            sample_init(&s);
            *fields[i].at = round ? arena_c(&a, STR("h\x1b[31m\n\xff\xe2\x80\xae")) : cut;
            if (!CHECK_I64(try_frame(&s.frame, &a, &got, &err), 0))
                return;
            back = s; /* the same places in what came back */
            back.instance = *got->hello->instance;
            back.serving = *got->hello->serving;
            back.ack = *got->ack;
            back.refusal = *got->ack->refused[0];
            back.health = *got->health;
            text = *(char **)(void *)((char *)&back + offset);
            CHECK(text_is_plain(str_c(text), fields[i].is_lines ? TEXT_LINES : TEXT_LINE));
            if (!round)
                CHECK_U64(strlen(text), fields[i].max - 1);
            else
                CHECK_STR(str_c(text), fields[i].is_lines
                                           ? STR("h\xe2\x90\x9b[31m\n\xef\xbf\xbd\xef\xbf\xbd")
                                           : STR("h\xe2\x90\x9b[31m\xe2\x90\x8a\xef\xbf\xbd\xef\xbf\xbd"));
        }
    }
}

/* Lays out a frame by hand: texts that protobuf-c could not hold. */
static size_t put_field(char *out, unsigned number, const char *payload, size_t len)
{
    char *at = wire_put_head(out, number, len);

    memcpy(at, payload, len);
    return (size_t)(at - out) + len;
}

TEST("a NUL hides nothing: refused in what decides, shown as U+FFFD in what is shown")
{
    owned(arena) struct arena a = ARENA_NULL;
    ProtobufCMessage *got;
    char instance[100], hello[100], frame[100];
    struct err err = ERR_NULL;
    size_t n = put_field(instance, 1, "a\0b", 3);

    n = put_field(hello, 2, instance, n);
    n = put_field(frame, 1, hello, n);
    CHECK_I64(inbound_unpack(FRAME, str_of(frame, n), &a, &got, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("hello.instance.id"));
    n = put_field(instance, 2, "a\0b", 3);
    n = put_field(hello, 2, instance, n);
    n = put_field(frame, 1, hello, n);
    if (!CHECK_I64(inbound_unpack(FRAME, str_of(frame, n), &a, &got, &err), 0))
        return;
    CHECK_STR(str_c(((Trimtab__V1__ClientFrame *)got)->hello->instance->host), STR("a\xef\xbf\xbd" "b"));
}

TEST("contents and annotations stay as they are, and must be UTF-8")
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__CommitRequest q = TRIMTAB__V1__COMMIT_REQUEST__INIT;
    Trimtab__V1__Change c = TRIMTAB__V1__CHANGE__INIT, *list[] = {&c};
    Trimtab__V1__CommitRequest *got;
    struct err err;
    char odd[] = "\x1b[31m\r\n\xe2\x80\xae", bad[] = "\xff";

    q.changes = list;
    q.n_changes = 1;
    c.text = odd;
    if (!CHECK_I64(unpack(COMMIT, &q.base, &a, (ProtobufCMessage **)&got, &err), 0))
        return;
    CHECK_STR(str_c(got->changes[0]->text), str_c(odd));
    c.text = bad;
    CHECK_I64(unpack(COMMIT, &q.base, &a, (ProtobufCMessage **)&got, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("changes.text"));
}

TEST("a text that no rule names is refused")
{
    owned(arena) struct arena a = ARENA_NULL;
    ProtobufCMessage *got;
    struct err err = ERR_NULL;
    char record[20];
    size_t n = 0;

    for (unsigned i = 0; i < trimtab__v1__record__descriptor.n_fields && !n; i++)
        if (trimtab__v1__record__descriptor.fields[i].type == PROTOBUF_C_TYPE_STRING)
            n = put_field(record, trimtab__v1__record__descriptor.fields[i].id, "x", 1);
    CHECK(n > 0);
    CHECK_I64(inbound_unpack(&trimtab__v1__record__descriptor, str_of(record, n), &a, &got, &err),
              ERR_UNSUPPORTED);
}

/* ---- bounds ---- */

/* A frame that holds a message with n elements of a field, each of these bytes. */
static int try_many(unsigned part, unsigned number, struct str element, size_t n, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    owned(buf) struct buf body = BUF_NULL(64 << 20), frame = BUF_NULL(64 << 20);
    char head[20];
    ProtobufCMessage *got;

    *err = ERR_NULL;
    for (size_t i = 0; i < n; i++) {
        buf_put(&body, head, (size_t)(wire_put_head(head, number, element.len) - head));
        buf_put_str(&body, element);
    }
    buf_put(&frame, head, (size_t)(wire_put_head(head, part, body.len) - head));
    buf_put_str(&frame, buf_str(&body));
    ASSERT(!buf_status(&frame));
    return inbound_unpack(FRAME, buf_str(&frame), &a, &got, err);
}

TEST("lists are bounded before anything is unpacked")
{
    struct err err;

    CHECK_I64(try_many(2, 5, STR(""), INBOUND_REFUSALS_MAX, &err), 0);
    CHECK_I64(try_many(2, 5, STR(""), INBOUND_REFUSALS_MAX + 1, &err), ERR_LIMIT);
    CHECK_STR(str_c(err.place), STR("ack.refused"));
    CHECK_I64(try_many(2, 5, STR(""), 2090000, &err), ERR_LIMIT);
    CHECK_I64(try_many(3, 1, STR(""), INBOUND_INVENTORY_MAX, &err), 0);
    CHECK_I64(try_many(3, 1, STR(""), INBOUND_INVENTORY_MAX + 1, &err), ERR_LIMIT);
    CHECK_STR(str_c(err.place), STR("inventory.entries"));
    CHECK_I64(try_many(1, 3, STR(""), SCOPES_MAX + 2, &err), ERR_LIMIT);
    CHECK_STR(str_c(err.place), STR("hello.scopes"));
}

TEST("fields of a newer client are bounded with the rest")
{
    struct err err;

    CHECK_I64(try_many(2, 15, STR(""), INBOUND_VALUES_MAX - 1, &err), 0); /* and the ack itself */
    CHECK_I64(try_many(2, 15, STR(""), INBOUND_VALUES_MAX, &err), ERR_LIMIT);
}

TEST("a report is bounded in bytes, as it is kept")
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__ClientFrame *got;
    struct sample s;
    struct err err;
    static Trimtab__V1__Refusal *many[600];
    size_t size, n = 0;

    sample_init(&s);
    s.frame.hello = NULL;
    s.refusal.message = text_of(&a, 'm', 4000);
    s.ack.refused = many;
    for (n = 0; n < ARRAY_LEN(many); n++)
        many[n] = &s.refusal;
    size = wire_field_len(trimtab__v1__refusal__get_packed_size(&s.refusal));
    s.ack.n_refused = INBOUND_REPORT_BYTES_MAX / size;
    CHECK_I64(try_frame(&s.frame, &a, &got, &err), 0);
    s.ack.n_refused++;
    CHECK_I64(try_frame(&s.frame, &a, &got, &err), ERR_LIMIT);
    CHECK_STR(str_c(err.place), STR("ack"));
    s.ack.n_refused = INBOUND_REPORT_BYTES_MAX / size;
    s.refusal.message = text_of(&a, '\x01', 4000); /* three bytes each, but cut */
    CHECK_I64(try_frame(&s.frame, &a, &got, &err), ERR_LIMIT);
}

TEST("what is no message is refused, whatever it announces")
{
    static const struct str bad[] = {STR("\x0a"), STR("\x02\x00"), STR("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), STR("\x0b"),
                                     STR("\x0a\x05"), STR("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80")};
    owned(arena) struct arena a = ARENA_NULL;
    ProtobufCMessage *got;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_NULL;

        CHECK_I64(inbound_unpack(FRAME, bad[i], &a, &got, &err), ERR_INVALID);
        CHECK_STR(str_c(err.text), STR("not a ClientFrame"));
    }
}

/* ---- documents ---- */

/* before, n times element, after */
static int try_document(const char *before, const char *element, size_t n, const char *after,
                        const ProtobufCMessageDescriptor *type, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    owned(buf) struct buf text = BUF_NULL(64 << 20);
    ProtobufCMessage *got;

    *err = ERR_NULL;
    buf_put_c(&text, before);
    for (size_t i = 0; i < n; i++)
        buf_put_c(&text, i && *element != '[' ? "," : ""), buf_put_c(&text, element);
    buf_put_c(&text, after);
    ASSERT(!buf_status(&text));
    return inbound_json(buf_str(&text), type, &a, &got, err);
}

TEST("documents are bounded before anything is parsed")
{
    const ProtobufCMessageDescriptor *poll = &trimtab__v1__poll_request__descriptor;
    const ProtobufCMessageDescriptor *ack = &trimtab__v1__ack_request__descriptor;
    const ProtobufCMessageDescriptor *preview = &trimtab__v1__preview_rollout_request__descriptor;
    struct err err;

    CHECK_I64(try_document("{\"hello\":{\"scopes\":[", "{}", 1390000, "]}}", poll, &err), ERR_LIMIT);
    CHECK_I64(try_document("{\"targets\":[", "{}", 4000000, "]}", preview, &err), ERR_LIMIT);
    CHECK_I64(try_document("{\"ack\":{\"refused\":[", "{}", INBOUND_REFUSALS_MAX, "]}}", ack, &err), 0);
    CHECK_I64(try_document("{\"ack\":{\"refused\":[", "{}", INBOUND_REFUSALS_MAX + 1, "]}}", ack, &err), ERR_LIMIT);
    CHECK_STR(str_c(err.place), STR("ack.refused"));
    CHECK_I64(try_document("{\"hello\":", "[", INBOUND_DEPTH_MAX, "", poll, &err), ERR_LIMIT);
    CHECK_I64(try_document("", "[", INBOUND_DEPTH_MAX, "", poll, &err), ERR_INVALID);
    CHECK_I64(try_document("{\"wait_ms\":\"", ",{", 400000, "\"}", poll, &err), ERR_INVALID); /* in a text */
}

TEST("values and objects of a document are counted at the bound and one above it")
{
    const ProtobufCMessageDescriptor *poll = &trimtab__v1__poll_request__descriptor;
    struct err err;

    /* {"hello":[0,...]}: the object's, the member's, and a comma for each but the first */
    CHECK_I64(try_document("{\"hello\":[", "0", INBOUND_VALUES_MAX - 1, "]}", poll, &err), ERR_INVALID);
    CHECK_I64(try_document("{\"hello\":[", "0", INBOUND_VALUES_MAX, "]}", poll, &err), ERR_LIMIT);
    CHECK_I64(try_document("{\"hello\":[", "{}", INBOUND_OBJECTS_MAX - 2, "]}", poll, &err), ERR_INVALID);
    CHECK_I64(try_document("{\"hello\":[", "{}", INBOUND_OBJECTS_MAX - 1, "]}", poll, &err), ERR_LIMIT);
}

TEST("a document's texts have the same rules")
{
    owned(arena) struct arena a = ARENA_NULL;
    const ProtobufCMessageDescriptor *ack = &trimtab__v1__ack_request__descriptor;
    Trimtab__V1__AckRequest *got;
    struct err err = ERR_NULL;

    CHECK_I64(inbound_json(STR("{\"instance\":\"a\\u001b\"}"), ack, &a, (ProtobufCMessage **)&got, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("instance"));
    if (CHECK_I64(inbound_json(STR("{\"instance\":\"a\",\"health\":{\"reason\":\"\\u001b\\u202e\"}}"), ack, &a,
                               (ProtobufCMessage **)&got, &err), 0))
        CHECK_STR(str_c(got->health->reason), STR("\xe2\x90\x9b\xef\xbf\xbd"));
    CHECK_I64(inbound_json(STR("[]"), ack, &a, (ProtobufCMessage **)&got, &err), ERR_INVALID);
    CHECK_I64(inbound_json(STR("{\"instance\":\"\xff\"}"), ack, &a, (ProtobufCMessage **)&got, &err), ERR_INVALID);
    CHECK(err.line == 1);
}

TEST("without memory nothing is taken, and nothing leaks")
{
    struct sample s;
    char host[] = "h\x1b";

    sample_init(&s);
    s.instance.host = host;
    ALLOC_SWEEP (n) {
        owned(arena) struct arena a = ARENA_NULL;
        owned(shared_unref) struct shared *packed = proto_pack(&s.frame.base, 0);
        struct err err = ERR_NULL;
        ProtobufCMessage *got;
        int r = packed ? inbound_unpack(FRAME, shared_str(packed), &a, &got, &err) : ERR_NOMEM;

        CHECK(r == 0 || r == ERR_NOMEM);
    }
}

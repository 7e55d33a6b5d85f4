/*
 * What clients say, checked once. See inbound.h.
 */
#include "proto/inbound.h"

#include "base/text.h"
#include "model/commit.h"
#include "model/scope.h"
#include "model/target.h"
#include "model/rollout.h"
#include "proto/convert.h"
#include "proto/json.h"
#include "proto/wire_read.h"

#include <pthread.h>
#include <trimtab/v1/admin.pb-c.h>
#include <trimtab/v1/reflection.pb-c.h>

/* ---- the table ---- */

/*
 * One field: a text has a length (max, in bytes), a repeated field a number of elements. A message can have a length, too,
 * as it would be packed. 0 elements: the field is not repeated.
 */
struct rule {
    const char *field;
    enum inbound_rule rule;
    size_t max;
    size_t elements;
};

struct rules {
    const ProtobufCMessageDescriptor *type;
    const struct rule *at;
    size_t n;
    size_t values; /* of a whole message; 0: INBOUND_VALUES_MAX */
};

/*
 * Names and texts that the model checks, and explains better, may be longer here than there, and lists by one. Texts of
 * people are refused there when they are too long, not cut here.
 */
enum { NAME_MAX_HERE = 4096, PEOPLE_MAX_HERE = 64 * 1024, WORD_MAX = 64, PAIRS_MAX_HERE = 256 };

#define TEXT_RULE(name, max)                                                                   \
    {                                                                                          \
#name, INBOUND_DECIDES, (max), 0                                                       \
    }
#define LIST_RULE(name, max, n)                                                                \
    {                                                                                          \
#name, INBOUND_DECIDES, (max), (n)                                                     \
    }
#define ID_RULE(name)                                                                          \
    {                                                                                          \
#name, INBOUND_ID, INBOUND_ID_MAX, 0                                                   \
    }
#define SHOWN_RULE(name, max)                                                                  \
    {                                                                                          \
#name, INBOUND_SHOWN, (max), 0                                                         \
    }
#define LINES_RULE(name, max)                                                                  \
    {                                                                                          \
#name, INBOUND_SHOWN_LINES, (max), 0                                                   \
    }
#define CONTENT_RULE(name)                                                                     \
    {                                                                                          \
#name, INBOUND_CONTENT, SIZE_MAX, 0                                                    \
    }
#define PART_RULE(name, n)                                                                     \
    {                                                                                          \
#name, INBOUND_PART, SIZE_MAX, (n)                                                     \
    }
#define SIZED_RULE(name, max)                                                                  \
    {                                                                                          \
#name, INBOUND_PART, (max), 0                                                          \
    }

static const struct rule client_frame_rules[] = {
    SIZED_RULE(hello, INBOUND_HELLO_BYTES_MAX),
    SIZED_RULE(ack, INBOUND_REPORT_BYTES_MAX),
};
static const struct rule poll_rules[] = {SIZED_RULE(hello, INBOUND_HELLO_BYTES_MAX)};
static const struct rule ack_request_rules[] = {ID_RULE(instance), TEXT_RULE(secret, WORD_MAX),
                                                SIZED_RULE(ack, INBOUND_REPORT_BYTES_MAX)};
static const struct rule instance_rules[] = {
    ID_RULE(id),
    SHOWN_RULE(host, INBOUND_HOST_MAX),
    LIST_RULE(addresses, WORD_MAX, 64),
    PART_RULE(labels, PAIRS_MAX_HERE),
    SHOWN_RULE(program, INBOUND_PROGRAM_MAX),
    SHOWN_RULE(program_version, WORD_MAX),
};
static const struct rule label_rules[] = {TEXT_RULE(key, META_KEY_BYTES_MAX),
                                          TEXT_RULE(value, META_VALUE_BYTES_MAX)};
static const struct rule scope_rules[] = {
    TEXT_RULE(name, NAME_MAX_HERE), LIST_RULE(namespaces, NAME_MAX_HERE, SCOPE_LAYERS_MAX + 1),
    PART_RULE(selectors, SCOPE_SELECTORS_MAX + 1)};
static const struct rule selector_rules[] = {
    LIST_RULE(kinds, NAME_MAX_HERE, SCOPE_PATTERNS_MAX + 1),
    LIST_RULE(names, NAME_MAX_HERE, SCOPE_PATTERNS_MAX + 1)};
static const struct rule forget_rules[] = {TEXT_RULE(id, NAME_MAX_HERE)};
static const struct rule hello_rules[] = {TEXT_RULE(secret, WORD_MAX),
                                          PART_RULE(scopes, SCOPES_MAX + 1),
                                          LIST_RULE(features, WORD_MAX, 64)};
static const struct rule serving_rules[] = {SHOWN_RULE(source, WORD_MAX)};
static const struct rule inventory_rules[] = {PART_RULE(entries, INBOUND_INVENTORY_MAX)};
static const struct rule entry_rules[] = {TEXT_RULE(scope, SEGMENT_BYTES_MAX),
                                          TEXT_RULE(key, ID_BYTES_MAX),
                                          TEXT_RULE(namespace, NAMESPACE_BYTES_MAX)};
static const struct rule ack_rules[] = {PART_RULE(refused, INBOUND_REFUSALS_MAX),
                                        LINES_RULE(reason, INBOUND_REASON_MAX)};
static const struct rule refusal_rules[] = {
    TEXT_RULE(scope, SEGMENT_BYTES_MAX), TEXT_RULE(key, ID_BYTES_MAX),
    TEXT_RULE(code, WORD_MAX),           LINES_RULE(message, INBOUND_REASON_MAX),
    TEXT_RULE(held_by, ID_BYTES_MAX),    TEXT_RULE(id, ID_BYTES_MAX)};
static const struct rule health_rules[] = {LINES_RULE(reason, INBOUND_HEALTH_REASON_MAX),
                                           SHOWN_RULE(source, INBOUND_HOST_MAX)};

static const struct rule change_rules[] = {
    TEXT_RULE(id, NAME_MAX_HERE), TEXT_RULE(content_type, NAME_MAX_HERE), CONTENT_RULE(text)};
static const struct rule metadata_rules[] = {
    PART_RULE(labels, PAIRS_MAX_HERE), PART_RULE(annotations, PAIRS_MAX_HERE),
    LINES_RULE(description, PEOPLE_MAX_HERE), SHOWN_RULE(owner, PEOPLE_MAX_HERE),
    LIST_RULE(depends_on, NAME_MAX_HERE, 1000)};
static const struct rule patch_rules[] = {LIST_RULE(clear, NAME_MAX_HERE, 1000)};
static const struct rule meta_label_rules[] = {TEXT_RULE(key, NAME_MAX_HERE),
                                               TEXT_RULE(value, 4 * NAME_MAX_HERE)};
static const struct rule annotation_rules[] = {TEXT_RULE(key, NAME_MAX_HERE),
                                               CONTENT_RULE(value)};
static const struct rule commit_rules[] = {
    PART_RULE(changes, COMMIT_CHANGES_MAX + 1), LINES_RULE(message, PEOPLE_MAX_HERE),
    TEXT_RULE(request_id, NAME_MAX_HERE), LIST_RULE(prune, NAME_MAX_HERE, 1000),
    LINES_RULE(override, PEOPLE_MAX_HERE)};
static const struct rule get_rules[] = {TEXT_RULE(id, NAME_MAX_HERE)};
static const struct rule list_rules[] = {
    TEXT_RULE(prefix, NAME_MAX_HERE), TEXT_RULE(kind, NAME_MAX_HERE),
    TEXT_RULE(name, NAME_MAX_HERE), TEXT_RULE(after, NAME_MAX_HERE)};
static const struct rule commits_rules[] = {TEXT_RULE(author, NAME_MAX_HERE),
                                            TEXT_RULE(prefix, NAME_MAX_HERE),
                                            TEXT_RULE(action, NAME_MAX_HERE)};
static const struct rule rollback_rules[] = {
    TEXT_RULE(id, NAME_MAX_HERE), LINES_RULE(message, PEOPLE_MAX_HERE),
    TEXT_RULE(request_id, NAME_MAX_HERE), LINES_RULE(override, PEOPLE_MAX_HERE)};
static const struct rule diff_rules[] = {TEXT_RULE(id, NAME_MAX_HERE),
                                         TEXT_RULE(after, NAME_MAX_HERE)};
static const struct rule instances_rules[] = {TEXT_RULE(prefix, NAME_MAX_HERE),
                                              TEXT_RULE(resource, NAME_MAX_HERE),
                                              TEXT_RULE(after, NAME_MAX_HERE)};
static const struct rule running_rules[] = {TEXT_RULE(instance, NAME_MAX_HERE),
                                            TEXT_RULE(resource, NAME_MAX_HERE),
                                            TEXT_RULE(after, NAME_MAX_HERE)};
static const struct rule status_rules[] = {
    LIST_RULE(resources, NAME_MAX_HERE, COMMIT_CHANGES_MAX)};
static const struct rule events_rules[] = {LIST_RULE(types, NAME_MAX_HERE, 64),
                                           TEXT_RULE(prefix, NAME_MAX_HERE)};
static const struct rule start_rules[] = {PART_RULE(changes, COMMIT_CHANGES_MAX + 1),
                                          LINES_RULE(message, PEOPLE_MAX_HERE),
                                          TEXT_RULE(request_id, NAME_MAX_HERE)};
static const struct rule move_rules[] = {
    TEXT_RULE(move, NAME_MAX_HERE), LINES_RULE(reason, PEOPLE_MAX_HERE),
    LINES_RULE(override, PEOPLE_MAX_HERE), LINES_RULE(force, PEOPLE_MAX_HERE),
    TEXT_RULE(request_id, NAME_MAX_HERE)};
static const struct rule get_rollout_rules[] = {TEXT_RULE(after, NAME_MAX_HERE),
                                                TEXT_RULE(state, NAME_MAX_HERE)};
static const struct rule list_rollouts_rules[] = {TEXT_RULE(phase, NAME_MAX_HERE),
                                                  TEXT_RULE(resource, NAME_MAX_HERE)};
static const struct rule preview_rules[] = {
    PART_RULE(targets, TARGETS_MAX + 1),
    LIST_RULE(resources, NAME_MAX_HERE, COMMIT_CHANGES_MAX), TEXT_RULE(after, NAME_MAX_HERE)};
static const struct rule order_rules[] = {
    TEXT_RULE(kind, NAME_MAX_HERE),
    LIST_RULE(instances, NAME_MAX_HERE, ORDER_INSTANCES_MAX + 1),
    LIST_RULE(resources, NAME_MAX_HERE, ORDER_RESOURCES_MAX + 1),
    LINES_RULE(reason, PEOPLE_MAX_HERE), TEXT_RULE(request_id, NAME_MAX_HERE)};
static const struct rule reflection_rules[] = {
    SHOWN_RULE(host, NAME_MAX_HERE), TEXT_RULE(file_by_filename, NAME_MAX_HERE),
    TEXT_RULE(file_containing_symbol, NAME_MAX_HERE),
    TEXT_RULE(all_extension_numbers_of_type, NAME_MAX_HERE),
    TEXT_RULE(list_services, NAME_MAX_HERE)};
static const struct rule reflection_extension_rules[] = {
    TEXT_RULE(containing_type, NAME_MAX_HERE)};
static const struct rule release_restore_rules[] = {LINES_RULE(reason, PEOPLE_MAX_HERE),
                                                    TEXT_RULE(request_id, NAME_MAX_HERE)};
static const struct rule who_can_rules[] = {TEXT_RULE(right, NAME_MAX_HERE),
                                            TEXT_RULE(namespace, NAME_MAX_HERE)};
static const struct rule grants_rules[] = {TEXT_RULE(subject, NAME_MAX_HERE),
                                           TEXT_RULE(after, NAME_MAX_HERE)};
static const struct rule tokens_rules[] = {TEXT_RULE(name, NAME_MAX_HERE),
                                           TEXT_RULE(after, NAME_MAX_HERE)};
static const struct rule plan_rules[] = {TEXT_RULE(name, NAME_MAX_HERE),
                                         TEXT_RULE(salt, NAME_MAX_HERE),
                                         PART_RULE(steps, ROLLOUT_STEPS_MAX + 1)};
static const struct rule step_rules[] = {PART_RULE(targets, TARGETS_MAX + 1)};
static const struct rule target_rules[] = {
    LIST_RULE(ids, NAME_MAX_HERE, TARGET_VALUES_MAX + 1),
    LIST_RULE(fingerprints, NAME_MAX_HERE, TARGET_VALUES_MAX + 1),
    LIST_RULE(hosts, NAME_MAX_HERE, TARGET_VALUES_MAX + 1),
    LIST_RULE(networks, NAME_MAX_HERE, TARGET_VALUES_MAX + 1),
    TEXT_RULE(labels, NAME_MAX_HERE)};

#define RULES(message, list)                                                                   \
    {                                                                                          \
        &trimtab__v1__##message##__descriptor, list, ARRAY_LEN(list), 0                        \
    }
#define LARGE(message, list)                                                                   \
    {                                                                                          \
        &trimtab__v1__##message##__descriptor, list, ARRAY_LEN(list),                          \
            INBOUND_REQUEST_VALUES_MAX                                                         \
    }

static const struct rules table[] = {
    RULES(client_frame, client_frame_rules),
    RULES(poll_request, poll_rules),
    RULES(ack_request, ack_request_rules),
    RULES(instance, instance_rules),
    RULES(instance__labels_entry, label_rules),
    RULES(scope, scope_rules),
    RULES(selector, selector_rules),
    RULES(hello, hello_rules),
    RULES(serving, serving_rules),
    RULES(inventory, inventory_rules),
    RULES(inventory__entry, entry_rules),
    RULES(ack, ack_rules),
    RULES(refusal, refusal_rules),
    RULES(health, health_rules),
    RULES(change, change_rules),
    RULES(metadata, metadata_rules),
    RULES(metadata_patch, patch_rules),
    RULES(metadata__labels_entry, meta_label_rules),
    RULES(metadata__annotations_entry, annotation_rules),
    LARGE(commit_request, commit_rules),
    RULES(get_request, get_rules),
    RULES(list_request, list_rules),
    RULES(history_request, get_rules),
    RULES(commits_request, commits_rules),
    RULES(diff_request, diff_rules),
    RULES(rollback_request, rollback_rules),
    RULES(instances_request, instances_rules),
    RULES(running_request, running_rules),
    RULES(forget_instance_request, forget_rules),
    RULES(status_request, status_rules),
    RULES(events_request, events_rules),
    LARGE(start_rollout_request, start_rules),
    LARGE(move_rollout_request, move_rules),
    RULES(get_rollout_request, get_rollout_rules),
    RULES(list_rollouts_request, list_rollouts_rules),
    LARGE(preview_rollout_request, preview_rules),
    RULES(order_request, order_rules),
    RULES(release_restore_request, release_restore_rules),
    RULES(who_can_request, who_can_rules),
    RULES(grants_request, grants_rules),
    RULES(tokens_request, tokens_rules),
    RULES(reflection_request, reflection_rules),
    RULES(reflection_extension, reflection_extension_rules),
    RULES(rollout_plan, plan_rules),
    RULES(step, step_rules),
    RULES(target, target_rules),
};

/* ---- looking up ---- */

/*
 * Every message that comes is looked up, and every field of it, so the table has an index: the rules of a type by its
 * address, in a hash table with linear probing, and in them the rule of a field by its place in the type.
 */
enum { INDEX_SLOTS = 128, FIELDS_MAX = 64, NO_RULE = UINT8_MAX };

struct indexed {
    const struct rules *rules;     /* NULL: an empty slot */
    uint8_t of[FIELDS_MAX];        /* place in rules->at of the rule for a field, or NO_RULE */
    bool is_looked_at[FIELDS_MAX]; /* else it is a number, or bytes of any length */
};

static struct indexed index_slots[INDEX_SLOTS];

static size_t slot_of(const ProtobufCMessageDescriptor *type)
{
    return ((uintptr_t)type >> 5) %
           INDEX_SLOTS; /* descriptors are large, and one after the other */
}

static uint8_t find_rule(const struct rules *rules, const char *field)
{
    for (size_t i = 0; i < rules->n; i++)
        if (strcmp(rules->at[i].field, field) == 0)
            return (uint8_t)i;
    return NO_RULE;
}

static bool must_be_looked_at(const ProtobufCFieldDescriptor *f, uint8_t rule)
{
    return rule != NO_RULE || f->label == PROTOBUF_C_LABEL_REPEATED ||
           f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE;
}

static void make_index(void)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        size_t at = slot_of(table[i].type);

        ASSERT(table[i].type->n_fields <= FIELDS_MAX && table[i].n < NO_RULE);
        while (index_slots[at].rules)
            at = (at + 1) % INDEX_SLOTS;
        index_slots[at].rules = &table[i];
        for (unsigned n = 0; n < table[i].type->n_fields; n++) {
            const ProtobufCFieldDescriptor *f = &table[i].type->fields[n];

            index_slots[at].of[n] = find_rule(&table[i], f->name);
            index_slots[at].is_looked_at[n] = must_be_looked_at(f, index_slots[at].of[n]);
        }
    }
}

static const struct indexed *rules_of(const ProtobufCMessageDescriptor *type)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    size_t at = slot_of(type);

    (void)pthread_once(&once, make_index); /* fails only on misuse */
    while (index_slots[at].rules && index_slots[at].rules->type != type)
        at = (at + 1) % INDEX_SLOTS;
    return index_slots[at].rules ? &index_slots[at] : NULL;
}

/* NULL: nothing limits the field, unless it is a text or repeated; then it is refused. */
static const struct rule *rule_of(const struct indexed *in, const ProtobufCFieldDescriptor *f)
{
    uint8_t i = in ? in->of[f - in->rules->type->fields] : NO_RULE;

    return i == NO_RULE ? NULL : &in->rules->at[i];
}

bool inbound_rule_of(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *f,
                     enum inbound_rule *ret, size_t *ret_max)
{
    const struct rule *rule = rule_of(rules_of(type), f);

    if (!rule || (f->label == PROTOBUF_C_LABEL_REPEATED && !rule->elements))
        return false;
    *ret = rule->rule;
    *ret_max = f->label == PROTOBUF_C_LABEL_REPEATED && f->type == PROTOBUF_C_TYPE_MESSAGE
                   ? rule->elements
                   : rule->max;
    return true;
}

static size_t values_max(const ProtobufCMessageDescriptor *type)
{
    const struct indexed *in = rules_of(type);

    return in && in->rules->values ? in->rules->values : INBOUND_VALUES_MAX;
}

/* ---- where a fault is ---- */

/* The fields from the message that came down to the one that is looked at; on the stack. */
struct path {
    const struct path *up;
    const ProtobufCFieldDescriptor *f;
};

/* "hello.instance.id" */
static void put_path(const struct path *p, struct buf *out)
{
    if (p->up) {
        put_path(p->up, out);
        buf_put_byte(out, '.');
    }
    buf_put_c(out, p->f->name);
}

static int fault(int code, const struct path *p, const char *what, struct err *err)
{
    char room[ERR_PLACE_MAX];
    struct buf name = {.data = room, .cap = sizeof(room), .ceiling = sizeof(room)};

    put_path(p, &name); /* messages are not deep: it fits */
    (void)err_set(err, code, "%.*s %s", STR_ARG(buf_str(&name)), what);
    err_place(err, "%.*s", STR_ARG(buf_str(&name)));
    return code;
}

static int over_limit(const struct path *p, const char *what, size_t max, struct err *err)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "has more than %zu %s", max, what);
    return fault(ERR_LIMIT, p, text, err);
}

static int too_many_values(size_t max, struct err *err)
{
    return err_set(err, ERR_LIMIT, "a message of more than %zu values", max);
}

static int no_rule(const struct path *p, struct err *err)
{
    return fault(ERR_UNSUPPORTED, p, "is not taken: proto/inbound.c has no rule for it", err);
}

/* How many elements a repeated field may have. */
static int check_elements(const struct rule *rule, size_t n, const struct path *p,
                          struct err *err)
{
    if (n && (!rule || !rule->elements))
        return no_rule(p, err);
    if (n && n > rule->elements)
        return over_limit(p, "elements", rule->elements, err);
    return 0;
}

/* How many bytes a part or a field of bytes may have. */
static int check_bytes_of(const struct rule *rule, size_t n, const struct path *p,
                          struct err *err)
{
    return rule && n > rule->max ? over_limit(p, "bytes", rule->max, err) : 0;
}

/* ---- bytes, before they are unpacked ---- */

/* What is left of a message that is walked over. */
struct walk {
    const ProtobufCMessageDescriptor *type; /* of the whole */
    size_t values, max;
    bool has_nul; /* in a text that is shown */
    struct err *err;
};

/* Numbers of fields are mostly 1, 2, 3 ..., so the first guess is right. */
static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *type,
                                                unsigned number)
{
    if (number <= type->n_fields && type->fields[number - 1].id == number)
        return &type->fields[number - 1];
    return protobuf_c_message_descriptor_get_field(type, number);
}

static int walk_message(struct walk *w, const ProtobufCMessageDescriptor *type, struct str in,
                        const struct path *up);

/* What lies in a field: a message of ours, or a text, in which a NUL would hide what is behind it. */
static int walk_payload(struct walk *w, const struct rule *rule, struct str payload,
                        const struct path *p)
{
    bool has_nul;

    if (p->f->type == PROTOBUF_C_TYPE_MESSAGE)
        return walk_message(w, p->f->descriptor, payload, p);
    if (p->f->type != PROTOBUF_C_TYPE_STRING)
        return 0;
    has_nul = str_index(payload, '\0') < payload.len;
    if (has_nul &&
        (!rule || (rule->rule != INBOUND_SHOWN && rule->rule != INBOUND_SHOWN_LINES)))
        return fault(ERR_INVALID, p, "has a NUL character", w->err);
    w->has_nul |= has_nul;
    return 0;
}

static int walk_message(struct walk *w, const ProtobufCMessageDescriptor *type, struct str in,
                        const struct path *up)
{
    const struct indexed *rules = rules_of(type);
    size_t counts[FIELDS_MAX];

    ASSERT(type->n_fields <= FIELDS_MAX);
    memset(counts, 0, type->n_fields * sizeof(counts[0]));
    while (in.len) {
        const ProtobufCFieldDescriptor *f;
        struct wire_field field;
        struct path p = {.up = up};
        int r = 0;

        if (!wire_take_field(&in, &field))
            return err_set(w->err, ERR_INVALID, "not a %s", w->type->short_name);
        if (++w->values > w->max)
            return too_many_values(w->max, w->err);
        f = field_of(type, field.number);
        if (!f || (rules && !rules->is_looked_at[f - type->fields]))
            continue; /* of a newer client, or of no interest */
        p.f = f;
        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            r = check_elements(rule_of(rules, f), ++counts[f - type->fields], &p, w->err);
        else if (f->type == PROTOBUF_C_TYPE_MESSAGE) /* one that comes twice is merged */
            r = check_bytes_of(rule_of(rules, f), counts[f - type->fields] += field.payload.len,
                               &p, w->err);
        if (!r && field.kind == WIRE_LENGTH_DELIMITED)
            r = walk_payload(w, rule_of(rules, f), field.payload, &p);
        if (r)
            return r;
    }
    return 0;
}

/* ---- NUL characters in texts that are shown ---- */

/* A C string ends at them. A byte that is no UTF-8 in their place comes out as U+FFFD. */
static void hide_nuls(const ProtobufCMessageDescriptor *type, char *data, size_t len)
{
    struct str in = str_of(data, len);
    struct wire_field field;

    while (in.len && wire_take_field(&in, &field)) {
        const ProtobufCFieldDescriptor *f = field_of(type, field.number);
        char *at = data + (in.data - data) - field.payload.len;

        if (!f || field.kind != WIRE_LENGTH_DELIMITED)
            continue;
        if (f->type == PROTOBUF_C_TYPE_MESSAGE)
            hide_nuls(f->descriptor, at, field.payload.len);
        for (size_t i = 0; f->type == PROTOBUF_C_TYPE_STRING && i < field.payload.len; i++)
            if (!at[i])
                at[i] = (char)0xff;
    }
}

/* ---- texts ---- */

/* A message that is checked, and where replacements for its texts go. */
struct checking {
    struct arena *arena;
    struct err *err;
    bool is_measured;  /* its parts were measured as they lay there */
    bool has_replaced; /* a text by another one, so that this holds no more */
};

static int control_character(struct str s, const struct path *p, struct err *err)
{
    struct str rest = str_from(s, text_plain_prefix(s, TEXT_LINE));
    char text[64];

    (void)snprintf(text, sizeof(text), "has the control character 0x%02x",
                   str_take_point(&rest));
    return fault(ERR_INVALID, p, text, err);
}

static int check_deciding(struct str s, const struct rule *rule, const struct path *p,
                          struct err *err)
{
    if (s.len > rule->max) {
        char text[48];

        (void)snprintf(text, sizeof(text), "is longer than %zu bytes", rule->max);
        return fault(ERR_INVALID, p, text, err);
    }
    if (!str_is_utf8(s))
        return fault(ERR_INVALID, p, "is not UTF-8", err);
    if (!text_is_plain(s, TEXT_LINE))
        return control_character(s, p, err);
    if (rule->rule == INBOUND_ID && str_index(s, ' ') < s.len)
        return fault(ERR_INVALID, p, "has spaces", err);
    return 0;
}

static int check_text(char **at, const struct rule *rule, struct checking *c,
                      const struct path *p)
{
    struct str s = str_c(*at);
    bool is_lines = rule && rule->rule == INBOUND_SHOWN_LINES;
    enum text_shape shape = is_lines ? TEXT_LINES : TEXT_LINE;

    if (!s.len)
        return 0;
    if (!rule)
        return no_rule(p, c->err);
    if (rule->rule == INBOUND_CONTENT)
        return str_is_utf8(s) ? 0 : fault(ERR_INVALID, p, "is not UTF-8", c->err);
    if (rule->rule == INBOUND_SHOWN || is_lines) {
        owned(buf) struct buf plain = BUF_NULL(rule->max);

        if (s.len <= rule->max && text_is_plain(s, shape))
            return 0;
        text_put_plain(&plain, s, shape, rule->max);
        *at = arena_c(c->arena, buf_str(&plain));
        c->has_replaced = true;
        return buf_status(&plain) || arena_failed(c->arena) ? ERR_NOMEM : 0;
    }
    return check_deciding(s, rule, p, c->err);
}

/* ---- messages ---- */

static int check_message(ProtobufCMessage *m, struct checking *c, const struct path *up);

static int check_size_of(const ProtobufCMessage *part, const struct rule *rule,
                         const struct path *p, struct err *err)
{
    if (!rule || rule->max == SIZE_MAX)
        return 0;
    return check_bytes_of(rule, protobuf_c_message_get_packed_size(part), p, err);
}

static int check_part(ProtobufCMessage *part, const struct rule *rule, struct checking *c,
                      const struct path *p)
{
    int r = 0;

    if (!c->is_measured)
        r = check_size_of(part, rule, p, c->err);
    if (!r)
        r = check_message(part, c, p);
    if (!r && c->has_replaced) /* plain texts can be longer */
        r = check_size_of(part, rule, p, c->err);
    return r;
}

static int check_list(void *list, size_t n, const struct rule *rule, struct checking *c,
                      const struct path *p)
{
    int r = check_elements(rule, n, p, c->err);

    for (size_t i = 0; !r && i < n; i++) {
        if (p->f->type == PROTOBUF_C_TYPE_STRING)
            r = check_text((char **)list + i, rule, c, p);
        else if (p->f->type == PROTOBUF_C_TYPE_MESSAGE)
            r = check_part(((ProtobufCMessage **)list)[i], rule, c, p);
    }
    return r;
}

static size_t elements_of(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return *(const size_t *)(const void *)((const char *)m + f->quantifier_offset);
}

/* Most fields of most messages. */
static bool is_absent(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const void *at = (const char *)m + f->offset;

    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) /* its place is another one's, too */
        return *(const uint32_t *)(const void *)((const char *)m + f->quantifier_offset) !=
               f->id;
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return elements_of(m, f) == 0;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return !*(const ProtobufCMessage *const *)at;
    return f->type == PROTOBUF_C_TYPE_STRING && !**(const char *const *)at;
}

static int check_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                       const struct rule *rule, struct checking *c, const struct path *p)
{
    void *at = (char *)m + f->offset;

    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return check_list(*(void **)at, elements_of(m, f), rule, c, p);
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return check_text(at, rule, c, p);
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return check_bytes_of(rule, ((const ProtobufCBinaryData *)at)->len, p, c->err);
    return f->type == PROTOBUF_C_TYPE_MESSAGE ? check_part(*(ProtobufCMessage **)at, rule, c, p)
                                              : 0;
}

static int check_message(ProtobufCMessage *m, struct checking *c, const struct path *up)
{
    const struct indexed *rules = rules_of(m->descriptor);
    int r = 0;

    for (unsigned i = 0; !r && i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

        if ((!rules || rules->is_looked_at[i]) && !is_absent(m, f))
            r = check_field(m, f, rule_of(rules, f), c, &(struct path){up, f});
    }
    return r;
}

int inbound_check(ProtobufCMessage *m, struct arena *a, struct err *err)
{
    return check_message(m, &(struct checking){.arena = a, .err = err}, NULL);
}

/* ---- unpacking ---- */

static void *unpack_alloc(void *ctx, size_t size)
{
    return arena_alloc(ctx, size);
}

static void unpack_free(void *ctx, void *p)
{
    (void)ctx;
    (void)p; /* goes with the arena */
}

int inbound_unpack(const ProtobufCMessageDescriptor *type, struct str bytes, struct arena *a,
                   ProtobufCMessage **ret, struct err *err)
{
    struct walk w = {.type = type, .max = values_max(type), .err = err};
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, a};
    ProtobufCMessage *m;
    int r = walk_message(&w, type, bytes, NULL);

    if (r)
        return r;
    if (w.has_nul) {
        char *copy = arena_c(a, bytes);

        if (arena_failed(a))
            return ERR_NOMEM;
        hide_nuls(type, copy, bytes.len);
        bytes.data = copy;
    }
    m = protobuf_c_message_unpack(type, &allocator, bytes.len, (const uint8_t *)bytes.data);
    if (arena_failed(a))
        return ERR_NOMEM;
    if (!m)
        return err_set(err, ERR_INVALID, "not a %s", type->short_name);
    r = check_message(m, &(struct checking){.arena = a, .err = err, .is_measured = true}, NULL);
    if (!r)
        *ret = m;
    return r;
}

/* ---- documents ---- */

/* The end of a string whose quote is at `at`, or the end of the text. */
static size_t skip_string(struct str text, size_t at)
{
    for (at++; at < text.len && text.data[at] != '"'; at++)
        if (text.data[at] == '\\')
            at++;
    return at;
}

/* Counts what a document would become in memory, without caring whether it is one. */
static int check_size(struct str text, const ProtobufCMessageDescriptor *type, struct err *err)
{
    size_t values = 1, objects = 0, depth = 0, max = values_max(type);

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if (c == '"')
            i = skip_string(text, i);
        values += c == ',' || c == ':';
        objects += c == '{' || c == '[';
        depth += c == '{' || c == '[';
        depth -= depth && (c == '}' || c == ']');
        if (values > max)
            return too_many_values(max, err);
        if (objects > INBOUND_OBJECTS_MAX)
            return err_set(err, ERR_LIMIT, "a document of more than %d objects and lists",
                           INBOUND_OBJECTS_MAX);
        if (depth > INBOUND_DEPTH_MAX)
            return err_set(err, ERR_LIMIT, "a document of more than %d levels",
                           INBOUND_DEPTH_MAX);
    }
    return 0;
}

int inbound_document(struct str text, const ProtobufCMessageDescriptor *type, json_t **ret,
                     struct err *err)
{
    json_error_t why = {.line = 0};
    json_t *object;
    int r = check_size(text, type, err);

    if (r)
        return r;
    object = text.len ? json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &why)
                      : json_object();
    if (!object && (!text.len || json_error_code(&why) == json_error_out_of_memory))
        return ERR_NOMEM;
    if (!object) {
        (void)err_set(err, ERR_INVALID, "the body is not JSON: %s", why.text);
        err_at(err, (uint32_t)MAX(why.line, 1), (uint32_t)MAX(why.column, 1));
        return ERR_INVALID;
    }
    if (!json_is_object(object)) {
        json_decref(object);
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    }
    *ret = object;
    return 0;
}

int inbound_json(struct str text, const ProtobufCMessageDescriptor *type, struct arena *a,
                 ProtobufCMessage **ret, struct err *err)
{
    json_t *object;
    ProtobufCMessage *m;
    int r = inbound_document(text, type, &object, err);

    if (r)
        return r;
    r = proto_from_json(object, type, a, &m, err);
    json_decref(object);
    if (!r)
        r = inbound_check(m, a, err);
    if (!r)
        *ret = m;
    return r;
}

/*
 * The registry of instances. See registry.h.
 */
#include "server/registry.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "proto/convert.h"
#include "proto/subject.h"

void registry_init(struct registry *r)
{
    *r = (struct registry){.stamp = 1, .ack_late = ACK_LATE_S * NSEC_PER_S};
    link_init(&r->offline);
}

static void *copy_message(const ProtobufCMessage *m)
{
    owned(shared_unref) struct shared *packed = proto_pack(m, 0);

    return packed ? protobuf_c_message_unpack(m->descriptor, &proto_allocator, packed->len,
                                              (const uint8_t *)packed->data)
                  : NULL;
}

static void free_message(ProtobufCMessage *m)
{
    if (m)
        protobuf_c_message_free_unpacked(m, &proto_allocator);
}

static void instance_free(struct registry *r, struct instance *i)
{
    (void)map_remove(&r->instances, str_c(i->id));
    link_remove(&i->link);
    free_message((ProtobufCMessage *)i->hello);
    free_message((ProtobufCMessage *)i->report);
    free_message((ProtobufCMessage *)i->health);
    (void)mem_free(i->subject);
    (void)mem_free(i);
}

void registry_deinit(struct registry *r)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&r->instances, &at))) {
        instance_free(r, slot->value);
        at = 0; /* removal moves entries */
    }
    map_deinit(&r->instances);
}

void registry_expire(struct registry *r, int64_t now_ms, int64_t keep_ms)
{
    LIST_EACH (&r->offline, l) {
        struct instance *i = LINK_OF(l, struct instance, link);

        if (i->seen_ms + keep_ms > now_ms)
            return;
        instance_free(r, i);
        r->stamp++;
    }
}

struct instance *registry_find(const struct registry *r, struct str id)
{
    return map_get(&r->instances, id);
}

static struct instance *instance_new(struct registry *r, struct str id)
{
    struct instance *i = NEW(struct instance);

    if (!i)
        return NULL;
    i->registry = r;
    link_init(&i->link);
    memcpy(i->id, id.data, id.len);
    if (!map_put(&r->instances, str_c(i->id), i, NULL))
        return mem_free(i);
    return i;
}

static int check_id(struct str id, struct err *err)
{
    if (id.len == 0 || id.len > INSTANCE_ID_MAX)
        return err_set(err, ERR_INVALID, "an instance id has 1 to %d bytes", INSTANCE_ID_MAX);
    if (!str_is_utf8(id))
        return err_set(err, ERR_INVALID, "an instance id must be UTF-8");
    for (size_t i = 0; i < id.len; i++)
        if ((unsigned char)id.data[i] < 0x21 || id.data[i] == 0x7f)
            return err_set(err, ERR_INVALID,
                           "an instance id has no spaces or control characters");
    return 0;
}

static struct str boot_of(const Trimtab__V1__Hello *hello)
{
    return hello->instance ? proto_str(hello->instance->boot_id) : STR_NULL;
}

/* Whether a hello is of another start of its program than the one that was heard last. */
static bool is_another_start(const struct instance *i, const Trimtab__V1__Hello *hello)
{
    return i->hello && !str_eq(boot_of(i->hello), boot_of(hello));
}

/* Whether that one is connected. */
static bool is_another(const struct instance *i, const Trimtab__V1__Hello *hello)
{
    return i->stream && is_another_start(i, hello);
}

static void forget_health(struct instance *i)
{
    free_message((ProtobufCMessage *)i->health);
    i->health = NULL;
}

static bool is_recent(const struct instance *i, nsec_t now)
{
    return i->n_replaced && now - i->replaced_since < REPLACED_WITHIN_S * NSEC_PER_S;
}

/* Counts from the first replacement on; at the last that is allowed the time begins anew. */
static void note_replaced(struct instance *i, nsec_t now)
{
    if (!is_recent(i, now))
        i->n_replaced = 0;
    i->n_replaced++;
    if (i->n_replaced == 1 || i->n_replaced == REPLACED_MAX)
        i->replaced_since = now;
}

int registry_admit(const struct registry *r, const Trimtab__V1__Hello *hello,
                   const char *identity, nsec_t now, struct err *err)
{
    struct str id = hello->instance ? str_c(hello->instance->id) : STR_NULL;
    const struct instance *i = registry_find(r, id);
    int rc = check_id(id, err);

    if (rc)
        return rc;
    if (protobuf_c_message_get_packed_size(&hello->base) > HELLO_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "a hello of more than %d bytes", HELLO_BYTES_MAX);
    if (i && i->stream && strcmp(i->identity, identity) != 0) {
        (void)err_set(err, ERR_DENIED, "the instance %s is connected with another credential",
                      i->id);
        err_hint(err, "give every instance an id of its own");
        return ERR_DENIED;
    }
    if (i && is_another(i, hello) && is_recent(i, now) && i->n_replaced >= REPLACED_MAX) {
        (void)err_set(err, ERR_EXISTS, "two programs keep replacing each other as instance %s",
                      i->id);
        err_hint(err, "give every instance an id of its own");
        return ERR_EXISTS;
    }
    return 0;
}

struct instance *registry_hello(struct registry *r, const Trimtab__V1__Hello *hello, nsec_t now,
                                struct err *err)
{
    struct str id = hello->instance ? str_c(hello->instance->id) : STR_NULL;
    struct instance *i;
    Trimtab__V1__Hello *copy;
    struct subject *subject;

    if (check_id(id, err))
        return NULL;
    i = registry_find(r, id);
    if (!i && r->instances.n >= REGISTRY_MAX) {
        (void)err_set(err, ERR_LIMIT, "more than %d instances", REGISTRY_MAX);
        return NULL;
    }
    copy = copy_message(&hello->base);
    subject = subject_of_instance(hello->instance);
    if (copy && subject && !i)
        i = instance_new(r, id);
    if (!copy || !subject || !i) {
        free_message((ProtobufCMessage *)copy);
        (void)mem_free(subject);
        (void)err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (is_another(i, hello))
        note_replaced(i, now);
    if (is_another_start(i, hello))
        forget_health(i);
    free_message((ProtobufCMessage *)i->hello);
    (void)mem_free(i->subject);
    i->hello = copy;
    i->subject = subject;
    return i;
}

void registry_connected(struct registry *r, struct instance *i, struct feed_session *session,
                        void *stream, int64_t now_ms)
{
    r->n_connected += i->stream == NULL;
    link_remove(&i->link);
    i->session = session;
    i->stream = stream;
    i->connected_ms = now_ms;
    i->seen_ms = now_ms;
    free_message((ProtobufCMessage *)i->report);
    i->report = NULL;
    i->has_reported = false;
    i->stored_since = 0;
    r->stamp++;
}

void registry_gone(struct registry *r, struct instance *i, const void *stream, int64_t now_ms)
{
    if (i->stream != stream)
        return;
    i->last = feed_session_status(i->session);
    i->session = NULL;
    i->stream = NULL;
    i->seen_ms = now_ms;
    r->n_connected--;
    link_before(&r->offline, &i->link);
    r->stamp++;
}

void registry_report(struct registry *r, struct instance *i, const Trimtab__V1__Ack *ack,
                     int64_t now_ms)
{
    i->seen_ms = now_ms;
    r->stamp++;
    if (ack->stage == TRIMTAB__V1__STAGE__STORED) {
        if (!i->stored_since)
            i->stored_since = clock_now();
        return;
    }
    i->stored_since = 0;
    i->has_reported |= ack->stage == TRIMTAB__V1__STAGE__APPLIED;
    if (!ack->n_refused && !*ack->reason && (!i->report || !i->report->n_refused)) {
        free_message((ProtobufCMessage *)i->report);
        i->report = NULL; /* nothing to keep: the digests say all */
        return;
    }
    free_message((ProtobufCMessage *)i->report);
    i->report = copy_message(&ack->base);
}

/* The UTF-8 of text, up to size - 1 bytes of it. */
static char *cut_text(const char *text, char *out, size_t size)
{
    struct str s = str_part(str_c(text), 0, size - 1);

    s.len = str_utf8_prefix(s);
    memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return out;
}

int registry_health(struct registry *r, struct instance *i, const Trimtab__V1__Health *health,
                    int64_t now_ms)
{
    char reason[HEALTH_REASON_MAX + 1], source[HEALTH_SOURCE_MAX + 1];
    Trimtab__V1__Health kept = TRIMTAB__V1__HEALTH__INIT, *copy;

    kept.failing = health->failing;
    kept.revision = health->revision;
    kept.reason = cut_text(health->reason, reason, sizeof(reason));
    kept.source = cut_text(health->source, source, sizeof(source));
    copy = copy_message(&kept.base);
    if (!copy)
        return ERR_NOMEM;
    forget_health(i);
    i->health = copy;
    i->seen_ms = now_ms;
    r->stamp++;
    return 0;
}

/* ---- what it comes to ---- */

bool instance_is_failing(const struct instance *i)
{
    return i->session && i->health && i->health->failing;
}

const char *instance_state_name(enum instance_state s)
{
    static const char *const names[] = {"ok", "pending", "error", "stale", "offline"};

    return names[s];
}

static struct feed_status status_of(const struct instance *i)
{
    return i->session ? feed_session_status(i->session) : i->last;
}

bool instance_is_late(const struct instance *i, nsec_t now)
{
    nsec_t waiting = feed_session_status(i->session).waiting_since;
    nsec_t since = waiting ? waiting : i->stored_since;

    return since && now > since + i->registry->ack_late;
}

enum instance_state instance_state(const struct instance *i, nsec_t now)
{
    struct feed_status s;

    if (!i->session)
        return INSTANCE_OFFLINE;
    s = feed_session_status(i->session);
    if (i->report && i->report->n_refused)
        return INSTANCE_ERROR;
    if (s.has_applied && digest_eq(s.serving, s.expected))
        return INSTANCE_OK;
    return instance_is_late(i, now) ? INSTANCE_STALE : INSTANCE_PENDING;
}

/* By its digest, or by what it said in this session: what it said before was of another view, perhaps. */
bool instance_has_reached(const struct instance *i, uint64_t revision)
{
    struct feed_status s;

    if (!i->session)
        return false;
    s = feed_session_status(i->session);
    return s.has_applied &&
           (digest_eq(s.serving, s.expected) || (i->has_reported && s.applied >= revision));
}

bool instance_has_applied(const struct instance *i, uint64_t revision)
{
    return instance_has_reached(i, revision) && !(i->report && i->report->n_refused);
}

static char *wall_text(int64_t ms, struct arena *a)
{
    char text[WALL_TEXT_MAX];

    if (!ms)
        return arena_c(a, STR(""));
    wall_format(ms, text);
    return arena_c(a, str_c(text));
}

static const char *mode_name(Trimtab__V1__Mode mode)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(&trimtab__v1__mode__descriptor, (int)mode);

    return v ? v->name : "";
}

/* The messages that the instance sent are borrowed: info lives shorter than the registry changes. */
Trimtab__V1__InstanceInfo *instance_info(const struct instance *i, nsec_t now, struct arena *a)
{
    Trimtab__V1__InstanceInfo *info = ARENA_NEW(a, Trimtab__V1__InstanceInfo);
    struct feed_status s = status_of(i);

    if (!info)
        return NULL;
    trimtab__v1__instance_info__init(info);
    info->instance = i->hello->instance;
    info->scopes = i->hello->scopes;
    info->n_scopes = i->hello->n_scopes;
    info->fingerprint = instance_fingerprint(i->hello->instance, a);
    info->state = arena_c(a, str_c(instance_state_name(instance_state(i, now))));
    info->expected_revision = s.changed > s.sent ? s.changed : s.sent;
    info->received_revision = s.stored;
    info->serving_revision = s.applied;
    info->in_sync = i->session && s.has_applied && digest_eq(s.serving, s.expected);
    if (i->report) {
        info->refused = i->report->refused;
        info->n_refused = i->report->n_refused;
    }
    info->connected_since = wall_text(i->session ? i->connected_ms : 0, a);
    info->last_seen = wall_text(i->seen_ms, a);
    info->peer = arena_c(a, str_c(i->peer));
    info->identity = arena_c(a, str_c(i->identity));
    info->transport = arena_c(a, str_c(i->transport ? i->transport : ""));
    info->source = arena_c(a, str_c(i->hello->serving ? i->hello->serving->source : ""));
    info->items = s.expected_count;
    info->mode = arena_c(a, str_c(mode_name(s.mode)));
    info->sent_items = s.items_sent;
    info->drift_repairs = s.repairs;
    info->health = i->health;
    return info;
}

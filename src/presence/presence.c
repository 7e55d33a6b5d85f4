/*
 * The record of an instance. See presence.h.
 */
#include "presence/presence.h"

#include "base/alloc.h"
#include "proto/convert.h"
#include "proto/subject.h"

/* ---- counting ---- */

static void hold(_Atomic uint32_t *refs)
{
    atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}

/* Whether that was the last reference. */
static bool let_go(_Atomic uint32_t *refs)
{
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
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

/* ---- introductions ---- */

static void introduction_free(struct introduction *g)
{
    for (size_t i = 0; i < g->n_scopes; i++)
        (void)mem_free(g->scopes[i]);
    (void)mem_free(g->scopes);
    free_message((ProtobufCMessage *)g->hello);
    (void)mem_free(g->subject);
    (void)mem_free(g->owner);
    (void)mem_free(g->peer);
    (void)mem_free(g);
}

static int fill_scopes(struct introduction *g, const Trimtab__V1__Hello *hello, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct scope *scopes;
    int r =
        scopes_from_proto(hello->scopes, hello->n_scopes, hello->instance, &a, &scopes, err);

    if (r)
        return r;
    g->scopes = NEW_ARRAY(struct scope *, hello->n_scopes);
    for (; g->scopes && g->n_scopes < hello->n_scopes; g->n_scopes++) {
        g->scopes[g->n_scopes] = scope_new(&scopes[g->n_scopes]);
        if (!g->scopes[g->n_scopes])
            return ERR_NOMEM;
    }
    return g->scopes ? 0 : ERR_NOMEM;
}

/* The secret is not kept, its hash is. */
static void take_secret(struct introduction *g)
{
    ProtobufCBinaryData *secret = g->hello ? &g->hello->secret : NULL;

    if (!secret || !secret->len)
        return;
    g->has_secret = true;
    g->secret = sha256_of(proto_str(*secret));
    memset(secret->data, 0, secret->len);
    (void)mem_free(secret->data);
    *secret = (ProtobufCBinaryData){0, NULL};
}

int introduction_new(const struct introduction_opts *o, struct introduction **ret,
                     struct err *err)
{
    struct introduction *g = NEW(struct introduction);
    int r;

    if (!g)
        return ERR_NOMEM;
    atomic_init(&g->refs, 1);
    g->transport = o->transport;
    g->takes_rollouts = hello_takes_rollouts(o->hello);
    r = o->may_lack_scopes && !o->hello->n_scopes ? 0 : fill_scopes(g, o->hello, err);
    if (!r) {
        g->hello = copy_message(&o->hello->base);
        take_secret(g);
        if (o->secret) {
            g->has_secret = true;
            g->secret = *o->secret;
        }
        g->subject = subject_of_instance(o->hello->instance);
        g->owner = mem_dup(o->owner, strlen(o->owner));
        g->peer = mem_dup(o->peer, strlen(o->peer));
        if (!g->hello || !g->subject || !g->owner || !g->peer)
            r = ERR_NOMEM;
    }
    if (r)
        introduction_free(g);
    else
        *ret = g;
    return r;
}

struct introduction *introduction_ref(struct introduction *g)
{
    hold(&g->refs);
    return g;
}

struct introduction *introduction_unref(struct introduction *g)
{
    if (g && let_go(&g->refs))
        introduction_free(g);
    return NULL;
}

/* ---- reports and verdicts ---- */

struct report *report_new(const Trimtab__V1__Ack *ack)
{
    struct report *r = NEW(struct report);

    if (!r)
        return NULL;
    atomic_init(&r->refs, 1);
    r->ack = copy_message(&ack->base);
    return r->ack ? r : mem_free(r);
}

struct report *report_ref(struct report *r)
{
    if (r)
        hold(&r->refs);
    return r;
}

struct report *report_unref(struct report *r)
{
    if (r && let_go(&r->refs)) {
        free_message((ProtobufCMessage *)r->ack);
        (void)mem_free(r);
    }
    return NULL;
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

struct verdict *verdict_new(const Trimtab__V1__Health *health)
{
    char reason[VERDICT_REASON_MAX + 1], source[VERDICT_SOURCE_MAX + 1];
    Trimtab__V1__Health kept = TRIMTAB__V1__HEALTH__INIT;
    struct verdict *v = NEW(struct verdict);

    if (!v)
        return NULL;
    kept.failing = health->failing;
    kept.revision = health->revision;
    kept.reason = cut_text(health->reason, reason, sizeof(reason));
    kept.source = cut_text(health->source, source, sizeof(source));
    atomic_init(&v->refs, 1);
    v->health = copy_message(&kept.base);
    return v->health ? v : mem_free(v);
}

struct verdict *verdict_ref(struct verdict *v)
{
    if (v)
        hold(&v->refs);
    return v;
}

struct verdict *verdict_unref(struct verdict *v)
{
    if (v && let_go(&v->refs)) {
        free_message((ProtobufCMessage *)v->health);
        (void)mem_free(v);
    }
    return NULL;
}

/* ---- records ---- */

void standing_deinit(struct standing *s)
{
    s->report = report_unref(s->report);
    s->referred = tree_unref(s->referred);
    s->withheld = tree_unref(s->withheld);
    s->withheld_stable = tree_unref(s->withheld_stable);
}

struct presence *presence_new(struct introduction *g)
{
    struct presence *p = NEW(struct presence);

    if (!p)
        return NULL;
    atomic_init(&p->refs, 1);
    p->introduction = introduction_ref(g);
    return p;
}

struct presence *presence_copy(const struct presence *p)
{
    struct presence *copy = NEW(struct presence);

    if (!copy)
        return NULL;
    *copy = *p;
    atomic_init(&copy->refs, 1);
    (void)introduction_ref(copy->introduction);
    (void)verdict_ref(copy->health);
    (void)report_ref(copy->standing.report);
    (void)tree_ref(copy->standing.referred);
    (void)tree_ref(copy->standing.withheld);
    (void)tree_ref(copy->standing.withheld_stable);
    return copy;
}

struct presence *presence_ref(struct presence *p)
{
    hold(&p->refs);
    return p;
}

struct presence *presence_unref(struct presence *p)
{
    if (!p || !let_go(&p->refs))
        return NULL;
    standing_deinit(&p->standing);
    (void)verdict_unref(p->health);
    (void)introduction_unref(p->introduction);
    return mem_free(p);
}

/* ---- exceptions ---- */

Trimtab__V1__Refusal **presence_exceptions(const struct presence *p, size_t *ret_n)
{
    const struct report *r = p->standing.report;

    *ret_n = r ? r->ack->n_refused : 0;
    return r ? r->ack->refused : NULL;
}

enum exception exception_kind(const Trimtab__V1__Refusal *f)
{
    static const struct {
        const char *code;
        enum exception kind;
    } codes[] = {{"HELD_DELETION", EXCEPTION_HELD},
                 {"DRIFTED", EXCEPTION_DRIFTED},
                 {"PAUSED", EXCEPTION_PAUSED}};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(f->code, codes[i].code) == 0)
            return codes[i].kind;
    return EXCEPTION_REFUSED;
}

/* ---- states ---- */

const char *presence_state_name(enum presence_state s)
{
    static const char *const names[PRESENCE_STATES] = {
        "ok", "pending", "held", "drifted", "error", "unproven", "stale", "offline", "lost"};

    return names[s];
}

bool presence_is_late(const struct presence *p, const struct moment *at)
{
    return p->is_connected && p->standing.owes_since &&
           at->now > p->standing.owes_since + at->ack_late;
}

bool presence_has_reached(const struct presence *p, uint64_t revision, const struct moment *at)
{
    const struct standing *s = &p->standing;

    return p->is_connected && MAX(s->complete, at->complete) >= revision && s->proved &&
           s->proved >= MIN(revision, s->concerned);
}

uint64_t presence_serving_revision(const struct presence *p)
{
    const struct standing *s = &p->standing;
    size_t n;

    (void)presence_exceptions(p, &n);
    if (!n)
        return MIN(s->proved, s->concerned);
    if (*proof_story(s->proof))
        return 0; /* it serves something, and nobody knows what */
    return s->concerned ? MIN(p->whole, s->concerned - 1) : 0;
}

bool presence_is_failing(const struct presence *p)
{
    return p->is_connected && p->health && p->health->health->failing;
}

/* The worst of its exceptions; false when it has none. */
static bool worst_exception(const struct presence *p, enum presence_state *ret)
{
    size_t n;
    Trimtab__V1__Refusal **list = presence_exceptions(p, &n);
    bool kinds[EXCEPTIONS] = {false};

    for (size_t i = 0; i < n; i++)
        kinds[exception_kind(list[i])] = true;
    if (!n)
        return false;
    *ret = kinds[EXCEPTION_REFUSED]   ? PRESENCE_ERROR
           : kinds[EXCEPTION_DRIFTED] ? PRESENCE_DRIFTED
                                      : PRESENCE_HELD;
    return true;
}

enum presence_state presence_state(const struct presence *p, const struct moment *at)
{
    const struct standing *s = &p->standing;
    enum presence_state state;

    if (!p->is_connected)
        return at->lost_after && at->now_ms > p->seen_ms + at->lost_after ? PRESENCE_LOST
                                                                          : PRESENCE_OFFLINE;
    if (worst_exception(p, &state) &&
        (state == PRESENCE_ERROR ? s->proof != PROOF_FOREIGN : s->proof == PROOF_HOLDS))
        return state;
    if (s->proof == PROOF_HOLDS && s->proved >= s->concerned)
        return PRESENCE_OK;
    if (*proof_story(s->proof))
        return PRESENCE_UNPROVEN;
    return presence_is_late(p, at) ? PRESENCE_STALE : PRESENCE_PENDING;
}

/* ---- its view ---- */

static const struct subject *viewer(const struct introduction *g)
{
    return g->takes_rollouts ? g->subject : NULL;
}

/* How a resource shows in one scope that wants it, from its layer. A deletion takes nothing from who was never given it. */
static struct binding_at bind(const struct presence *p, const struct state *state, size_t scope,
                              struct str key, size_t layer)
{
    struct name name = key_name(key);
    const struct scope *s = p->introduction->scopes[scope];
    struct viewing v = {s, state, viewer(p->introduction)};
    struct binding_at b = {
        .is = BINDING_ACTS, .scope = s->name, .item = scope_find(&v, name.kind, name.name)};
    struct str space = b.item ? key_name(b.item->key).space : STR("");
    size_t at;

    if (b.item && scope_has_layer(s, space, &at) && at < layer) {
        b.is = BINDING_HIDDEN;
        b.hidden_by = space;
    } else if (b.item ? withheld_has(p->standing.withheld, scope, b.item->key)
                      : withheld_has(p->standing.withheld_stable, scope, key)) {
        b.is = BINDING_WITHHELD;
    }
    return b;
}

size_t presence_bindings(const struct presence *p, const struct state *state, struct str key,
                         struct binding_at *at)
{
    struct name name = key_name(key);
    const struct referred *r;
    size_t n = 0, layer;

    for (size_t i = 0; i < p->introduction->n_scopes; i++)
        if (scope_has_layer(p->introduction->scopes[i], name.space, &layer) &&
            scope_selects(p->introduction->scopes[i], name.kind, name.name))
            at[n++] = bind(p, state, i, key, layer);
    r = p->standing.referred ? referred_of(tree_find(p->standing.referred, key)) : NULL;
    if (r && r->version)
        at[n++] = (struct binding_at){
            .is = BINDING_ACTS, .scope = SCOPE_REFERRED, .item = r->version};
    return n;
}

bool presence_wants(const struct presence *p, struct name name)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    const struct referred *r;
    size_t layer;

    for (size_t i = 0; i < p->introduction->n_scopes; i++)
        if (scope_has_layer(p->introduction->scopes[i], name.space, &layer) &&
            scope_selects(p->introduction->scopes[i], name.kind, name.name))
            return true;
    if (!p->standing.referred)
        return false;
    name_put_key(name, &key);
    if (buf_status(&key))
        return true; /* without memory nobody knows: better one too many is asked */
    r = referred_of(tree_find(p->standing.referred, buf_str(&key)));
    return r != NULL;
}

/* The name of an exception in a scope: kind/name, or the whole id of what is referred to. */
static bool is_at(const Trimtab__V1__Refusal *f, struct str key, const struct binding_at *b)
{
    return str_eq(str_c(f->scope), b->scope) && key_is_named(key, str_c(f->key));
}

const Trimtab__V1__Refusal *presence_exception_at(const struct presence *p, struct str key,
                                                  const struct binding_at *b)
{
    struct str wanted = b->item ? str_of(b->item->item_hash.bytes, SHA256_BYTES) : STR("");
    size_t n;
    Trimtab__V1__Refusal **list = presence_exceptions(p, &n);

    for (size_t i = 0; i < n; i++)
        if (is_at(list[i], key, b) && str_eq(proto_str(list[i]->hash), wanted))
            return list[i];
    return NULL;
}

/* ---- orders ---- */

bool presence_has_order(const struct presence *p, const struct order *o)
{
    if (order_is_of_fleet(o->what.kind))
        return true;
    if (o->what.n_instances)
        return order_names(o, str_c(presence_id(p)));
    for (size_t i = 0; i < o->what.n_resources; i++) {
        struct name name;

        if (name_parse(o->what.resources[i], &name, NULL) == 0 && presence_wants(p, name))
            return true;
    }
    return false;
}

bool presence_owes_order(const struct presence *p, const struct order *o)
{
    uint64_t done =
        order_is_of_fleet(o->what.kind) ? p->standing.fleet_done : p->standing.orders_done;

    return p->standing.takes_orders && done < o->node.revision && presence_has_order(p, o);
}

bool presence_is_paused(const struct presence *p, const struct moment *at)
{
    return at->paused && p->standing.takes_orders && p->standing.fleet_done >= at->paused;
}

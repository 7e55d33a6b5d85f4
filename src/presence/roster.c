/*
 * The roster of instances. See roster.h.
 */
#include "presence/roster.h"

#include "base/alloc.h"
#include "proto/convert.h"

void roster_init(struct roster *r)
{
    *r = (struct roster){.stamp = 1, .max = ROSTER_MAX};
    owners_init(&r->owners);
    link_init(&r->offline);
    link_init(&r->due);
}

static void instance_free(struct roster *r, struct instance *i)
{
    (void)map_remove(&r->instances, str_c(i->id));
    sorted_remove(&r->by_id, &i->by_id);
    link_remove(&i->link);
    link_remove(&i->due);
    owners_unlist(&r->owners, str_c(i->id));
    (void)presence_unref(i->presence);
    (void)mem_free(i);
}

void roster_deinit(struct roster *r)
{
    struct map_slot *slot;
    size_t at = 0;

    r->forgotten = NULL; /* it is the roster that goes, not the instances */
    while ((slot = map_each(&r->instances, &at))) {
        instance_free(r, slot->value);
        at = 0; /* removal moves entries */
    }
    map_deinit(&r->instances);
    owners_deinit(&r->owners);
}

static void forget(struct roster *r, struct instance *i)
{
    if (r->forgotten)
        r->forgotten(r->ctx, str_c(i->id));
    instance_free(r, i);
    r->stamp++;
}

/* Something of it is to be written, behind all that are due already. */
static void note_due(struct roster *r, struct instance *i, nsec_t now)
{
    if (!link_is_alone(&i->due))
        return;
    i->due_since = now;
    link_before(&r->due, &i->due);
}

void roster_kept(struct instance *i, nsec_t now)
{
    link_remove(&i->due);
    i->kept = now;
}

static void expire_records(struct roster *r, int64_t now_ms, int64_t keep_ms)
{
    LIST_EACH (&r->offline, l) {
        struct instance *i = LINK_OF(l, struct instance, link);

        if (i->presence->seen_ms + keep_ms > now_ms)
            return;
        forget(r, i);
    }
}

void roster_expire(struct roster *r, int64_t now_ms, int64_t keep_ms)
{
    expire_records(r, now_ms, keep_ms);
    owners_expire(&r->owners, now_ms, keep_ms);
}

struct instance *roster_find(const struct roster *r, struct str id)
{
    return map_get(&r->instances, id);
}

struct instance *roster_walk_next(struct sorted_walk *w)
{
    struct sorted_entry *e = sorted_walk_next(w);

    return e ? CONTAINER_OF(e, struct instance, by_id) : NULL;
}

/* ---- who may ---- */

int instance_id_check(struct str id, struct err *err)
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
    return proto_str(hello->instance->boot_id);
}

/* Whether a hello is of another start of its program than the one that was heard last. */
static bool is_another_start(const struct instance *i, const Trimtab__V1__Hello *hello)
{
    return !str_eq(boot_of(i->presence->introduction->hello), boot_of(hello));
}

/* Whether that one is connected. */
static bool is_another(const struct instance *i, const Trimtab__V1__Hello *hello)
{
    return i->stream && is_another_start(i, hello);
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

static int check_owner(const struct roster *r, struct str id, const struct claimant *who,
                       struct err *err)
{
    switch (owners_claim(&r->owners, id, who)) {
    case OWNER_FREE:
    case OWNER_SAME:
    case OWNER_TAKES_OVER: return 0;
    case OWNER_FOREIGN:
        (void)err_set(err, ERR_DENIED, "the instance %.*s belongs to another credential",
                      STR_ARG(id));
        err_hint(err, "give every instance an id of its own, or: trimtab instances forget ID");
        return ERR_DENIED;
    case OWNER_BUSY:
        (void)err_set(err, ERR_EXISTS, "the instance %.*s is connected with another secret",
                      STR_ARG(id));
        err_hint(err, "give every instance an id of its own; a host that lost its secret "
                      "has its id again when the old connection is gone");
        return ERR_EXISTS;
    }
    return ERR_BUG;
}

bool roster_owns(const struct roster *r, struct str id, const struct claimant *who)
{
    return owners_is(&r->owners, id, who);
}

int roster_forget(struct roster *r, struct str id, struct err *err)
{
    struct instance *i = roster_find(r, id);
    bool was_known = i != NULL;

    if (i && i->stream) {
        (void)err_set(err, ERR_LOCKED, "the instance %s is connected", i->id);
        err_hint(err, "stop it first, or take its token away");
        return ERR_LOCKED;
    }
    if (i)
        forget(r, i);
    was_known |= owners_forget(&r->owners, id);
    return was_known ? 0 : err_set(err, ERR_NOT_FOUND, "there is no instance %.*s", STR_ARG(id));
}

int roster_admit(const struct roster *r, const struct introduction *in, nsec_t now,
                 struct err *err)
{
    const Trimtab__V1__Hello *hello = in->hello;
    struct str id = hello->instance ? str_c(hello->instance->id) : STR_NULL;
    const struct instance *i = roster_find(r, id);
    struct claimant who = {.credential = str_c(in->owner),
                           .has_secret = in->has_secret,
                           .secret = in->secret};
    int rc = instance_id_check(id, err);

    if (rc)
        return rc;
    if (protobuf_c_message_get_packed_size(&hello->base) > HELLO_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "a hello of more than %d bytes", HELLO_BYTES_MAX);
    rc = check_owner(r, id, &who, err);
    if (rc)
        return rc;
    if (!i && r->instances.n >= r->max && !owners_first_to_go(&r->owners).len)
        return err_set(err, ERR_LIMIT, "more than %zu connected instances", r->max);
    if (i && is_another(i, hello) && is_recent(i, now) && i->n_replaced >= REPLACED_MAX) {
        (void)err_set(err, ERR_EXISTS, "two programs keep replacing each other as instance %s",
                      i->id);
        err_hint(err, "give every instance an id of its own");
        return ERR_EXISTS;
    }
    return 0;
}

/* ---- coming and going ---- */

/* Takes over p. */
static struct instance *instance_new(struct roster *r, struct presence *p)
{
    struct str id = str_c(presence_id(p));
    struct instance *i = mem_zalloc(size_add(sizeof(*i), id.len + 1));

    if (!i)
        return NULL;
    link_init(&i->link);
    link_init(&i->due);
    memcpy(i->id, id.data, id.len);
    if (!map_put(&r->instances, str_c(i->id), i, NULL))
        return mem_free(i);
    sorted_put(&r->by_id, &i->by_id, str_c(i->id));
    i->presence = p;
    return i;
}

/* As if it had never been made; the record is the caller's again. */
static void instance_drop(struct roster *r, struct instance *i)
{
    (void)map_remove(&r->instances, str_c(i->id));
    sorted_remove(&r->by_id, &i->by_id);
    (void)mem_free(i);
}

static void replace(struct roster *r, struct instance *i, struct presence *p)
{
    ASSERT(strcmp(i->id, presence_id(p)) == 0);
    (void)presence_unref(i->presence);
    i->presence = p;
    r->stamp++;
}

/*
 * The record of an instance, for a change: itself while nobody else holds it, so nobody can see it change, else a copy in
 * its place. NULL without memory.
 */
static struct presence *writable(struct roster *r, struct instance *i)
{
    struct presence *p = i->presence;

    if (atomic_load_explicit(&p->refs, memory_order_acquire) == 1) {
        r->stamp++;
        return p;
    }
    p = presence_copy(p);
    if (p)
        replace(r, i, p);
    return p;
}

/* The record with which a stream begins: it knows the health if it is of the same start of its program. */
static struct presence *first_record(const struct instance *i, struct introduction *who,
                                     int64_t now_ms)
{
    struct presence *p = presence_new(who);

    if (!p)
        return NULL;
    if (i && !is_another_start(i, who->hello))
        p->health = verdict_ref(i->presence->health);
    p->whole = i ? i->presence->whole : 0;
    p->taken_ms = i ? i->presence->taken_ms : 0;
    p->is_connected = true;
    p->connected_ms = now_ms;
    p->seen_ms = now_ms;
    return p;
}

/* Whose the id is, as the introduction says. */
static struct claimant claimant_of(const struct introduction *who)
{
    return (struct claimant){str_c(who->owner), who->has_secret, who->secret};
}

/* Forgets one record when there are too many; whose the id is stays known. */
static void make_room(struct roster *r)
{
    struct instance *i = r->instances.n < r->max
                             ? NULL
                             : roster_find(r, owners_first_to_go(&r->owners));

    if (i)
        forget(r, i);
}

struct instance *roster_connect(struct roster *r, struct introduction *who, void *stream,
                                nsec_t now, int64_t now_ms)
{
    struct instance *i = roster_find(r, str_c(who->hello->instance->id)), *made = NULL;
    struct presence *p = first_record(i, who, now_ms);
    struct claimant claimant = claimant_of(who);
    enum claim claim = owners_claim(&r->owners, str_c(who->hello->instance->id), &claimant);

    if (!p)
        return NULL;
    if (claim == OWNER_TAKES_OVER)
        p->taken_ms = now_ms;
    if (!i) {
        make_room(r);
        made = instance_new(r, p);
    }
    /* A claim cannot be taken back, so it is the last that can fail. */
    if ((!i && !made) || !owners_connect(&r->owners, str_c(presence_id(p)), &claimant)) {
        if (made)
            instance_drop(r, made);
        (void)presence_unref(p);
        return NULL;
    }
    if (made) {
        i = made;
        r->stamp++;
    } else {
        if (is_another(i, who->hello))
            note_replaced(i, now);
        replace(r, i, p);
    }
    r->n_connected += i->stream == NULL;
    link_remove(&i->link);
    i->stream = stream;
    note_due(r, i, now);
    return i;
}

bool roster_restore(struct roster *r, struct presence *p)
{
    struct claimant who = claimant_of(p->introduction);
    struct str id = str_c(presence_id(p));
    struct instance *i;

    ASSERT(!p->is_connected);
    if (roster_find(r, id) || r->instances.n >= r->max ||
        !owners_restore(&r->owners, id, &who, p->seen_ms))
        return false;
    i = instance_new(r, p);
    if (!i) {
        (void)owners_forget(&r->owners, id); /* away, so it can be */
        return false;
    }
    link_before(&r->offline, &i->link); /* they come in the order in which they left */
    r->stamp++;
    return true;
}

void roster_leave(struct roster *r, struct instance *i, const void *stream, nsec_t now,
                  int64_t now_ms)
{
    struct presence *p;

    if (i->stream != stream)
        return;
    p = writable(r, i);
    i->stream = NULL;
    r->n_connected--;
    owners_leave(&r->owners, str_c(i->id), now_ms);
    if (!p) { /* what cannot be said to be away must not be said to be there */
        instance_free(r, i);
        r->stamp++;
        return;
    }
    note_due(r, i, now);
    p->is_connected = false;
    p->seen_ms = now_ms;
    link_before(&r->offline, &i->link);
}

/* ---- words ---- */

int roster_stand(struct roster *r, struct instance *i, struct standing *standing, bool is_word,
                 const struct moment *at)
{
    bool is_news = standing->proved != i->presence->standing.proved;
    struct presence *p = writable(r, i);

    if (!p) {
        standing_deinit(standing);
        r->n_unreported++;
        return ERR_NOMEM;
    }
    standing_deinit(&p->standing);
    p->standing = *standing;
    standing->report = NULL; /* taken over */
    standing->referred = NULL;
    standing->withheld = standing->withheld_stable = NULL;
    if (p->standing.proof == PROOF_HOLDS && !p->standing.report)
        p->whole = presence_serving_revision(p);
    if (is_word)
        p->seen_ms = at->now_ms;
    if (is_news && at->now >= i->kept + KEPT_EVERY_S * NSEC_PER_S)
        note_due(r, i, at->now);
    return 0;
}

int roster_health(struct roster *r, struct instance *i, struct verdict *v, int64_t now_ms)
{
    struct presence *p = writable(r, i);

    if (!p)
        return ERR_NOMEM;
    (void)verdict_unref(p->health);
    p->health = verdict_ref(v);
    p->seen_ms = now_ms;
    return 0;
}

/* ---- counting ---- */

void roster_count(const struct roster *r, const struct moment *at, struct roster_counts *ret)
{
    struct map_slot *slot;
    size_t next = 0;

    *ret = (struct roster_counts){.failing = 0};
    while ((slot = map_each(&r->instances, &next))) {
        const struct instance *i = slot->value;

        ret->states[presence_state(i->presence, at)]++;
        ret->failing += presence_is_failing(i->presence);
    }
}

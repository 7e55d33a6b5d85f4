/*
 * Owners of instance ids. See owner.h.
 */
#include "presence/owner.h"

#include "base/alloc.h"
#include "base/err.h"

/* Where an owner stands; those that are away are in a list of their credential. */
enum place { CONNECTED, LISTED, BOUND };
enum { PLACES = BOUND + 1 };

/* One name of a credential, for as long as it has an id. */
struct credential {
    struct link lists[PLACES]; /* struct owner, oldest first; that of CONNECTED in no order */
    size_t n[PLACES];
    size_t len;
    char name[];
};

struct owner {
    struct credential *credential;
    struct link link; /* in the list of its place */
    int64_t since_ms; /* away since then */
    enum place place;
    bool has_secret;
    struct sha256 secret;
    size_t len;
    char id[];
};

void owners_init(struct owners *o)
{
    *o = (struct owners){.max = OWNERS_MAX};
}

static struct str owner_id(const struct owner *w)
{
    return str_of(w->id, w->len);
}

static struct str credential_name(const struct credential *c)
{
    return str_of(c->name, c->len);
}

/* ---- credentials ---- */

static struct credential *credential_make(struct owners *o, struct str name)
{
    struct credential *c = map_get(&o->credentials, name);

    if (c)
        return c;
    c = mem_zalloc(size_add(sizeof(*c), size_add(name.len, 1)));
    if (!c)
        return NULL;
    for (int i = 0; i < PLACES; i++)
        link_init(&c->lists[i]);
    c->len = name.len;
    memcpy(c->name, name.data, name.len);
    if (!map_put(&o->credentials, credential_name(c), c, NULL))
        return mem_free(c);
    return c;
}

static size_t ids_of(const struct credential *c)
{
    return c->n[CONNECTED] + c->n[LISTED] + c->n[BOUND];
}

static void credential_drop(struct owners *o, struct credential *c)
{
    if (ids_of(c))
        return;
    (void)map_remove(&o->credentials, credential_name(c));
    (void)mem_free(c);
}

/* ---- owners ---- */

static struct owner *find(const struct owners *o, struct str id)
{
    return map_get(&o->by_id, id);
}

static void put(struct owner *w, enum place place)
{
    struct credential *c = w->credential;

    link_remove(&w->link);
    c->n[w->place]--;
    w->place = place;
    c->n[place]++;
    link_before(&c->lists[place], &w->link);
}

static void owner_free(struct owners *o, struct owner *w)
{
    struct credential *c = w->credential;

    (void)map_remove(&o->by_id, owner_id(w));
    link_remove(&w->link);
    c->n[w->place]--;
    (void)mem_free(w);
    credential_drop(o, c);
}

void owners_deinit(struct owners *o)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&o->by_id, &at))) {
        owner_free(o, slot->value);
        at = 0; /* removal moves entries */
    }
    map_deinit(&o->by_id);
    map_deinit(&o->credentials);
}

static bool has_secret_of(const struct owner *w, const struct claimant *who)
{
    if (!w->has_secret)
        return true; /* it has none yet */
    return who->has_secret && sha256_eq(&w->secret, &who->secret);
}

enum claim owners_claim(const struct owners *o, struct str id, const struct claimant *who)
{
    const struct owner *w = find(o, id);

    if (!w)
        return OWNER_FREE;
    if (!str_eq(credential_name(w->credential), who->credential))
        return OWNER_FOREIGN;
    if (has_secret_of(w, who))
        return OWNER_SAME;
    return w->place == CONNECTED ? OWNER_BUSY : OWNER_TAKES_OVER;
}

bool owners_is(const struct owners *o, struct str id, const struct claimant *who)
{
    return owners_claim(o, id, who) == OWNER_SAME;
}

static struct owner *oldest(const struct credential *c, enum place place)
{
    const struct link *list = &c->lists[place];

    return link_is_alone(list) ? NULL : LINK_OF(list->next, struct owner, link);
}

struct str owners_first_to_go(const struct owners *o)
{
    const struct credential *most = NULL;
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&o->credentials, &at))) {
        const struct credential *c = slot->value;
        size_t n = c->n[CONNECTED] + c->n[LISTED];

        if (c->n[LISTED] && (!most || n > most->n[CONNECTED] + most->n[LISTED]))
            most = c;
    }
    return most ? owner_id(oldest(most, LISTED)) : STR("");
}

/* Of those that are only bound: the roster has room for fewer than this list. */
static bool make_room(struct owners *o)
{
    const struct credential *most = NULL;
    struct map_slot *slot;
    size_t at = 0;

    if (o->by_id.n < o->max)
        return true;
    while ((slot = map_each(&o->credentials, &at))) {
        const struct credential *c = slot->value;

        if (c->n[BOUND] && (!most || ids_of(c) > ids_of(most)))
            most = c;
    }
    if (!most)
        return false;
    owner_free(o, oldest(most, BOUND));
    return true;
}

static struct owner *owner_new(struct owners *o, struct str id, struct str credential)
{
    struct owner *w;
    struct credential *c;

    if (!make_room(o))
        return NULL;
    w = mem_zalloc(size_add(sizeof(*w), size_add(id.len, 1)));
    c = w ? credential_make(o, credential) : NULL;
    if (!c)
        return mem_free(w);
    link_init(&w->link);
    w->len = id.len;
    memcpy(w->id, id.data, id.len);
    w->credential = c;
    if (!map_put(&o->by_id, owner_id(w), w, NULL)) {
        credential_drop(o, c);
        return mem_free(w);
    }
    c->n[CONNECTED]++;
    link_before(&c->lists[CONNECTED], &w->link);
    return w;
}

bool owners_connect(struct owners *o, struct str id, const struct claimant *who)
{
    struct owner *w = find(o, id);

    if (!w)
        w = owner_new(o, id, who->credential);
    if (!w)
        return false;
    ASSERT(str_eq(credential_name(w->credential), who->credential));
    put(w, CONNECTED);
    w->has_secret = who->has_secret;
    w->secret = who->secret;
    return true;
}

void owners_leave(struct owners *o, struct str id, int64_t now_ms)
{
    struct owner *w = find(o, id);

    if (!w || w->place != CONNECTED)
        return;
    w->since_ms = now_ms;
    put(w, LISTED);
}

void owners_unlist(struct owners *o, struct str id)
{
    struct owner *w = find(o, id);

    if (w && w->place == LISTED)
        put(w, BOUND);
}

bool owners_restore(struct owners *o, struct str id, const struct claimant *who, int64_t since_ms)
{
    struct owner *w;

    if (find(o, id))
        return false;
    w = owner_new(o, id, who->credential);
    if (!w)
        return false;
    w->has_secret = who->has_secret;
    w->secret = who->secret;
    w->since_ms = since_ms;
    put(w, LISTED);
    return true;
}

bool owners_forget(struct owners *o, struct str id)
{
    struct owner *w = find(o, id);

    if (!w || w->place == CONNECTED)
        return false;
    owner_free(o, w);
    return true;
}

/* The first of one credential that has expired; NULL: none. */
static struct owner *expired(const struct credential *c, int64_t before_ms)
{
    for (enum place p = LISTED; p <= BOUND; p++) {
        struct owner *w = oldest(c, p);

        if (w && w->since_ms <= before_ms)
            return w;
    }
    return NULL;
}

void owners_expire(struct owners *o, int64_t now_ms, int64_t keep_ms)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&o->credentials, &at))) {
        struct credential *c = slot->value;
        struct owner *w;
        bool is_last = false;

        while (!is_last && (w = expired(c, now_ms - keep_ms))) {
            is_last = ids_of(c) == 1; /* the credential goes with it */
            owner_free(o, w);
        }
        if (is_last)
            at = 0; /* removal moves entries */
    }
}

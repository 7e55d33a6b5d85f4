/*
 * The ledger. See ledger.h.
 */
#include "agent/ledger.h"

#include "base/text.h"
#include "proto/inbound.h"
#include "sync/stage.h"

void ledger_init(struct ledger *l, const struct sync *sync)
{
    *l = (struct ledger){.sync = sync, .digest = DIGEST_NULL};
}

static struct pending *pending_free(struct pending *p)
{
    if (!p)
        return NULL;
    (void)mem_free(p->message);
    (void)mem_free(p->held_by);
    return mem_free(p);
}

void ledger_deinit(struct ledger *l)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&l->serving, &at)))
        (void)binding_free(slot->value);
    at = 0;
    while ((slot = map_each(&l->pending, &at)))
        (void)pending_free(slot->value);
    map_deinit(&l->serving);
    map_deinit(&l->pending);
}

struct version *ledger_serving(const struct ledger *l, struct str key)
{
    const struct binding *b = map_get(&l->serving, key);

    return b ? b->item : NULL;
}

struct version *ledger_received(const struct ledger *l, struct str key)
{
    struct str tail = key_tail(key);
    size_t nul = str_index(tail, '\0');

    return sync_find(l->sync, key_scope(key), str_part(tail, 0, nul), str_from(tail, nul + 1));
}

void key_put_text(struct str key, struct buf *out)
{
    struct str rest = key_tail(key), part;

    for (bool is_first = true; str_next(&rest, '\0', &part); is_first = false) {
        if (!is_first)
            buf_put_byte(out, '/');
        buf_put_str(out, part);
    }
}

static bool is_same(const struct version *a, const struct version *b)
{
    return a == b || (a && b && sha256_eq(&a->item_hash, &b->item_hash));
}

/* ---- serving ---- */

static struct digest element(const struct binding *b)
{
    return binding_digest(binding_scope(b), &b->item->item_hash);
}

static int set_serving(struct ledger *l, struct str key, struct version *v)
{
    struct binding *b = v ? binding_new(key_scope(key), key_tail(key), v) : NULL;
    void *old = NULL;

    if (v && (!b || !map_put(&l->serving, binding_key(b), b, &old))) {
        (void)binding_free(b);
        return ERR_NOMEM;
    }
    if (!v)
        old = map_remove(&l->serving, key);
    if (old)
        l->digest = digest_sub(l->digest, element(old));
    if (b)
        l->digest = digest_add(l->digest, element(b));
    (void)binding_free(old);
    return 0;
}

/* ---- pending ---- */

static struct pending *pending_add(struct ledger *l, struct str key)
{
    struct pending *p = map_get(&l->pending, key);

    if (p)
        return p;
    p = mem_zalloc(size_add(sizeof(*p), key.len));
    if (!p)
        return NULL;
    p->len = key.len;
    memcpy(p->key, key.data, key.len);
    if (!map_put(&l->pending, str_of(p->key, p->len), p, NULL))
        return pending_free(p);
    return p;
}

static void pending_drop(struct ledger *l, struct str key)
{
    (void)pending_free(map_remove(&l->pending, key));
}

/* One of those who were refused together is not to be served any more: without it the others may pass. */
static void retry_group(struct ledger *l, const struct pending *gone)
{
    struct map_slot *slot;
    size_t at = 0;

    while (gone && gone->group && (slot = map_each(&l->pending, &at))) {
        struct pending *p = slot->value;

        if (p->group == gone->group)
            p->is_refused = p->must_retry = false;
    }
}

/* (L1) for one name. IS_SERVED: it has just been served, with its whole group. */
enum why { IS_SERVED, IS_LOOKED_AT, IS_NEWS };
static int compare(struct ledger *l, struct str key, uint64_t batch, enum why why)
{
    struct version *received = ledger_received(l, key);
    struct pending *p;

    if (is_same(received, ledger_serving(l, key))) {
        if (why != IS_SERVED)
            retry_group(l, map_get(&l->pending, key));
        pending_drop(l, key);
        return received ? set_serving(l, key, received) : 0; /* its number may be another */
    }
    p = pending_add(l, key);
    if (!p) {
        l->must_rescan = true;
        return ERR_NOMEM;
    }
    if (why == IS_NEWS) {
        p->batch = batch;
        p->is_refused = false; /* something relevant changed */
        p->must_retry = false;
        p->n_tries = 0;
        p->retry_at = 0;
    }
    return 0;
}

/* A key in a room of its own: without memory, too, news of a name that is pending already must reach it. */
struct key_text {
    struct str key;
    char room[4 * ID_BYTES_MAX];
};

static int key_of(struct str scope, struct str tail, struct key_text *out)
{
    char *at = out->room;

    out->key = str_of(out->room, size_add(size_add(scope.len, tail.len), 1));
    if (out->key.len > sizeof(out->room))
        return ERR_LIMIT;
    (void)str_keep(&at, scope);
    *at++ = '\0';
    (void)str_keep(&at, tail);
    return 0;
}

int ledger_note(struct ledger *l, const struct sync_change *change, uint64_t batch)
{
    struct key_text text;
    int r = key_of(change->scope, change->key, &text);

    return r ? r : compare(l, text.key, batch, IS_NEWS);
}

struct rescan {
    struct ledger *ledger;
    uint64_t batch;
    struct arena arena;
    VEC(struct str) keys;
};

static int rescan_received(void *ctx, const struct sync_change *binding)
{
    struct rescan *s = ctx;
    struct key_text text;
    int r = key_of(binding->scope, binding->key, &text);
    bool is_pending;

    if (r)
        return r;
    is_pending = map_get(&s->ledger->pending, text.key) != NULL;
    if (!is_pending && is_same(binding->item, ledger_serving(s->ledger, text.key)))
        return 0;
    return compare(s->ledger, text.key, s->batch, is_pending ? IS_LOOKED_AT : IS_NEWS);
}

int ledger_rescan(struct ledger *l, uint64_t batch)
{
    struct rescan s = {.ledger = l, .batch = batch};
    struct map_slot *slot;
    size_t at = 0;
    int r = sync_each(l->sync, rescan_received, &s);

    while (!r && (slot = map_each(&l->serving, &at)))
        if (!ledger_received(l, slot->key) &&
            !VEC_PUSH(&s.keys, arena_str(&s.arena, slot->key)))
            r = ERR_NOMEM;
    at = 0;
    while (!r && (slot = map_each(&l->pending, &at))) /* of what is neither any more */
        if (!VEC_PUSH(&s.keys, arena_str(&s.arena, slot->key)))
            r = ERR_NOMEM;
    if (arena_failed(&s.arena))
        r = ERR_NOMEM;
    for (size_t i = 0; i < s.keys.n && !r; i++)
        r = compare(l, s.keys.at[i], batch,
                    map_get(&l->pending, s.keys.at[i]) ? IS_LOOKED_AT : IS_NEWS);
    VEC_DEINIT(&s.keys);
    arena_deinit(&s.arena);
    l->must_rescan = r != 0;
    return r;
}

int ledger_serve(struct ledger *l, struct str key, struct version *v)
{
    int r = set_serving(l, key, v);

    return r ? r : compare(l, key, 0, IS_SERVED);
}

/* ---- what was altered on the host ---- */

bool pending_is_drifted(const struct pending *p)
{
    return p->is_refused && strcmp(p->code, LEDGER_DRIFTED) == 0;
}

int ledger_drift(struct ledger *l, struct str key, struct str message)
{
    bool is_newest = is_same(ledger_received(l, key), ledger_serving(l, key));
    struct pending *p;

    (void)set_serving(l, key, NULL); /* what goes needs no memory */
    p = pending_add(l, key);
    if (!p) {
        l->must_rescan = true;
        return ERR_NOMEM;
    }
    if (!is_newest) /* what was refused or has come since stands as it did */
        return 0;
    *p = (struct pending){
        .batch = p->batch, .group = ++l->last_group, .is_refused = true, .len = p->len};
    (void)snprintf(p->code, sizeof(p->code), "%s", LEDGER_DRIFTED);
    p->message = mem_dup(message.data, message.len);
    return p->message ? 0 : ERR_NOMEM;
}

int ledger_undrift(struct ledger *l, struct str key)
{
    const struct pending *p = map_get(&l->pending, key);
    struct version *received = ledger_received(l, key);

    return p && pending_is_drifted(p) && received ? ledger_serve(l, key, received) : 0;
}

/* ---- what the copy says ---- */

static char *copy_text(struct str s)
{
    return s.len ? mem_dup(s.data, s.len) : NULL;
}

/* As it is shown here, and told to the server. */
static char *copy_message(struct str s)
{
    owned(buf) struct buf plain = BUF_NULL(INBOUND_REASON_MAX);

    text_put_plain(&plain, s, TEXT_LINES, INBOUND_REASON_MAX);
    return buf_status(&plain) ? NULL : copy_text(buf_str(&plain));
}

static int load_served(struct ledger *l, const struct copy_served *s, struct str key)
{
    struct pending *p;
    int r = set_serving(l, key, s->served);

    if (r || is_same(ledger_received(l, key), s->served))
        return r;
    p = pending_add(l, key);
    if (!p)
        return ERR_NOMEM;
    p->batch = s->batch;
    p->group = s->group;
    p->is_refused = s->code.len > 0;
    (void)snprintf(p->code, sizeof(p->code), "%.*s", STR_ARG(s->code));
    p->message = copy_message(s->message);
    p->held_by = copy_text(s->held_by);
    l->last_group = MAX(l->last_group, s->group);
    return 0;
}

int ledger_load(struct ledger *l, const struct copy_content *content)
{
    int r = 0;

    for (size_t i = 0; i < content->n_items && content->applied && !r; i++) {
        struct key_text text;

        r = key_of(content->items[i].scope, content->items[i].key, &text);
        if (!r)
            r = set_serving(l, text.key, content->items[i].item);
    }
    for (size_t i = 0; i < content->n_held && content->applied && !r; i++) {
        struct key_text text;

        r = key_of(content->held[i].scope, content->held[i].key, &text);
        if (!r)
            r = set_serving(l, text.key, content->held[i].item);
    }
    for (size_t i = 0; i < content->n_served && !r; i++) {
        struct key_text text;

        r = key_of(content->served[i].scope, content->served[i].key, &text);
        if (!r)
            r = load_served(l, &content->served[i], text.key);
    }
    return r ? r : ledger_rescan(l, content->cursor.revision);
}

/* ---- groups ---- */

/* Union-find over what is pending. */
struct grouping {
    const struct ledger *ledger;
    struct arena *arena;
    struct pending **pending;
    struct version **want, **have;
    size_t *parent;
    size_t n;
    struct map first; /* what joins -> index + 1 of the first that has it */
};

static size_t root_of(struct grouping *g, size_t i)
{
    while (g->parent[i] != i)
        i = g->parent[i] = g->parent[g->parent[i]];
    return i;
}

static void join(struct grouping *g, size_t a, size_t b)
{
    size_t ra = root_of(g, a), rb = root_of(g, b);

    g->parent[MAX(ra, rb)] = MIN(ra, rb);
}

/* All that share a mark are joined. only_known: joins those that know the mark, but makes none. */
static void mark(struct grouping *g, size_t i, char sort, struct str text, bool only_known)
{
    owned(buf) struct buf key = BUF_NULL((size_t)2 * ID_BYTES_MAX);
    void *known;
    struct str kept;

    buf_put_byte(&key, (unsigned char)sort);
    buf_put_str(&key, text);
    if (buf_status(&key)) {
        g->arena->failed = true;
        return;
    }
    known = map_get(&g->first, buf_str(&key));
    if (known) {
        join(g, i, (size_t)(uintptr_t)known - 1);
        return;
    }
    kept = only_known ? STR_NULL : arena_str(g->arena, buf_str(&key));
    if (!only_known && !map_put(&g->first, kept, (void *)(uintptr_t)(i + 1), NULL))
        g->arena->failed = true;
}

static void mark_number(struct grouping *g, size_t i, char sort, uint64_t number,
                        bool only_known)
{
    mark(g, i, sort, str_of(&number, sizeof(number)), only_known);
}

/* References of a version, to names that are pending too. */
static void mark_references(struct grouping *g, size_t i, const struct version *v)
{
    for (size_t d = 0; v && v->references && d < v->references->n; d++)
        mark(g, i, 'i', v->references->at[d], true);
}

static void join_all(struct grouping *g)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->want[i])
            mark(g, i, 'i', g->want[i]->key, false);
        if (g->have[i]) /* another one, when a layer has come to hide it */
            mark(g, i, 'i', g->have[i]->key, false);
        if (g->pending[i]->group)
            mark_number(g, i, 'g', g->pending[i]->group, false);
        if (g->want[i])
            mark_number(g, i, 'r', g->want[i]->revision, false);
        else
            mark_number(g, i, 'b', g->pending[i]->batch, false);
    }
    for (size_t i = 0; i < g->n; i++) {
        mark_number(g, i, 'b', g->pending[i]->batch, true); /* with the drops of its batch */
        mark_references(g, i, g->want[i]);
        mark_references(g, i, g->have[i]);
    }
}

static int by_batch(const void *a, const void *b)
{
    const struct pending *const *pa = a, *const *pb = b;

    if ((*pa)->batch != (*pb)->batch)
        return (*pa)->batch < (*pb)->batch ? -1 : 1;
    return str_cmp(str_of((*pa)->key, (*pa)->len), str_of((*pb)->key, (*pb)->len));
}

static void collect(struct grouping *g)
{
    struct map_slot *slot;
    size_t at = 0;

    g->pending = ARENA_ARRAY(g->arena, struct pending *, g->ledger->pending.n);
    g->want = ARENA_ARRAY(g->arena, struct version *, g->ledger->pending.n);
    g->have = ARENA_ARRAY(g->arena, struct version *, g->ledger->pending.n);
    g->parent = ARENA_ARRAY(g->arena, size_t, g->ledger->pending.n);
    if (arena_failed(g->arena))
        return;
    while ((slot = map_each(&g->ledger->pending, &at)))
        g->pending[g->n++] = slot->value;
    qsort(g->pending, g->n, sizeof(*g->pending), by_batch);
    for (size_t i = 0; i < g->n; i++) {
        struct str key = str_of(g->pending[i]->key, g->pending[i]->len);

        g->want[i] = ledger_received(g->ledger, key);
        g->have[i] = ledger_serving(g->ledger, key);
        g->parent[i] = i;
    }
}

/* The groups, in the order of their first members. */
static void build(struct grouping *g, struct groups *out)
{
    size_t *index = ARENA_ARRAY(g->arena, size_t, g->n),
           *sizes = ARENA_ARRAY(g->arena, size_t, g->n);

    out->at = ARENA_ARRAY(g->arena, struct group, g->n);
    if (arena_failed(g->arena))
        return;
    for (size_t i = 0; i < g->n; i++) {
        size_t root = root_of(g, i);

        if (root == i)
            index[i] = out->n++;
        sizes[root]++;
    }
    for (size_t i = 0; i < g->n; i++) {
        struct group *group = &out->at[index[root_of(g, i)]];
        const struct pending *p = g->pending[i];

        if (!group->members)
            group->members = ARENA_ARRAY(g->arena, struct group_member, sizes[root_of(g, i)]);
        if (!group->members)
            return;
        group->members[group->n++] = (struct group_member){
            arena_str(g->arena, str_of(p->key, p->len)), version_ref(g->want[i])};
        group->is_fresh |= !p->is_refused;
        group->must_retry |= p->must_retry;
    }
}

int ledger_groups(const struct ledger *l, struct groups *ret_groups)
{
    struct grouping g = {.ledger = l, .arena = &ret_groups->arena};

    *ret_groups = (struct groups){.n = 0};
    collect(&g);
    if (!arena_failed(g.arena))
        join_all(&g);
    if (!arena_failed(g.arena))
        build(&g, ret_groups);
    map_deinit(&g.first);
    if (!arena_failed(g.arena))
        return 0;
    groups_deinit(ret_groups);
    return ERR_NOMEM;
}

void groups_deinit(struct groups *g)
{
    for (size_t i = 0; i < g->n; i++)
        for (size_t m = 0; m < g->at[i].n; m++)
            (void)version_unref(g->at[i].members[m].want);
    arena_deinit(&g->arena);
    *g = (struct groups){.n = 0};
}

int ledger_refuse(struct ledger *l, const struct group_member *m, uint64_t group,
                  const struct refusal_text *text)
{
    struct pending *p = map_get(&l->pending, m->key);

    if (!p)
        return 0; /* it has become what is served */
    p->group = group;
    p->must_retry = false;
    p->retry_at = 0;
    if (!is_same(ledger_received(l, m->key), m->want))
        return 0; /* something newer has come: not tried yet */
    p->is_refused = true;
    (void)snprintf(p->code, sizeof(p->code), "%s", text->code);
    (void)mem_free(p->message);
    (void)mem_free(p->held_by);
    p->message = copy_message(text->message);
    p->held_by = copy_text(str_c(text->held_by));
    return (text->message.len && !p->message) ||
                   (text->held_by && *text->held_by && !p->held_by)
               ? ERR_NOMEM
               : 0;
}

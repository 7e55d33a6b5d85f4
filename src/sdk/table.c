/*
 * Tables, reader slots and cells. See table.h.
 */
#include "sdk/table.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/hash.h"

/* ---- reader slots: one per thread, reused after its end, never freed ---- */

struct slot {
    _Atomic uint64_t epoch; /* 0: not reading */
    uint32_t depth;         /* sections may nest; the thread's own */
    _Atomic bool is_taken;
    struct slot *next;
} __attribute__((aligned(64)));

static _Atomic(struct slot *) slots;
static _Atomic uint64_t epoch_now = 1;
static _Thread_local struct slot *own_slot;
static pthread_key_t slot_key;
static pthread_once_t slot_once = PTHREAD_ONCE_INIT;

static void slot_give_back(void *slot)
{
    atomic_store_explicit(&((struct slot *)slot)->is_taken, false, memory_order_release);
}

static void slot_key_make(void)
{
    (void)pthread_key_create(&slot_key,
                             slot_give_back); /* without it slots are not reused, no more */
}

static struct slot *slot_reuse(void)
{
    for (struct slot *s = atomic_load(&slots); s; s = s->next) {
        bool free_one = false;

        if (atomic_compare_exchange_strong(&s->is_taken, &free_one, true))
            return s;
    }
    return NULL;
}

static struct slot *slot_make(void)
{
    struct slot *s = aligned_alloc(_Alignof(struct slot), sizeof(struct slot));

    if (!s)
        return NULL;
    memset(s, 0, sizeof(*s));
    atomic_init(&s->is_taken, true);
    s->next = atomic_load(&slots);
    while (!atomic_compare_exchange_weak(&slots, &s->next, s))
        ;
    return s;
}

static struct slot *slot_get(void)
{
    if (__builtin_expect(own_slot != NULL, 1))
        return own_slot;
    (void)pthread_once(&slot_once, slot_key_make);
    own_slot = slot_reuse();
    if (!own_slot)
        own_slot = slot_make();
    if (own_slot)
        (void)pthread_setspecific(slot_key, own_slot);
    return own_slot;
}

const struct table *values_enter(struct values *v)
{
    struct slot *s = slot_get();

    if (!s)
        return NULL;
    if (s->depth++ == 0)
        atomic_store_explicit(&s->epoch, atomic_load_explicit(&epoch_now, memory_order_relaxed),
                              memory_order_seq_cst);
    return atomic_load_explicit(&v->table, memory_order_seq_cst);
}

void values_leave(void)
{
    if (--own_slot->depth == 0)
        atomic_store_explicit(&own_slot->epoch, 0, memory_order_release);
}

static bool is_unread(const struct table *t)
{
    for (struct slot *s = atomic_load(&slots); s; s = s->next) {
        uint64_t e = atomic_load_explicit(&s->epoch, memory_order_seq_cst);

        if (e != 0 && e < t->retired_at)
            return false;
    }
    return true;
}

void values_after_fork(void)
{
    for (struct slot *s = atomic_load(&slots); s; s = s->next) {
        if (s == own_slot)
            continue;
        s->depth = 0;
        atomic_store(&s->epoch, 0);
        atomic_store(&s->is_taken, false);
    }
}

/* ---- tables ---- */

static struct table_entry *probe(const struct table *t, struct str name, uint64_t hash)
{
    size_t at = hash & t->mask;

    while (t->entries[at].name &&
           (t->entries[at].hash != hash || t->entries[at].name_len != name.len ||
            memcmp(t->entries[at].name, name.data, name.len) != 0))
        at = (at + 1) & t->mask;
    return &t->entries[at];
}

struct table *table_new(const struct table_item *items, size_t n, uint64_t revision)
{
    struct arena *a = NEW(struct arena);
    struct table *t = a ? ARENA_NEW(a, struct table) : NULL;
    size_t cap = 8;

    while (cap < 2 * n)
        cap *= 2;
    if (t)
        t->entries = ARENA_ARRAY(a, struct table_entry, cap);
    for (size_t i = 0; t && t->entries && i < n; i++) {
        uint64_t hash = hash_seeded(items[i].name);
        struct table_entry *e;

        t->mask = cap - 1;
        e = probe(t, items[i].name, hash);
        if (e->name)
            continue;
        *e = (struct table_entry){
            .hash = hash, .name = arena_c(a, items[i].name), .name_len = items[i].name.len};
        e->value = shm_value_parse(a, items[i].json);
    }
    if (!t || arena_failed(a)) {
        if (a)
            arena_deinit(a);
        (void)mem_free(a);
        return NULL;
    }
    t->mask = cap - 1;
    t->revision = revision;
    t->arena = a;
    return t;
}

struct table *table_of_segment(struct shm_map *map, struct shm_copy *copy)
{
    struct table *t = NEW(struct table);

    if (t) {
        t->map = map;
        t->copy = copy;
    }
    return t;
}

struct table *table_free(struct table *t)
{
    struct arena *a = t ? t->arena : NULL;

    if (!t)
        return NULL;
    if (!a) {
        (void)shm_map_close(t->map);
        (void)shm_copy_free(t->copy);
        return mem_free(t);
    }
    arena_deinit(a); /* the table lies in it */
    return mem_free(a);
}

bool table_get(const struct table *t, const char *name, struct shm_value *ret)
{
    struct str key = str_c(name);
    const struct table_entry *e;

    if (t->copy) {
        struct shm_image image = shm_copy_image(t->copy);
        struct shm_record record;

        if (shm_image_find(&image, key, &record, NULL) != 1)
            return false;
        *ret = record.value;
        return true;
    }
    e = probe(t, key, hash_seeded(key));
    if (e->name)
        *ret = e->value;
    return e->name != NULL;
}

struct each {
    table_each_fn *fn;
    void *ctx;
};

static int each_record(void *ctx, const struct shm_record *r)
{
    struct each *e = ctx;

    e->fn(e->ctx, r->name.data, &r->value); /* closed by a NUL, as all texts of a record */
    return 0;
}

void table_each(const struct table *t, table_each_fn *fn, void *ctx)
{
    if (t->copy) {
        struct shm_image image = shm_copy_image(t->copy);
        struct each e = {fn, ctx};

        (void)!shm_image_each(&image, each_record, &e); /* damage shows in the map */
        return;
    }
    for (size_t i = 0; i <= t->mask; i++)
        if (t->entries[i].name)
            fn(ctx, t->entries[i].name, &t->entries[i].value);
}

/* ---- cells ---- */

void cell_set(struct trimtab_handle *h, const struct shm_value *v, uint64_t generation)
{
    uint64_t sequence = atomic_load_explicit(&h->sequence, memory_order_relaxed), bits = 0;

    if (v)
        memcpy(&bits, &v->number, sizeof(bits));
    atomic_store_explicit(&h->sequence, sequence + 1, memory_order_relaxed);
    /* release: whoever sees one of these sees the odd sequence too */
    atomic_store_explicit(&h->type, v ? (uint32_t)v->type : SHM_VALUE_NONE,
                          memory_order_release);
    atomic_store_explicit(&h->integer, v ? v->integer : 0, memory_order_release);
    atomic_store_explicit(&h->number, bits, memory_order_release);
    atomic_store_explicit(&h->seen, generation, memory_order_release);
    atomic_store_explicit(&h->sequence, sequence + 2, memory_order_release);
}

static struct trimtab_handle *cell_new(struct values *v, const char *name)
{
    struct trimtab_handle *h = NEW(struct trimtab_handle);
    const struct table *t = atomic_load(&v->table);
    struct shm_value value;

    if (h)
        h->name = mem_dup(name, strlen(name));
    if (!h || !h->name || !map_put(&v->cells, str_c(h->name), h, NULL)) {
        (void)mem_free(h ? h->name : NULL);
        return mem_free(h);
    }
    h->values = v;
    h->generation = v->generation;
    if (!t->map) /* of a segment it is found out of date at the first read */
        cell_set(h, table_get(t, name, &value) ? &value : NULL, 0);
    return h;
}

struct trimtab_handle *values_cell(struct values *v, const char *name)
{
    struct trimtab_handle *h;

    (void)pthread_mutex_lock(&v->mutex);
    h = map_get(&v->cells, str_c(name));
    if (!h)
        h = cell_new(v, name);
    (void)pthread_mutex_unlock(&v->mutex);
    return h;
}

/* ---- publishing ---- */

static void free_retired(struct values *v)
{
    struct table **at = &v->retired;

    while (*at) {
        struct table *t = *at;

        if (!is_unread(t)) {
            at = &t->next_retired;
            continue;
        }
        *at = t->next_retired;
        (void)table_free(t);
    }
}

static void set_cells(struct values *v, const struct table *t)
{
    struct map_slot *slot;
    struct shm_value value;
    size_t at = 0;

    while ((slot = map_each(&v->cells, &at))) {
        struct trimtab_handle *h = slot->value;

        cell_set(h, table_get(t, h->name, &value) ? &value : NULL, 0);
    }
}

const struct table *values_publish_locked(struct values *v, struct table *t)
{
    struct table *old;

    free_retired(v);
    old = atomic_exchange_explicit(&v->table, t, memory_order_seq_cst);
    old->retired_at = atomic_fetch_add(&epoch_now, 1) + 1;
    old->next_retired = v->retired;
    v->retired = old;
    if (!t->map)
        set_cells(v, t);
    return old;
}

const struct table *values_publish(struct values *v, struct table *t)
{
    const struct table *old;

    (void)pthread_mutex_lock(&v->mutex);
    old = values_publish_locked(v, t);
    (void)pthread_mutex_unlock(&v->mutex);
    return old;
}

int values_init(struct values *v)
{
    static const _Atomic uint64_t never_changes;
    struct table *empty = table_new(NULL, 0, 0);

    memset(v, 0, sizeof(*v));
    if (!empty)
        return -1;
    atomic_init(&v->table, empty);
    v->generation = &never_changes;
    (void)pthread_mutex_init(&v->mutex, NULL);
    return 0;
}

void values_deinit(struct values *v)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&v->cells, &at))) {
        struct trimtab_handle *h = slot->value;

        (void)mem_free(h->name);
        (void)mem_free(h);
    }
    map_deinit(&v->cells);
    while (v->retired) {
        struct table *next = v->retired->next_retired;

        (void)table_free(v->retired);
        v->retired = next;
    }
    (void)table_free(atomic_load(&v->table));
    (void)pthread_mutex_destroy(&v->mutex);
}

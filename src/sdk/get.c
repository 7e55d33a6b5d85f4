/*
 * The getters of the public header: by name, by handle, by snapshot.
 */
#include "sdk/client.h"

/* ---- one value as a type ---- */

static bool as_bool(const struct shm_value *v, bool standard)
{
    return v->type == SHM_VALUE_BOOL ? v->integer != 0 : standard;
}

static int64_t as_int(const struct shm_value *v, int64_t standard)
{
    return v->type == SHM_VALUE_INT ? v->integer : standard;
}

static double as_float(const struct shm_value *v, double standard)
{
    return v->type == SHM_VALUE_FLOAT || v->type == SHM_VALUE_INT ? v->number : standard;
}

static const char *as_text(const struct shm_value *v, const char *standard)
{
    return v->type == SHM_VALUE_TEXT ? v->text : standard;
}

/* ---- by name ---- */

/* A value without its texts. */
static inline bool get(struct trimtab *t, const char *name, struct shm_value *ret)
{
    const struct table *table;
    bool found;

    if (t->segment) {
        struct segment_want want = {.out = NULL};

        found = segment_get(t, name, &want) == 1;
        *ret = want.value;
        return found;
    }
    table = values_enter(&t->values);
    if (!table)
        return false;
    found = table_get(table, name, ret);
    values_leave();
    return found;
}

bool trimtab_get_bool(struct trimtab *t, const char *name, bool standard)
{
    struct shm_value v;

    return get(t, name, &v) ? as_bool(&v, standard) : standard;
}

int64_t trimtab_get_int(struct trimtab *t, const char *name, int64_t standard)
{
    struct shm_value v;

    return get(t, name, &v) ? as_int(&v, standard) : standard;
}

double trimtab_get_float(struct trimtab *t, const char *name, double standard)
{
    struct shm_value v;

    return get(t, name, &v) ? as_float(&v, standard) : standard;
}

static size_t get_segment_string(struct trimtab *t, const char *name, const char *standard,
                                 char *out, size_t size)
{
    struct segment_want want = {.out = out, .size = size};

    if (segment_get(t, name, &want) != 1 || want.value.type != SHM_VALUE_TEXT)
        return copy_text(str_c(standard), out, size);
    return want.text_len;
}

size_t trimtab_get_string(struct trimtab *t, const char *name, const char *standard, char *out,
                          size_t size)
{
    const struct table *table;
    struct shm_value v;
    size_t len;

    if (t->segment)
        return get_segment_string(t, name, standard, out, size);
    table = values_enter(&t->values);
    if (!table)
        return copy_text(str_c(standard), out, size);
    len = copy_text(str_c(table_get(table, name, &v) ? as_text(&v, standard) : standard), out,
                    size);
    values_leave();
    return len;
}

/* ---- by handle ---- */

struct trimtab_handle *trimtab_handle(struct trimtab *t, const char *name)
{
    return values_cell(&t->values, name);
}

/* What stood in the cell at one moment. */
struct cell {
    uint64_t seen;
    uint32_t type;
    int64_t integer;
    uint64_t number;
};

static inline struct cell cell_read(const struct trimtab_handle *h)
{
    struct cell c;
    uint64_t before, after;

    do {
        before = atomic_load_explicit(&h->sequence, memory_order_acquire);
        c.type = atomic_load_explicit(
            &h->type, memory_order_acquire); /* none moves behind the last load */
        c.integer = atomic_load_explicit(&h->integer, memory_order_acquire);
        c.number = atomic_load_explicit(&h->number, memory_order_acquire);
        c.seen = atomic_load_explicit(&h->seen, memory_order_acquire);
        after = atomic_load_explicit(&h->sequence, memory_order_relaxed);
    } while (before != after || (before & 1));
    return c;
}

static struct trimtab *client_of(const struct trimtab_handle *h)
{
    return CONTAINER_OF(h->values, struct trimtab, values);
}

/* Keeps it for those who read next, unless somebody is at it. */
static void keep_cell(const struct trimtab_handle *h, const struct shm_value *v,
                      uint64_t generation)
{
    struct trimtab_handle *cell = (struct trimtab_handle *)(uintptr_t)h;

    if (pthread_mutex_trylock(&h->values->mutex))
        return;
    cell_set(cell, v, generation);
    (void)pthread_mutex_unlock(&h->values->mutex);
}

/* The segment has changed since the cell was set, or may have: reads by name. */
static struct cell read_anew(const struct trimtab_handle *h, struct cell c)
{
    struct segment_want want = {.out = NULL};
    int r = segment_get(client_of(h), h->name, &want);

    if (r < 0)
        return c; /* the last that was good; trimtab_problem tells */
    keep_cell(h, r ? &want.value : NULL, want.generation);
    c.type = r ? (uint32_t)want.value.type : SHM_VALUE_NONE;
    c.integer = want.value.integer;
    memcpy(&c.number, &want.value.number, sizeof(c.number));
    return c;
}

/*
 * Reads of a thread until it looks whether a segment's name leads to another file, should nobody have told. The model of
 * thread-local storage is the fast one, which counts against the little room for it (tests/checks/abi.t).
 */
enum { READS_PER_LOOK = 64 };
static _Thread_local unsigned reads __attribute__((tls_model("initial-exec")));

static inline struct cell cell_now(const struct trimtab_handle *h)
{
    uint64_t now = atomic_load_explicit(h->generation, memory_order_acquire);
    struct cell c;

    if (__builtin_expect(++reads % READS_PER_LOOK == 0, 0) && client_of(h)->segment)
        segment_tend(client_of(h));
    c = cell_read(h);
    if (__builtin_expect(c.seen != now, 0))
        return read_anew(h, c);
    return c;
}

bool trimtab_handle_bool(const struct trimtab_handle *h, bool standard)
{
    struct cell c = cell_now(h);

    return c.type == SHM_VALUE_BOOL ? c.integer != 0 : standard;
}

int64_t trimtab_handle_int(const struct trimtab_handle *h, int64_t standard)
{
    struct cell c = cell_now(h);

    return c.type == SHM_VALUE_INT ? c.integer : standard;
}

double trimtab_handle_float(const struct trimtab_handle *h, double standard)
{
    struct cell c = cell_now(h);
    double number;

    if (c.type != SHM_VALUE_FLOAT && c.type != SHM_VALUE_INT)
        return standard;
    memcpy(&number, &c.number, sizeof(number));
    return number;
}

/* ---- by snapshot: a table, inside a reader's section or counted ---- */

static const struct table *table_of(const struct trimtab_snapshot *s)
{
    return (const struct table *)(const void *)s;
}

static inline bool find(const struct trimtab_snapshot *s, const char *name,
                        struct shm_value *ret)
{
    return s && table_get(table_of(s), name, ret);
}

const struct trimtab_snapshot *trimtab_snapshot_acquire(struct trimtab *t)
{
    const struct table *table = t->segment ? segment_acquire(t) : values_enter(&t->values);

    return (const struct trimtab_snapshot *)(const void *)table;
}

void trimtab_snapshot_release(const struct trimtab_snapshot *s)
{
    if (s && table_of(s)->copy)
        segment_release(table_of(s));
    else if (s)
        values_leave();
}

uint64_t trimtab_snapshot_revision(const struct trimtab_snapshot *s)
{
    return s ? table_of(s)->revision : 0;
}

bool trimtab_snapshot_bool(const struct trimtab_snapshot *s, const char *name, bool standard)
{
    struct shm_value v;

    return find(s, name, &v) ? as_bool(&v, standard) : standard;
}

int64_t trimtab_snapshot_int(const struct trimtab_snapshot *s, const char *name,
                             int64_t standard)
{
    struct shm_value v;

    return find(s, name, &v) ? as_int(&v, standard) : standard;
}

double trimtab_snapshot_float(const struct trimtab_snapshot *s, const char *name,
                              double standard)
{
    struct shm_value v;

    return find(s, name, &v) ? as_float(&v, standard) : standard;
}

const char *trimtab_snapshot_string(const struct trimtab_snapshot *s, const char *name,
                                    const char *standard)
{
    struct shm_value v;

    return find(s, name, &v) ? as_text(&v, standard) : standard;
}

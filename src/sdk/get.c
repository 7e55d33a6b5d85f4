/*
 * The getters of the public header: by name, by handle, by snapshot.
 */
#include "sdk/client.h"

/* ---- one value as a type ---- */

static bool as_bool(const struct value *v, bool standard)
{
    return v && v->type == VALUE_BOOL ? v->integer != 0 : standard;
}

static int64_t as_int(const struct value *v, int64_t standard)
{
    return v && v->type == VALUE_INT ? v->integer : standard;
}

static double as_float(const struct value *v, double standard)
{
    return v && (v->type == VALUE_FLOAT || v->type == VALUE_INT) ? v->number : standard;
}

static const char *as_text(const struct value *v, const char *standard)
{
    return v && v->type == VALUE_TEXT ? v->text : standard;
}

/* ---- by name ---- */

bool trimtab_get_bool(struct trimtab *t, const char *name, bool standard)
{
    const struct table *table = values_enter(&t->values);
    bool result;

    if (!table)
        return standard;
    result = as_bool(table_find(table, name), standard);
    values_leave();
    return result;
}

int64_t trimtab_get_int(struct trimtab *t, const char *name, int64_t standard)
{
    const struct table *table = values_enter(&t->values);
    int64_t result;

    if (!table)
        return standard;
    result = as_int(table_find(table, name), standard);
    values_leave();
    return result;
}

double trimtab_get_float(struct trimtab *t, const char *name, double standard)
{
    const struct table *table = values_enter(&t->values);
    double result;

    if (!table)
        return standard;
    result = as_float(table_find(table, name), standard);
    values_leave();
    return result;
}

static size_t copy_text(const char *text, char *out, size_t size)
{
    size_t len = text ? strlen(text) : 0;

    if (size) {
        size_t n = MIN(len, size - 1);

        if (n)
            memcpy(out, text, n);
        out[n] = '\0';
    }
    return len;
}

size_t trimtab_get_string(struct trimtab *t, const char *name, const char *standard, char *out,
                          size_t size)
{
    const struct table *table = values_enter(&t->values);
    size_t len;

    if (!table)
        return copy_text(standard, out, size);
    len = copy_text(as_text(table_find(table, name), standard), out, size);
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
        after = atomic_load_explicit(&h->sequence, memory_order_relaxed);
    } while (before != after || (before & 1));
    return c;
}

bool trimtab_handle_bool(const struct trimtab_handle *h, bool standard)
{
    struct cell c = cell_read(h);

    return c.type == VALUE_BOOL ? c.integer != 0 : standard;
}

int64_t trimtab_handle_int(const struct trimtab_handle *h, int64_t standard)
{
    struct cell c = cell_read(h);

    return c.type == VALUE_INT ? c.integer : standard;
}

double trimtab_handle_float(const struct trimtab_handle *h, double standard)
{
    struct cell c = cell_read(h);
    double number;

    if (c.type != VALUE_FLOAT && c.type != VALUE_INT)
        return standard;
    memcpy(&number, &c.number, sizeof(number));
    return number;
}

/* ---- by snapshot: the table itself, inside a reader's section ---- */

static const struct table *table_of(const struct trimtab_snapshot *s)
{
    return (const struct table *)(const void *)s;
}

const struct trimtab_snapshot *trimtab_snapshot_acquire(struct trimtab *t)
{
    return (const struct trimtab_snapshot *)(const void *)values_enter(&t->values);
}

void trimtab_snapshot_release(const struct trimtab_snapshot *s)
{
    if (s)
        values_leave();
}

uint64_t trimtab_snapshot_revision(const struct trimtab_snapshot *s)
{
    return table_of(s)->revision;
}

bool trimtab_snapshot_bool(const struct trimtab_snapshot *s, const char *name, bool standard)
{
    return as_bool(table_find(table_of(s), name), standard);
}

int64_t trimtab_snapshot_int(const struct trimtab_snapshot *s, const char *name,
                             int64_t standard)
{
    return as_int(table_find(table_of(s), name), standard);
}

double trimtab_snapshot_float(const struct trimtab_snapshot *s, const char *name,
                              double standard)
{
    return as_float(table_find(table_of(s), name), standard);
}

const char *trimtab_snapshot_string(const struct trimtab_snapshot *s, const char *name,
                                    const char *standard)
{
    return as_text(table_find(table_of(s), name), standard);
}

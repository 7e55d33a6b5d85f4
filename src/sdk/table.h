/*
 * The values that readers see: an immutable table per revision, swapped by one pointer, and cells for handles.
 *
 * Reading by name: a reader announces itself in a slot of its thread (one store), loads the table, looks up, and
 * leaves. A retired table is freed when every slot has been seen idle or newer than its retirement.
 *
 *      reader                                  writer
 *      slot = epoch  (seq_cst)                 table = new  (seq_cst)
 *      t = table     (seq_cst)                 epoch = epoch + 1
 *      ... reads t ...                         old.retired_at = epoch
 *      slot = 0      (release)                 frees old once every slot is 0 or >= old.retired_at
 *
 * Either the reader's announcement is seen by the writer, or the reader sees the new table: seq_cst orders the two.
 *
 * Reading by handle: a cell is a sequence lock around one value; readers never write.
 */
#ifndef TRIMTAB_SDK_TABLE_H
#define TRIMTAB_SDK_TABLE_H

#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"

#include <pthread.h>
#include <stdatomic.h>

enum value_type { VALUE_NONE, VALUE_BOOL, VALUE_INT, VALUE_FLOAT, VALUE_TEXT };

/* A parsed value. text is the string itself, or the JSON of a list or object; json always the whole text. */
struct value {
    enum value_type type;
    int64_t integer;
    double number;
    const char *text;
    const char *json;
};

struct table_entry {
    uint64_t hash;
    const char *name; /* NULL: free */
    size_t name_len;
    struct value value;
};

struct table {
    uint64_t revision;
    size_t mask;
    struct table_entry *entries;
    struct arena *arena; /* everything lies in it */
    uint64_t retired_at;
    struct table *next_retired;
};

/* One value under a sequence lock. */
struct trimtab_handle {
    _Atomic uint64_t sequence; /* odd while it changes */
    _Atomic uint32_t type;
    _Atomic int64_t integer;
    _Atomic uint64_t number; /* bits of the double */
    char *name;
};

struct values {
    _Atomic(struct table *) table;
    struct table *retired;
    pthread_mutex_t mutex; /* guards cells and writers */
    struct map cells;      /* name -> struct trimtab_handle */
};

/* An item on its way into a table. */
struct table_item {
    struct str name, json;
};

must_use int values_init(struct values *v);
void values_deinit(struct values *v); /* nobody reads any more */

/*
 * A table of these items: texts are copied; what is not JSON has no value. NULL without memory. Names twice: the first
 * counts.
 */
must_use struct table *table_new(const struct table_item *items, size_t n, uint64_t revision);
struct table *table_free(struct table *t); /* always NULL */

/* Readers see t from now on; the table before is freed when nobody reads it. Returns that one, valid until the next. */
const struct table *values_publish(struct values *v, struct table *t);

const struct value *table_find(const struct table *t, const char *name);

/* A reader's section: between the two the table stays. NULL without memory for the thread's slot. */
must_use const struct table *values_enter(struct values *v);
void values_leave(void);

/* The cell of a name, made if it is new. NULL without memory. */
must_use struct trimtab_handle *values_cell(struct values *v, const char *name);

#endif

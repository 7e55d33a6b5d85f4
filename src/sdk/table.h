/*
 * The values that readers see: a table that is swapped by one pointer, and cells for handles.
 *
 * A table holds its values in memory of its own, immutable, one table per revision; or it stands for a segment, in which
 * they are read in place; or it has a copy of one.
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
 * Reading by handle: a cell is a sequence lock around one value and the generation at which it was so. While the generation that
 * the cell looks at is that one, reading is a load and a compare. It never changes where whoever publishes a table sets
 * all cells; of a segment, who reads finds the value out of date and reads it anew.
 */
#ifndef TRIMTAB_SDK_TABLE_H
#define TRIMTAB_SDK_TABLE_H

#include "base/map.h"
#include "base/vec.h"
#include "shm/reader.h"

#include <pthread.h>
#include <stdatomic.h>

struct table_entry {
    uint64_t hash;
    const char *name; /* NULL: free */
    size_t name_len;
    struct shm_value value;
};

struct table {
    uint64_t revision;
    size_t mask;
    struct table_entry *entries;
    struct arena *arena;   /* everything lies in it; NULL for what follows */
    struct shm_map *map;   /* the values lie in this segment and change in place */
    struct shm_copy *copy; /* the values lie in this copy of one */
    _Atomic unsigned
        refs; /* of a table with a copy: whoever reads it, and who keeps it (provider_segment.c) */
    uint64_t retired_at;
    struct table *next_retired;
};

/* One value under a sequence lock. */
struct trimtab_handle {
    _Atomic uint64_t sequence; /* odd while it changes */
    _Atomic uint32_t type;
    _Atomic int64_t integer;
    _Atomic uint64_t number; /* bits of the double */
    _Atomic uint64_t seen;   /* the generation at which it was so */
    const _Atomic uint64_t *generation;
    struct values *values;
    char *name;
};

struct values {
    _Atomic(struct table *) table;
    struct table *retired;
    pthread_mutex_t mutex;              /* guards cells and writers */
    struct map cells;                   /* name -> struct trimtab_handle */
    const _Atomic uint64_t *generation; /* that new cells look at */
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

/* A table that stands for a segment, or has a copy, and owns it; map or copy is NULL. NULL without memory: it owns nothing. */
must_use struct table *table_of_segment(struct shm_map *map, struct shm_copy *copy);

/* Readers see t from now on; the table before is freed when nobody reads it. Returns that one, valid until the next. */
const struct table *values_publish(struct values *v, struct table *t);
/* The same for who holds the mutex. */
const struct table *values_publish_locked(struct values *v, struct table *t);

/* The value of a name in a table that does not stand for a segment; its texts live as long as the table. False: none. */
bool table_get(const struct table *t, const char *name, struct shm_value *ret);
/* Walks the names of such a table. */
typedef void table_each_fn(void *ctx, const char *name, const struct shm_value *v);
void table_each(const struct table *t, table_each_fn *fn, void *ctx);

/* A reader's section: between the two the table stays. NULL without memory for the thread's slot. */
must_use const struct table *values_enter(struct values *v);
void values_leave(void);

/* The cell of a name, made if it is new. NULL without memory. */
must_use struct trimtab_handle *values_cell(struct values *v, const char *name);
/* Sets a cell (v NULL: there is none), for who holds the mutex. */
void cell_set(struct trimtab_handle *h, const struct shm_value *v, uint64_t generation);

/* In a process that was forked: the readers of its other threads are none. */
void values_after_fork(void);

#endif

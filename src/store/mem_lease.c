/*
 * Leases and ephemeral items of the engine "mem:".
 *
 * A change becomes an event in the disk's list; each open store tells its own watches up to the end of the
 * list when it is called next (L3), and an event that all have told is freed.
 */
#include "base/alloc.h"
#include "store/mem_disk.h"

#include <inttypes.h>

/* ---- events ---- */

static struct mem_event *event_free(struct mem_event *event)
{
    if (!event)
        return NULL;
    link_remove(&event->link);
    (void)shared_unref(event->key);
    (void)shared_unref(event->bytes);
    return mem_free(event);
}

/* An event that is not told yet; takes one reference of its own on each. */
static struct mem_event *event_new(struct shared *key, struct shared *bytes, uint64_t lease)
{
    struct mem_event *event = NEW(struct mem_event);

    if (!event)
        return NULL;
    link_init(&event->link);
    event->key = shared_ref(key);
    event->bytes = shared_ref(bytes);
    event->lease = lease;
    return event;
}

static void tell(struct store_disk *disk, struct mem_event *event)
{
    event->number = ++disk->last_event;
    link_before(&disk->events, &event->link);
}

void mem_trim_events(struct store_disk *disk)
{
    uint64_t told = disk->last_event;

    LIST_EACH (&disk->opened, l) {
        const struct mem *m = LINK_OF(l, struct mem, link);

        if (m->crashes == disk->crashes)
            told = MIN(told, m->seen_event);
    }
    LIST_EACH (&disk->events, l) {
        struct mem_event *event = LINK_OF(l, struct mem_event, link);

        if (event->number > told)
            return;
        (void)event_free(event);
    }
}

/* Tells this store's watches what they have not been told. */
static void deliver(struct mem *m)
{
    LIST_EACH (&m->disk->events, l) {
        const struct mem_event *event = LINK_OF(l, struct mem_event, link);
        struct store_ephemeral item = {.key = shared_str(event->key),
                                       .bytes = shared_str(event->bytes),
                                       .lease = event->lease};

        if (event->number <= m->seen_event)
            continue;
        m->seen_event = event->number;
        store_ephemeral_changed(m->s, &item);
    }
    mem_trim_events(m->disk);
}

/* ---- items ---- */

static void item_deinit(struct mem_item *item)
{
    item->key = shared_unref(item->key);
    item->bytes = shared_unref(item->bytes);
    item->farewell = event_free(item->farewell);
}

void mem_free_items(struct store_disk *disk)
{
    for (size_t i = 0; i < disk->items.n; i++)
        item_deinit(&disk->items.at[i]);
    VEC_DEINIT(&disk->items);
    VEC_DEINIT(&disk->leases);
    mem_trim_events(disk);
}

/* The first item whose key is not before key. */
static size_t find_place(const struct store_disk *disk, struct str key)
{
    size_t low = 0, high = disk->items.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (str_cmp(shared_str(disk->items.at[middle].key), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct store_disk *disk, size_t at, struct str key)
{
    return at < disk->items.n && str_eq(shared_str(disk->items.at[at].key), key);
}

static void remove_at(struct store_disk *disk, size_t at)
{
    struct mem_item *items = disk->items.at;

    tell(disk, take(items[at].farewell));
    item_deinit(&items[at]);
    disk->items.n--;
    memmove(&items[at], &items[at + 1], (disk->items.n - at) * sizeof(items[0]));
}

/* Puts an item for which there is room; it takes what item owns. */
static void put_item(struct store_disk *disk, struct mem_item item)
{
    struct str key = shared_str(item.key);
    size_t at = find_place(disk, key);
    struct mem_item *place = &disk->items.at[at];

    if (is_at(disk, at, key)) {
        item_deinit(place);
    } else {
        memmove(place + 1, place, (disk->items.n - at) * sizeof(*place));
        disk->items.n++;
    }
    *place = item;
}

/* ---- leases ---- */

static struct mem_lease *find_lease(struct store_disk *disk, uint64_t id)
{
    for (size_t i = 0; i < disk->leases.n; i++)
        if (disk->leases.at[i].id == id)
            return &disk->leases.at[i];
    return NULL;
}

static int no_lease(uint64_t id, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "there is no lease %" PRIu64, id);
}

static nsec_t end_of(const struct store_disk *disk, nsec_t ttl)
{
    return disk->now > UINT64_MAX - ttl ? UINT64_MAX : disk->now + ttl;
}

void mem_restart_leases(struct store_disk *disk)
{
    for (size_t i = 0; i < disk->leases.n; i++)
        disk->leases.at[i].ends = end_of(disk, disk->leases.at[i].ttl);
}

static void end_lease(struct store_disk *disk, struct mem_lease *lease)
{
    size_t at = (size_t)(lease - disk->leases.at);

    for (size_t i = disk->items.n; i > 0; i--)
        if (disk->items.at[i - 1].lease == lease->id)
            remove_at(disk, i - 1);
    disk->leases.n--;
    memmove(lease, lease + 1, (disk->leases.n - at) * sizeof(*lease));
}

/* Enters, with the time of the caller's clock. */
static int enter_now(struct store *s, struct mem **ret_mem, struct err *err)
{
    int r = mem_enter(s, ret_mem, err);

    if (!r)
        (*ret_mem)->disk->now = MAX((*ret_mem)->disk->now, s->now);
    return r;
}

/* Tells everybody, and leaves. */
static void leave_changed(struct mem *m)
{
    if (m->seen_event < m->disk->last_event)
        mem_wake_others(m);
    deliver(m);
    mem_leave(m);
}

int mem_lease_grant(struct store *s, nsec_t ttl, uint64_t *ret_lease, struct err *err)
{
    struct mem_lease lease = {.ttl = ttl};
    struct mem *m;
    int r = enter_now(s, &m, err);

    if (r)
        return r;
    lease.id = m->disk->last_lease + 1;
    lease.ends = end_of(m->disk, ttl);
    r = mem_fault(m, STORE_WRITE_LEASE, err);
    if (!r && !VEC_PUSH(&m->disk->leases, lease))
        r = mem_no_memory(err);
    if (!r)
        *ret_lease = m->disk->last_lease = lease.id;
    mem_leave(m);
    return r;
}

int mem_lease_keep(struct store *s, uint64_t id, struct err *err)
{
    struct mem_lease *lease;
    struct mem *m;
    int r = enter_now(s, &m, err);

    if (r)
        return r;
    lease = find_lease(m->disk, id);
    if (lease)
        lease->ends = end_of(m->disk, lease->ttl);
    else
        r = no_lease(id, err);
    mem_leave(m);
    return r;
}

int mem_lease_revoke(struct store *s, uint64_t id, struct err *err)
{
    struct mem_lease *lease;
    struct mem *m;
    int r = enter_now(s, &m, err);

    if (r)
        return r;
    r = mem_fault(m, STORE_WRITE_LEASE, err);
    lease = find_lease(m->disk, id);
    if (!r && !lease)
        r = no_lease(id, err);
    if (!r)
        end_lease(m->disk, lease);
    leave_changed(m);
    return r;
}

/* ---- ephemeral items ---- */

struct prepared {
    struct mem_item item;
    struct mem_event *event;
};

static void prepared_free(struct prepared *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        item_deinit(&p[i].item);
        (void)event_free(p[i].event);
    }
    (void)mem_free(p);
}

/* Everything that needs memory, so that the rest cannot stop half way. NULL: no memory. */
static struct prepared *prepare_items(struct store_disk *disk, uint64_t lease,
                                      const struct store_ephemeral *items, size_t n)
{
    struct prepared *p = NEW_ARRAY(struct prepared, n);
    struct mem_item *room;

    for (size_t i = 0; p && i < n; i++) {
        struct mem_item *item = &p[i].item;

        item->lease = lease;
        item->key = shared_copy(items[i].key);
        item->bytes = shared_copy(items[i].bytes);
        if (item->key && item->bytes) {
            item->farewell = event_new(item->key, NULL, 0);
            p[i].event = event_new(item->key, item->bytes, lease);
        }
        if (!item->farewell || !p[i].event) {
            prepared_free(p, n);
            return NULL;
        }
    }
    room =
        p ? mem_realloc_array(disk->items.at, size_add(disk->items.n, n), sizeof(*room)) : NULL;
    if (!room) {
        if (p)
            prepared_free(p, n);
        return NULL;
    }
    disk->items.at = room;
    disk->items.cap = disk->items.n + n;
    return p;
}

int mem_ephemeral_put(struct store *s, uint64_t lease, const struct store_ephemeral *items,
                      size_t n, struct err *err)
{
    struct prepared *p = NULL;
    struct mem *m;
    int r = enter_now(s, &m, err);

    if (r)
        return r;
    r = mem_fault(m, STORE_WRITE_EPHEMERAL, err);
    if (!r && !find_lease(m->disk, lease))
        r = no_lease(lease, err);
    if (!r) {
        p = prepare_items(m->disk, lease, items, n);
        if (!p)
            r = mem_no_memory(err);
    }
    for (size_t i = 0; !r && i < n; i++) {
        tell(m->disk, p[i].event);
        put_item(m->disk, p[i].item);
    }
    (void)mem_free(p); /* what it pointed to has moved, or was freed */
    leave_changed(m);
    return r;
}

int mem_ephemeral_delete(struct store *s, const struct str *keys, size_t n, struct err *err)
{
    struct mem *m;
    int r = enter_now(s, &m, err);

    if (r)
        return r;
    r = mem_fault(m, STORE_WRITE_EPHEMERAL, err);
    for (size_t i = 0; !r && i < n; i++) {
        size_t at = find_place(m->disk, keys[i]);

        if (is_at(m->disk, at, keys[i]))
            remove_at(m->disk, at);
    }
    leave_changed(m);
    return r;
}

int mem_ephemeral_list(struct store *s, struct str prefix, store_ephemeral_fn *fn, void *ctx,
                       struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    deliver(m);
    for (size_t i = find_place(m->disk, prefix); !r && i < m->disk->items.n; i++) {
        const struct mem_item *at = &m->disk->items.at[i];
        struct store_ephemeral item = {
            .key = shared_str(at->key), .bytes = shared_str(at->bytes), .lease = at->lease};

        if (!str_starts(item.key, prefix))
            break;
        r = fn(ctx, &item);
    }
    mem_leave(m);
    return r;
}

/* ---- time and waiting ---- */

static int end_leases(struct mem *m, nsec_t *ret_next, struct err *err)
{
    struct store_disk *disk = m->disk;

    for (size_t i = disk->leases.n; i > 0; i--) {
        struct mem_lease *lease = &disk->leases.at[i - 1];
        int r;

        if (lease->ends > disk->now) {
            *ret_next = MIN(*ret_next, lease->ends);
            continue;
        }
        r = mem_fault(m, STORE_WRITE_LEASE, err);
        if (r)
            return r;
        end_lease(disk, lease);
    }
    return 0;
}

int mem_tick(struct store *s, nsec_t *ret_next, struct err *err)
{
    struct mem *m;
    int r = enter_now(s, &m, err);

    if (r)
        return r;
    r = end_leases(m, ret_next, err);
    leave_changed(m);
    return r;
}

int mem_poll(struct store *s, int timeout_ms, struct err *err)
{
    struct mem *m;
    int r;

    store_wait_for_wake(s, timeout_ms);
    r = mem_enter(s, &m, err);
    if (r)
        return r;
    deliver(m);
    mem_leave(m);
    return 0;
}

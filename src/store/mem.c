/*
 * The engine "mem:": the contract in the plainest form there is, over arrays in memory. Where another engine
 * and this one differ, this one is right.
 *
 * The arrays belong to a simulated disk (mem.h), so that a store can crash and several stores can share one
 * log. Leases and ephemeral items are in mem_lease.c.
 */
#include "store/mem.h"

#include "base/alloc.h"
#include "store/mem_disk.h"

#include <inttypes.h>

/* ---- the disk ---- */

static void free_row(struct mem_row *row)
{
    (void)shared_unref(row->request);
    (void)shared_unref(row->bytes);
    (void)shared_unref(row->packed);
}

static void clear_rows(struct mem_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        free_row(&rows->at[i]);
    VEC_DEINIT(rows);
}

static void clear_chunks(struct mem_chunks *chunks)
{
    for (size_t i = 0; i < chunks->n; i++)
        (void)shared_unref(chunks->at[i]);
    VEC_DEINIT(chunks);
}

struct store_disk *store_disk_new(uint64_t seed)
{
    struct store_disk *disk = NEW(struct store_disk);

    if (!disk)
        return NULL;
    (void)pthread_mutex_init(&disk->lock, NULL); /* cannot fail without attributes */
    disk->rng.state = seed;
    disk->blob_epoch = 1;
    link_init(&disk->opened);
    link_init(&disk->events);
    return disk;
}

struct store_disk *store_disk_free(struct store_disk *disk)
{
    if (!disk)
        return NULL;
    ASSERT(link_is_alone(&disk->opened));
    clear_rows(&disk->log);
    clear_rows(&disk->unsynced);
    clear_rows(&disk->kept);
    for (size_t i = 0; i < disk->marks.n; i++)
        (void)shared_unref(disk->marks.at[i].key);
    VEC_DEINIT(&disk->marks);
    for (size_t i = 0; i < disk->snapshots.n; i++)
        clear_chunks(&disk->snapshots.at[i].chunks);
    VEC_DEINIT(&disk->snapshots);
    for (size_t i = 0; i < disk->blobs.n; i++)
        (void)shared_unref(disk->blobs.at[i].bytes);
    VEC_DEINIT(&disk->blobs);
    mem_free_items(disk);
    (void)pthread_mutex_destroy(&disk->lock);
    return mem_free(disk);
}

void store_disk_faults(struct store_disk *disk, store_fault_fn *fn, void *ctx)
{
    (void)pthread_mutex_lock(&disk->lock); /* an ordinary mutex that this thread does not hold */
    disk->fault = fn;
    disk->fault_ctx = ctx;
    (void)pthread_mutex_unlock(&disk->lock); /* held */
}

void store_disk_crash(struct store_disk *disk)
{
    (void)pthread_mutex_lock(&disk->lock); /* as above */
    disk->crashes++;
    clear_rows(&disk->unsynced);
    LIST_EACH (&disk->opened, l)
        store_wake(LINK_OF(l, struct mem, link)->s);
    (void)pthread_mutex_unlock(&disk->lock);
}

/* In the last content, or in the envelope of a record without. */
static void spoil_row(struct mem_row *row)
{
    struct shared *packed = row->packed;

    if (packed->len > 4)
        packed->data[packed->len - 1] ^= 1;
    else
        row->bytes->data[0] ^= 1;
}

bool store_disk_spoil(struct store_disk *disk, uint64_t revision)
{
    if (revision == 0 && disk->snapshots.n) {
        struct mem_chunks *chunks = &disk->snapshots.at[disk->snapshots.n - 1].chunks;

        if (chunks->n)
            chunks->at[0]->data[0] ^= 1;
        return chunks->n > 0;
    }
    for (size_t i = 0; i < disk->log.n; i++) {
        if (disk->log.at[i].revision != revision)
            continue;
        spoil_row(&disk->log.at[i]);
        return true;
    }
    return false;
}

/* ---- entering ---- */

int mem_enter(struct store *s, struct mem **ret_mem, struct err *err)
{
    struct mem *m = s->impl;

    *ret_mem = m; /* in any case: compilers cannot see that the code below is never 0 */
    (void)pthread_mutex_lock(
        &m->disk->lock); /* an ordinary mutex that this thread does not hold */
    if (m->crashes != m->disk->crashes) {
        (void)pthread_mutex_unlock(&m->disk->lock); /* held */
        return err_set(err, ERR_UNAVAILABLE, "the simulated machine has crashed");
    }
    return 0;
}

void mem_leave(struct mem *m)
{
    (void)pthread_mutex_unlock(&m->disk->lock); /* held since mem_enter */
}

int mem_no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory in the store");
}

static enum store_fault fault_of(struct mem *m, enum store_write write)
{
    return m->disk->fault ? m->disk->fault(m->disk->fault_ctx, write) : STORE_FAULT_NONE;
}

/* The same without counting a sync: for the thread that writes a snapshot. */
static int refuse(struct mem *m, enum store_write write, struct err *err)
{
    switch (fault_of(m, write)) {
    case STORE_FAULT_FAIL:
    case STORE_FAULT_LOST: return err_set(err, ERR_IO, "the simulated disk refused a write");
    case STORE_FAULT_NONE:
    case STORE_FAULT_DONE:
    case STORE_FAULT_UNSYNCED: break;
    }
    return 0;
}

int mem_fault(struct mem *m, enum store_write write, struct err *err)
{
    int r = refuse(m, write, err);

    if (!r)
        m->s->stats.syncs++;
    return r;
}

void mem_wake_others(struct mem *m)
{
    LIST_EACH (&m->disk->opened, l) {
        struct mem *other = LINK_OF(l, struct mem, link);

        if (other != m)
            store_wake(other->s);
    }
}

/* ---- opening ---- */

static bool somebody_lives(const struct store_disk *disk)
{
    for (struct link *l = disk->opened.next; l != &disk->opened; l = l->next)
        if (LINK_OF(l, struct mem, link)->crashes == disk->crashes)
            return true;
    return false;
}

static void make_identity(struct store_disk *disk, uint32_t semantics)
{
    uint64_t words[2] = {rng_next(&disk->rng), rng_next(&disk->rng)};

    memcpy(disk->identity.id.bytes, words, sizeof(words));
    for (size_t i = 0; i < STORE_KEY_BYTES; i++)
        disk->identity.key[i] = (unsigned char)rng_next(&disk->rng);
    disk->identity.semantics = semantics;
    disk->made = true;
}

static int attach(struct mem *m, const struct store_opts *opts, struct err *err)
{
    struct store_disk *disk = m->disk;

    if (!disk->made && opts->create == STORE_MUST_EXIST)
        return err_set(err, ERR_NOT_FOUND, "there is no store on this disk");
    if (!disk->made)
        make_identity(disk, opts->semantics);
    if (!somebody_lives(disk)) { /* a restart (L2) */
        disk->now = opts->now;
        mem_restart_leases(disk);
    }
    m->crashes = disk->crashes;
    m->seen_event = disk->last_event;
    link_before(&disk->opened, &m->link);
    return 0;
}

static int mem_open(struct store *s, const char *place, const struct store_opts *opts,
                    struct err *err)
{
    struct mem *m;
    int r;

    if (*place)
        return err_set(err, ERR_INVALID, "\"mem:\" takes no place, but has \"%s\"", place);
    m = NEW(struct mem);
    if (!m)
        return mem_no_memory(err);
    link_init(&m->link);
    m->s = s;
    m->owns_disk = !opts->disk;
    m->disk = opts->disk ? opts->disk : store_disk_new(0);
    if (m->owns_disk && m->disk && random_bytes(&m->disk->rng, sizeof(m->disk->rng)))
        m->disk = store_disk_free(m->disk);
    if (!m->disk) {
        (void)mem_free(m);
        return mem_no_memory(err);
    }
    (void)pthread_mutex_lock(&m->disk->lock); /* as in mem_enter */
    r = attach(m, opts, err);
    mem_leave(m);
    if (r) {
        if (m->owns_disk)
            (void)store_disk_free(m->disk);
        (void)mem_free(m);
        return r;
    }
    s->impl = m;
    return 0;
}

/* It is on no list: it tells nobody of changes, and nobody waits for it. */
static int mem_open_reader(struct store *reader, struct store *s, struct err *err)
{
    const struct mem *of = s->impl;
    struct mem *m = NEW(struct mem);

    if (!m)
        return mem_no_memory(err);
    link_init(&m->link);
    m->s = reader;
    m->disk = of->disk;
    m->crashes = of->crashes;
    reader->impl = m;
    return 0;
}

static int mem_close(struct store *s, struct err *err)
{
    struct mem *m = s->impl;

    (void)err;                                /* memory has nothing left to be written */
    (void)pthread_mutex_lock(&m->disk->lock); /* as in mem_enter, but after a crash too */
    link_remove(&m->link);
    mem_trim_events(m->disk);
    mem_leave(m);
    clear_chunks(&m->chunks);
    if (m->owns_disk)
        (void)store_disk_free(m->disk);
    s->impl = mem_free(m);
    return 0;
}

static int mem_identity(struct store *s, struct store_identity *ret_identity, struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    *ret_identity = m->disk->identity;
    mem_leave(m);
    return 0;
}

static int mem_set_identity(struct store *s, const struct store_identity *identity,
                            struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = mem_fault(m, STORE_WRITE_IDENTITY, err);
    if (!r)
        m->disk->identity = *identity;
    mem_leave(m);
    return r;
}

/* ---- the log ---- */

/* Somebody looks: what was not synced is now. There is room, reserved by the append. */
static void settle(struct store_disk *disk)
{
    for (size_t i = 0; i < disk->unsynced.n; i++)
        disk->log.at[disk->log.n++] = disk->unsynced.at[i];
    VEC_DEINIT(&disk->unsynced);
}

static struct store_head head_of(const struct store_disk *disk)
{
    const struct mem_row *last;

    if (disk->log.n == 0)
        return disk->base;
    last = &disk->log.at[disk->log.n - 1];
    return (struct store_head){.revision = last->revision, .chain = last->chain};
}

static int mem_head(struct store *s, struct store_head *ret_head, struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    settle(m->disk);
    *ret_head = m->has_view ? m->view : head_of(m->disk);
    m->view = *ret_head;
    m->has_view = s->is_reader;
    mem_leave(m);
    return 0;
}

static void mem_release(struct store *reader)
{
    struct mem *m = reader->impl;

    m->has_view = false;
}

static int mem_base(struct store *s, struct store_head *ret_base, struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    *ret_base = m->disk->base;
    mem_leave(m);
    return 0;
}

static struct mem_blob *find_blob(struct store_disk *disk, const struct sha256 *hash)
{
    for (size_t i = 0; i < disk->blobs.n; i++)
        if (sha256_eq(&disk->blobs.at[i].hash, hash))
            return &disk->blobs.at[i];
    return NULL;
}

/* B3. Where the epoch is the current one, nothing was removed since the caller saw the blobs. */
static bool has_blobs(struct store_disk *disk, const struct store_record *record)
{
    if (record->n_blobs == 0 || record->blob_epoch == disk->blob_epoch)
        return true;
    for (size_t i = 0; i < record->n_blobs; i++)
        if (!find_blob(disk, &record->blobs[i]))
            return false;
    return true;
}

static int check_batch(struct mem *m, const struct store_batch *batch, size_t *ret_at,
                       struct err *err)
{
    struct store_head head = head_of(m->disk);

    if (m->disk->identity.semantics > m->s->semantics)
        return err_set(err, ERR_UNSUPPORTED, "the log has gone on to semantics version %u",
                       m->disk->identity.semantics);
    if (head.revision != batch->before.revision ||
        !sha256_eq(&head.chain, &batch->before.chain))
        return STORE_CONFLICT;
    for (size_t i = 0; i < batch->n; i++) {
        if (!has_blobs(m->disk, &batch->records[i])) {
            *ret_at = i;
            return STORE_BLOB_GONE;
        }
    }
    return 0;
}

static int make_rows(const struct store_batch *batch, struct mem_rows *rows)
{
    for (size_t i = 0; i < batch->n; i++) {
        const struct store_record *record = &batch->records[i];
        struct mem_row row = {
            .revision = batch->before.revision + 1 + i,
            .previous = i ? batch->chains[i - 1] : batch->before.chain,
            .chain = batch->chains[i],
        };

        row.request = shared_copy(record->request);
        row.bytes = shared_copy(record->bytes);
        row.packed = shared_copy(batch->packed[i]);
        if (!row.request || !row.bytes || !row.packed || !VEC_PUSH(rows, row)) {
            free_row(&row);
            return ERR_NOMEM;
        }
    }
    return 0;
}

static bool reserve_rows(struct mem_rows *rows, size_t n)
{
    struct mem_row *at;

    if (rows->cap - rows->n >= n)
        return true;
    at = mem_realloc_array(rows->at, size_add(rows->n, MAX(n, rows->n)), sizeof(*at));
    if (!at)
        return false;
    rows->at = at;
    rows->cap = rows->n + MAX(n, rows->n);
    return true;
}

static int store_rows(struct mem *m, struct mem_rows *rows, struct err *err)
{
    struct store_disk *disk = m->disk;
    enum store_fault fault = fault_of(m, STORE_WRITE_APPEND);

    if (fault == STORE_FAULT_FAIL)
        return err_set(err, ERR_IO, "the simulated disk refused a write");
    if (fault == STORE_FAULT_LOST)
        return err_set(err, ERR_TIMEOUT, "the simulated disk gave no answer");
    disk->unsynced = *rows;
    *rows = (struct mem_rows){0};
    if (fault == STORE_FAULT_UNSYNCED)
        return err_set(err, ERR_TIMEOUT, "the simulated disk gave no answer");
    settle(disk);
    m->s->stats.syncs++;
    mem_wake_others(m);
    if (fault == STORE_FAULT_DONE)
        return err_set(err, ERR_TIMEOUT, "the simulated disk gave no answer");
    return 0;
}

static int append_rows(struct mem *m, const struct store_batch *batch, size_t *ret_at,
                       struct err *err)
{
    struct mem_rows rows = {0};
    int r;

    settle(m->disk);
    r = check_batch(m, batch, ret_at, err);
    if (r)
        return r;
    if (make_rows(batch, &rows) || !reserve_rows(&m->disk->log, batch->n))
        r = mem_no_memory(err);
    else
        r = store_rows(m, &rows, err);
    clear_rows(&rows);
    return r;
}

static int mem_append(struct store *s, const struct store_batch *batch, size_t *ret_at,
                      struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = append_rows(m, batch, ret_at, err);
    mem_leave(m);
    return r;
}

/* The index of a revision in the log, which has no holes, or 0 for those before it. */
static size_t index_in_log(const struct store_disk *disk, uint64_t revision)
{
    return revision > disk->base.revision ? (size_t)(revision - disk->base.revision - 1) : 0;
}

/* The first row from a revision on; NULL: none. */
static const struct mem_row *find_row(const struct store_disk *disk, bool is_kept,
                                      uint64_t from)
{
    const struct mem_rows *rows = is_kept ? &disk->kept : &disk->log;
    size_t i = is_kept ? 0 : index_in_log(disk, from);

    while (i < rows->n && rows->at[i].revision < from)
        i++;
    return i < rows->n ? &rows->at[i] : NULL;
}

/* A row with references of its own, so that whoever is given it stands in nobody's way. False: there is none. */
static bool take_row(const struct mem *m, bool is_kept, uint64_t from, uint64_t to,
                     struct mem_row *ret)
{
    const struct mem_row *row = find_row(m->disk, is_kept, from);

    if (!row || row->revision > to)
        return false;
    *ret = *row;
    (void)shared_ref(ret->request); /* each is the row's */
    (void)shared_ref(ret->bytes);
    (void)shared_ref(ret->packed);
    return true;
}

static int give_row(struct mem_row *row, bool is_kept, store_entry_fn *fn, void *ctx)
{
    struct store_entry entry = {.revision = row->revision,
                                .chain = row->chain,
                                .request = shared_str(row->request),
                                .bytes = shared_str(row->bytes),
                                .packed = shared_str(row->packed),
                                .previous = is_kept ? &row->previous : NULL};
    int r = fn(ctx, &entry);

    free_row(row);
    return r;
}

static int give_rows(struct store *s, bool are_kept, const uint64_t range[2],
                     store_entry_fn *fn, void *ctx, struct err *err)
{
    uint64_t at = range[0];
    int r = 0;

    while (!r && at <= range[1]) {
        struct mem_row row;
        struct mem *m;
        bool is_there;

        r = mem_enter(s, &m, err);
        if (r)
            return r;
        is_there = take_row(m, are_kept, at, range[1], &row);
        mem_leave(m);
        if (!is_there)
            return 0;
        at = row.revision + 1;
        r = give_row(&row, are_kept, fn, ctx);
    }
    return r;
}

static int mem_read(struct store *s, enum store_rows rows, const uint64_t range[2],
                    store_entry_fn *fn, void *ctx, struct err *err)
{
    struct store_head base;
    int r = rows == STORE_ROWS_ALL ? give_rows(s, true, range, fn, ctx, err)
                                   : mem_base(s, &base, err);

    if (!r && rows != STORE_ROWS_ALL && range[0] <= range[1] && range[0] <= base.revision)
        r = STORE_COMPACTED;
    return r ? r : give_rows(s, false, range, fn, ctx, err);
}

/* ---- marks ---- */

static struct mem_mark *find_mark(struct store_disk *disk, struct str key, uint64_t number)
{
    for (size_t i = 0; i < disk->marks.n; i++)
        if (disk->marks.at[i].number == number &&
            str_eq(shared_str(disk->marks.at[i].key), key))
            return &disk->marks.at[i];
    return NULL;
}

static int put_mark(struct store_disk *disk, const struct store_mark *mark)
{
    struct mem_mark *old = find_mark(disk, mark->key, mark->number);
    struct mem_mark new = {.number = mark->number, .revision = mark->revision};

    if (old) {
        old->revision = mark->revision;
        return 0;
    }
    new.key = shared_copy(mark->key);
    if (new.key && VEC_PUSH(&disk->marks, new))
        return 0;
    (void)shared_unref(new.key);
    return ERR_NOMEM;
}

static int mem_mark(struct store *s, const struct store_mark *marks, size_t n, uint64_t upto,
                    struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = mem_fault(m, STORE_WRITE_MARK, err);
    for (size_t i = 0; !r && i < n; i++)
        if (put_mark(m->disk, &marks[i])) /* those before it prove nothing, so they may stay */
            r = mem_no_memory(err);
    if (!r)
        m->disk->marked = upto;
    mem_leave(m);
    return r;
}

static int mem_marked(struct store *s, uint64_t *ret_upto, struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    *ret_upto = m->disk->marked;
    mem_leave(m);
    return 0;
}

static int mem_mark_find(struct store *s, struct str key, uint64_t number,
                         struct store_mark *ret_mark, struct err *err)
{
    const struct mem_mark *best = NULL;
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    for (size_t i = 0; i < m->disk->marks.n; i++) {
        const struct mem_mark *mark = &m->disk->marks.at[i];

        if (mark->number >= number && (!best || mark->number < best->number) &&
            str_eq(shared_str(mark->key), key))
            best = mark;
    }
    if (best)
        *ret_mark = (struct store_mark){.number = best->number, .revision = best->revision};
    else
        r = err_set(err, ERR_NOT_FOUND, "there is no such mark");
    mem_leave(m);
    return r;
}

/* ---- snapshots and compaction ---- */

static int mem_snapshot_begin(struct store *s, uint64_t revision, uint64_t *ret_id,
                              struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    (void)revision; /* the row of the commit says it */
    if (r)
        return r;
    clear_chunks(&m->chunks);
    *ret_id = ++m->disk->last_snapshot;
    mem_leave(m);
    return 0;
}

static int mem_snapshot_chunk(struct store *s, struct str bytes, struct err *err)
{
    struct mem *m;
    struct shared *chunk;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = refuse(m, STORE_WRITE_SNAPSHOT, err);
    if (!r) {
        chunk = shared_copy(bytes);
        if (!chunk || !VEC_PUSH(&m->chunks, chunk)) {
            (void)shared_unref(chunk);
            r = mem_no_memory(err);
        }
    }
    mem_leave(m);
    return r;
}

/* What was added is durable at once. */
static int mem_snapshot_finish(struct store *s, struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = refuse(m, STORE_WRITE_SNAPSHOT, err);
    mem_leave(m);
    return r;
}

static int give_chunks(const struct mem_chunks *chunks, store_chunk_fn *fn, void *ctx)
{
    int r = 0;

    for (size_t i = 0; !r && i < chunks->n; i++)
        r = fn(ctx, shared_str(chunks->at[i]));
    return r;
}

static int mem_snapshot_read_back(struct store *s, store_chunk_fn *fn, void *ctx,
                                  struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = give_chunks(&m->chunks, fn, ctx);
    mem_leave(m);
    return r;
}

static void drop_snapshots_but(struct store_disk *disk, uint64_t keep_id)
{
    size_t n = 0;

    for (size_t i = 0; i < disk->snapshots.n; i++) {
        if (disk->snapshots.at[i].row.id == keep_id)
            disk->snapshots.at[n++] = disk->snapshots.at[i];
        else
            clear_chunks(&disk->snapshots.at[i].chunks);
    }
    disk->snapshots.n = n;
}

static int mem_snapshot_commit(struct store *s, const struct store_snapshot_row *row,
                               uint64_t keep_id, struct err *err)
{
    struct mem *m;
    struct mem_snapshot snapshot = {.row = *row};
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = mem_fault(m, STORE_WRITE_SNAPSHOT, err);
    if (!r && !VEC_ROOM(&m->disk->snapshots))
        r = mem_no_memory(err);
    if (!r) {
        drop_snapshots_but(m->disk, keep_id);
        snapshot.chunks = m->chunks;
        m->chunks = (struct mem_chunks){0};
        m->disk->snapshots.at[m->disk->snapshots.n++] = snapshot;
    }
    mem_leave(m);
    return r;
}

static void mem_snapshot_abort(struct store *s)
{
    struct mem *m = s->impl;

    clear_chunks(&m->chunks); /* only this store knows them */
}

/*
 * Rows are copied first and told outside the lock, because their reader comes back for the chunks. More than
 * the newest two are never there (S2), but one may be under way from another store.
 */
enum { SNAPSHOTS_MAX = 8 };

static int mem_snapshot_each(struct store *s, store_snapshot_row_fn *fn, void *ctx,
                             struct err *err)
{
    struct store_snapshot_row rows[SNAPSHOTS_MAX];
    size_t n = 0;
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    for (size_t i = m->disk->snapshots.n; i > 0 && n < SNAPSHOTS_MAX; i--)
        rows[n++] = m->disk->snapshots.at[i - 1].row;
    mem_leave(m);
    for (size_t i = 0; !r && i < n; i++)
        r = fn(ctx, &rows[i]);
    return r;
}

static int mem_snapshot_chunks(struct store *s, uint64_t id, store_chunk_fn *fn, void *ctx,
                               struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    for (size_t i = 0; !r && i < m->disk->snapshots.n; i++)
        if (m->disk->snapshots.at[i].row.id == id)
            r = give_chunks(&m->disk->snapshots.at[i].chunks, fn, ctx);
    mem_leave(m);
    return r;
}

static void move_below(struct store_disk *disk, const struct store_compact *op, uint64_t limit)
{
    size_t n = 0;

    for (; n < disk->log.n && disk->log.at[n].revision < limit; n++) {
        struct mem_row *row = &disk->log.at[n];

        disk->base = (struct store_head){.revision = row->revision, .chain = row->chain};
        if (op->keep && op->keep(op->ctx, row->revision))
            disk->kept.at[disk->kept.n++] = *row;
        else
            free_row(row);
    }
    disk->log.n -= n;
    memmove(disk->log.at, disk->log.at + n, disk->log.n * sizeof(disk->log.at[0]));
}

static int mem_compact(struct store *s, const struct store_compact *op, uint64_t limit,
                       struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = mem_fault(m, STORE_WRITE_COMPACT, err);
    if (!r && !reserve_rows(&m->disk->kept, m->disk->log.n))
        r = mem_no_memory(err);
    if (!r)
        move_below(m->disk, op, limit);
    mem_leave(m);
    return r;
}

static void forget_one(struct mem_rows *kept, uint64_t revision)
{
    for (size_t i = 0; i < kept->n; i++) {
        if (kept->at[i].revision != revision)
            continue;
        free_row(&kept->at[i]);
        kept->n--;
        memmove(&kept->at[i], &kept->at[i + 1], (kept->n - i) * sizeof(kept->at[0]));
        return;
    }
}

static int mem_forget(struct store *s, const uint64_t *revisions, size_t n, struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = mem_fault(m, STORE_WRITE_COMPACT, err);
    for (size_t i = 0; !r && i < n; i++)
        forget_one(&m->disk->kept, revisions[i]);
    mem_leave(m);
    return r;
}

/* ---- blobs ---- */

static int mem_blob_put(struct store *s, const struct sha256 *hash, struct str bytes,
                        struct err *err)
{
    struct mem_blob blob = {.hash = *hash}, *old;
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    blob.epoch = m->disk->blob_epoch;
    r = mem_fault(m, STORE_WRITE_BLOB, err);
    old = find_blob(m->disk, hash);
    if (!r && old) {
        old->epoch = blob.epoch;
    } else if (!r) {
        blob.bytes = shared_copy(bytes);
        if (!blob.bytes || !VEC_PUSH(&m->disk->blobs, blob)) {
            (void)shared_unref(blob.bytes);
            r = mem_no_memory(err);
        }
    }
    mem_leave(m);
    return r;
}

static int mem_blob_get(struct store *s, const struct sha256 *hash, struct shared **ret_bytes,
                        struct err *err)
{
    const struct mem_blob *blob;
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    blob = find_blob(m->disk, hash);
    if (blob)
        *ret_bytes = shared_ref(blob->bytes);
    else
        r = err_set(err, ERR_NOT_FOUND, "there is no such blob");
    mem_leave(m);
    return r;
}

static int mem_blob_has(struct store *s, const struct sha256 *hash, bool *ret_has,
                        struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    *ret_has = find_blob(m->disk, hash) != NULL;
    mem_leave(m);
    return 0;
}

static int mem_blob_epoch(struct store *s, uint64_t *ret_epoch, struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    *ret_epoch = m->disk->blob_epoch;
    mem_leave(m);
    return 0;
}

static int mem_blob_collect(struct store *s, const struct store_collect *op,
                            uint64_t *ret_removed, struct err *err)
{
    struct mem *m;
    size_t n = 0, before;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    r = mem_fault(m, STORE_WRITE_BLOB, err);
    before = m->disk->blobs.n;
    if (!r)
        m->disk->blob_epoch++;
    for (size_t i = 0; !r && i < before; i++) {
        struct mem_blob *blob = &m->disk->blobs.at[i];

        if (op->keep(op->ctx, &blob->hash, blob->epoch))
            m->disk->blobs.at[n++] = *blob;
        else
            (void)shared_unref(blob->bytes);
    }
    if (!r) {
        m->disk->blobs.n = n;
        *ret_removed = before - n;
    }
    mem_leave(m);
    return r;
}

/* ---- care ---- */

static int mem_check(struct store *s, struct err *err)
{
    struct mem *m;
    int r = mem_enter(s, &m, err);

    if (r)
        return r;
    for (size_t i = 0; !r && i < m->disk->blobs.n; i++)
        r = store_blob_check(&m->disk->blobs.at[i].hash, shared_str(m->disk->blobs.at[i].bytes),
                             err);
    mem_leave(m);
    return r;
}

const struct store_engine store_mem_engine = {
    .scheme = "mem",
    .open = mem_open,
    .close = mem_close,
    .open_reader = mem_open_reader,
    .release = mem_release,
    .identity = mem_identity,
    .set_identity = mem_set_identity,
    .head = mem_head,
    .base = mem_base,
    .append = mem_append,
    .read = mem_read,
    .mark = mem_mark,
    .marked = mem_marked,
    .mark_find = mem_mark_find,
    .snapshot_begin = mem_snapshot_begin,
    .snapshot_chunk = mem_snapshot_chunk,
    .snapshot_finish = mem_snapshot_finish,
    .snapshot_read_back = mem_snapshot_read_back,
    .snapshot_commit = mem_snapshot_commit,
    .snapshot_abort = mem_snapshot_abort,
    .snapshot_each = mem_snapshot_each,
    .snapshot_chunks = mem_snapshot_chunks,
    .compact = mem_compact,
    .forget = mem_forget,
    .blob_put = mem_blob_put,
    .blob_get = mem_blob_get,
    .blob_has = mem_blob_has,
    .blob_epoch = mem_blob_epoch,
    .blob_collect = mem_blob_collect,
    .lease_grant = mem_lease_grant,
    .lease_keep = mem_lease_keep,
    .lease_revoke = mem_lease_revoke,
    .ephemeral_put = mem_ephemeral_put,
    .ephemeral_delete = mem_ephemeral_delete,
    .ephemeral_list = mem_ephemeral_list,
    .tick = mem_tick,
    .poll = mem_poll,
    .check = mem_check,
};

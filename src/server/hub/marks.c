/*
 * Marks of old versions: noting, writing, and catching up. See marks.h.
 */
#include "server/hub/marks.h"

#include "base/log.h"
#include "proto/record.h"

enum {
    WRITE_MS = 1000,
    WRITE_RECORDS = 4096, /* how far the log is marked is written this rarely by itself */
    NOTED_MAX = 1 << 16,
    SCAN_BYTES = 4 << 20, /* in one step */
    SCAN_ENOUGH = 1,
};

/* ---- lists ---- */

static void list_add(struct mark_list *l, struct str key, uint64_t number, uint64_t revision)
{
    char *copy = l->marks.n < NOTED_MAX ? mem_dup(key.data, key.len) : NULL;

    if (copy &&
        !VEC_PUSH(&l->marks, (struct store_mark){str_of(copy, key.len), number, revision}))
        (void)mem_free(copy);
}

static void drop_first(struct mark_list *l, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)mem_free((char *)(uintptr_t)l->marks.at[i].key.data);
    l->marks.n -= n;
    if (l->marks.n)
        memmove(l->marks.at, l->marks.at + n, l->marks.n * sizeof(*l->marks.at));
}

static void list_deinit(struct mark_list *l)
{
    drop_first(l, l->marks.n);
    VEC_DEINIT(&l->marks);
}

/* ---- the committer's side ---- */

void marks_open(struct marks *m, struct store *s, uint64_t loaded)
{
    uint64_t upto = 0;

    (void)pthread_mutex_init(&m->mutex, NULL);
    if (store_marked(s, &upto, NULL)) /* then all is marked anew */
        upto = 0;
    m->written = upto;
    m->gap = upto + 1;
    m->gap_end = loaded;
}

void marks_close(struct marks *m)
{
    list_deinit(&m->noted);
    list_deinit(&m->found);
    (void)pthread_mutex_destroy(&m->mutex);
}

void marks_note(struct marks *m, const struct version *v)
{
    if (v->number % MARK_EVERY == 0)
        list_add(&m->noted, v->key, v->number, v->revision);
}

/* Takes over what was found in the gap. How far the log is marked then, when all of it is written. */
static uint64_t gather(struct marks *m, const struct store *s)
{
    uint64_t upto;

    (void)pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < m->found.marks.n; i++)
        list_add(&m->noted, m->found.marks.at[i].key, m->found.marks.at[i].number,
                 m->found.marks.at[i].revision);
    drop_first(&m->found, m->found.marks.n);
    upto = m->gap > m->gap_end ? store_head(s).revision : m->gap - 1;
    (void)pthread_mutex_unlock(&m->mutex);
    return upto;
}

static int write_some(struct marks *m, struct store *s, uint64_t upto, struct err *err)
{
    size_t n = MIN(m->noted.marks.n, (size_t)STORE_MARKS_MAX);
    uint64_t reached = n == m->noted.marks.n ? upto : m->written;
    int r = store_mark(s, m->noted.marks.at, n, reached, err);

    if (r)
        return r;
    m->written = reached;
    drop_first(&m->noted, n);
    return 0;
}

void marks_write(struct marks *m, struct store *s, enum marks_when when)
{
    struct err err = ERR_NULL;
    nsec_t now = clock_now();
    uint64_t upto;
    int r = 0;

    if (when == MARKS_IF_DUE && now < m->due)
        return;
    m->due = now + (nsec_t)WRITE_MS * NSEC_PER_MS;
    upto = gather(m, s);
    if (!m->noted.marks.n && upto < m->written + (when == MARKS_NOW ? 1 : WRITE_RECORDS))
        return;
    do
        r = write_some(m, s, upto, &err);
    while (!r && m->noted.marks.n);
    if (r)
        LOG(WARN, "marks_failed", LOG_C("error", err.text));
}

/* ---- catching up ---- */

struct scan {
    struct mark_list found;
    uint64_t last; /* scanned up to here */
    size_t bytes;
};

/* Versions that a rollout starts with are nobody's stable ones yet. */
static void scan_changes(struct scan *s, const Trimtab__V1__Record *record, uint64_t revision)
{
    if (record->n_moves && record->moves[0]->kind == TRIMTAB__V1__MOVE__START)
        return;
    for (size_t i = 0; i < record->n_changes; i++) {
        const Trimtab__V1__RecordChange *c = record->changes[i];
        owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
        struct name name;

        if (c->version == 0 || c->version % MARK_EVERY || name_parse(str_c(c->id), &name, NULL))
            continue;
        name_put_key(name, &key);
        if (!buf_status(&key))
            list_add(&s->found, buf_str(&key), c->version, revision);
    }
}

/* A record that cannot be read has no marks. */
static int scan_record(void *ctx, const struct store_entry *entry)
{
    struct record_parts parts = {entry->bytes, entry->contents, entry->n_contents};
    struct scan *s = ctx;
    int r;
    Trimtab__V1__Record *record = record_unpack(parts, &r, NULL);

    if (record)
        scan_changes(s, record, entry->revision);
    if (record)
        trimtab__v1__record__free_unpacked(record, &proto_allocator);
    s->last = entry->revision;
    s->bytes += entry->bytes.len;
    for (size_t i = 0; i < entry->n_contents; i++)
        s->bytes += entry->contents[i].bytes.len;
    return s->bytes >= SCAN_BYTES ? SCAN_ENOUGH : 0;
}

/* Where to go on, after a step that came to r. */
static uint64_t next_after(struct store *reader, const struct scan *s, uint64_t end, int r)
{
    uint64_t floor = 0;

    if (r == 0)
        return end + 1;
    if (r == STORE_COMPACTED && store_floor(reader, &floor, NULL) == 0)
        return MAX(floor, s->last + 1);
    return s->last + (r == ERR_CORRUPT ? 2 : 1); /* what is damaged is passed over */
}

void marks_scan(struct marks *m, struct store *reader)
{
    struct scan s = {.bytes = 0};
    uint64_t begin, end;
    int r;

    (void)pthread_mutex_lock(&m->mutex);
    begin = m->gap;
    end = m->gap_end;
    (void)pthread_mutex_unlock(&m->mutex);
    if (begin > end)
        return;
    s.last = begin - 1;
    r = store_read(reader, begin, end, scan_record, &s, NULL);
    (void)pthread_mutex_lock(&m->mutex);
    m->gap = next_after(reader, &s, end, r);
    for (size_t i = 0; i < s.found.marks.n; i++)
        list_add(&m->found, s.found.marks.at[i].key, s.found.marks.at[i].number,
                 s.found.marks.at[i].revision);
    (void)pthread_mutex_unlock(&m->mutex);
    list_deinit(&s.found);
}

/*
 * Snapshots, and compaction, which depends on them.
 *
 * A snapshot's hash runs over its revision, the chain there, and every chunk: h = SHA-256(h, chunk). So a chunk
 * that is missing, altered or of another snapshot shows, and a snapshot of another history does not pass.
 */
#include "base/alloc.h"
#include "store/core.h"

#include <inttypes.h>

struct store_snapshot {
    struct store *s;
    struct store_snapshot_row row;
    bool failed, finished, committed;
};

/* ---- verifying ---- */

struct tally {
    struct sha256 hash;
    uint64_t bytes;
};

static int tally_chunk(void *ctx, struct str chunk)
{
    struct tally *t = ctx;

    t->hash = store_snapshot_hash_next(&t->hash, chunk);
    t->bytes += chunk.len;
    return 0;
}

static bool is_known_whole(const struct store *s, uint64_t id)
{
    return s->verified[0] == id || s->verified[1] == id;
}

static void know_whole(struct store *s, uint64_t id)
{
    if (is_known_whole(s, id))
        return;
    s->verified[1] = s->verified[0];
    s->verified[0] = id;
}

/* It was whole once. */
static void know_damaged(struct store *s, uint64_t id)
{
    for (size_t i = 0; i < ARRAY_LEN(s->verified); i++)
        if (s->verified[i] == id)
            s->verified[i] = 0;
}

static int read_through(struct store *s, const struct store_snapshot_row *row, struct err *err)
{
    struct tally t = {.hash = store_snapshot_hash(row->revision, &row->chain)};
    struct sha256 chain = {{0}};
    int r = s->engine->snapshot_chunks(s, row->id, tally_chunk, &t, err);

    if (r)
        return r;
    if (t.bytes != row->bytes || !sha256_eq(&t.hash, &row->hash))
        return err_set(err, ERR_CORRUPT, "the snapshot of revision %" PRIu64 " was altered",
                       row->revision);
    if (row->revision > s->head.revision)
        return err_set(err, ERR_CORRUPT, "the snapshot of revision %" PRIu64 " is past the log",
                       row->revision);
    r = chain_at(s, row->revision, &chain, NULL);
    if (r == ERR_INVALID)
        return 0; /* records up to it were compacted, so there is no chain to compare with */
    if (r)
        return r;
    if (!sha256_eq(&chain, &row->chain))
        return err_set(err, ERR_CORRUPT,
                       "the snapshot of revision %" PRIu64 " is of another history",
                       row->revision);
    return 0;
}

/* Reads the snapshot through: 0, or ERR_CORRUPT when it must not be used, or why it cannot be read. */
static int verify_snapshot(struct store *s, const struct store_snapshot_row *row,
                           struct err *err)
{
    int r = read_through(s, row, err);

    if (r == ERR_CORRUPT)
        know_damaged(s, row->id);
    return r;
}

/* As verify_snapshot, but once per process: for decisions, not for reading. */
static int verify_once(struct store *s, const struct store_snapshot_row *row)
{
    int r;

    if (is_known_whole(s, row->id))
        return 0;
    r = verify_snapshot(s, row, NULL);
    if (!r)
        know_whole(s, row->id);
    return r;
}

/* ---- writing ---- */

int store_snapshot_new(struct store *s, uint64_t revision, struct store_snapshot **ret_snapshot,
                       struct err *err)
{
    owned(store_snapshot_free) struct store_snapshot *snapshot = NULL;
    int r;

    if (s->snapshot)
        return err_set(err, ERR_LOCKED, "another snapshot is being written");
    snapshot = NEW(struct store_snapshot);
    if (!snapshot)
        return err_set(err, ERR_NOMEM, "out of memory for a snapshot");
    snapshot->row.revision = revision;
    r = chain_at(s, revision, &snapshot->row.chain, err);
    if (r)
        return r;
    snapshot->row.hash = store_snapshot_hash(revision, &snapshot->row.chain);
    r = s->engine->snapshot_begin(s, revision, &snapshot->row.id, err);
    if (r)
        return r;
    snapshot->s = s;
    s->snapshot = snapshot;
    *ret_snapshot = take(snapshot);
    return 0;
}

int store_snapshot_add(struct store_snapshot *snapshot, struct str bytes, struct err *err)
{
    ASSERT(!snapshot->failed && !snapshot->finished);
    while (bytes.len > 0) {
        struct str chunk = str_part(bytes, 0, STORE_CHUNK_MAX);
        int r = snapshot->s->engine->snapshot_chunk(snapshot->s, chunk, err);

        if (r) {
            snapshot->failed = true;
            return r;
        }
        snapshot->row.hash = store_snapshot_hash_next(&snapshot->row.hash, chunk);
        snapshot->row.bytes += chunk.len;
        bytes = str_from(bytes, chunk.len);
    }
    return 0;
}

static int finish(struct store_snapshot *snapshot, struct err *err)
{
    const struct store_snapshot_row *row = &snapshot->row;
    struct tally t = {.hash = store_snapshot_hash(row->revision, &row->chain)};
    int r = snapshot->s->engine->snapshot_finish(snapshot->s, err);

    if (!r)
        r = snapshot->s->engine->snapshot_read_back(snapshot->s, tally_chunk, &t, err);
    if (!r && (t.bytes != row->bytes || !sha256_eq(&t.hash, &row->hash)))
        r = err_set(err, ERR_CORRUPT,
                    "the snapshot of revision %" PRIu64 " did not come back as it was written",
                    row->revision);
    return r;
}

int store_snapshot_finish(struct store_snapshot *snapshot, struct err *err)
{
    int r;

    ASSERT(!snapshot->failed && !snapshot->finished);
    r = finish(snapshot, err);
    snapshot->failed = r != 0;
    snapshot->finished = true;
    return r;
}

struct search {
    struct store *s;
    struct store_snapshot_row row; /* the newest whole one; id 0: none */
    uint32_t passed_over;
    bool read_again; /* whatever was verified before */
    struct err *err;
};

enum { FOUND = 1 };

static int find_whole(void *ctx, const struct store_snapshot_row *row)
{
    struct search *search = ctx;
    int r = search->read_again ? verify_snapshot(search->s, row, search->err)
                               : verify_once(search->s, row);

    if (r == ERR_CORRUPT) {
        search->passed_over++;
        return 0;
    }
    if (r)
        return r;
    search->row = *row;
    return FOUND;
}

int store_snapshot_commit(struct store_snapshot *snapshot, struct err *err)
{
    struct store *s = snapshot->s;
    struct search older = {.s = s};
    int r;

    ASSERT(!snapshot->failed && !snapshot->committed);
    r = snapshot->finished ? 0 : store_snapshot_finish(snapshot, err);
    if (!r)
        r = observe_all(s, err); /* snapshots of others may be of newer records */
    if (r)
        return r;
    r = s->engine->snapshot_each(s, find_whole, &older, err);
    if (r != FOUND && r != 0)
        return r;
    r = s->engine->snapshot_commit(s, &snapshot->row, older.row.id, err);
    snapshot->failed = r != 0;
    snapshot->committed = r == 0;
    if (!r)
        know_whole(s, snapshot->row.id); /* it was read back */
    return r;
}

struct store_snapshot *store_snapshot_free(struct store_snapshot *snapshot)
{
    struct store *s;

    if (!snapshot)
        return NULL;
    s = snapshot->s;
    if (s) {
        s->snapshot = NULL;
        if (!snapshot->committed)
            s->engine->snapshot_abort(s);
    }
    return mem_free(snapshot);
}

/* ---- reading ---- */

int store_snapshot_read(struct store *s, store_chunk_fn *fn, void *ctx,
                        struct store_snapshot_info *ret_info, struct err *err)
{
    struct search search = {.s = s, .read_again = true, .err = err};
    int r = observe_all(s, err); /* snapshots of others may be of newer records */

    if (r)
        return r;
    r = s->engine->snapshot_each(s, find_whole, &search, err);
    if (r != FOUND && r != 0)
        return r;
    if (r == 0)
        return err_set(err, ERR_NOT_FOUND, "there is no snapshot%s",
                       search.passed_over ? " that is whole" : "");
    know_whole(s, search.row.id);
    *ret_info = (struct store_snapshot_info){.revision = search.row.revision,
                                             .chain = search.row.chain,
                                             .bytes = search.row.bytes,
                                             .passed_over = search.passed_over};
    return s->engine->snapshot_chunks(s, search.row.id, fn, ctx, err);
}

int store_tidy(struct store *s, struct err *err)
{
    return s->engine->tidy ? s->engine->tidy(s, err) : 0;
}

struct check {
    struct store *s;
    struct err *err;
};

static int check_snapshot(void *ctx, const struct store_snapshot_row *row)
{
    struct check *check = ctx;

    return verify_snapshot(check->s, row, check->err);
}

int snapshots_check(struct store *s, struct err *err)
{
    struct check check = {.s = s, .err = err};

    return s->engine->snapshot_each(s, check_snapshot, &check, err);
}

/* ---- compaction ---- */

struct bound {
    struct store *s;
    uint64_t lowest; /* of the whole snapshots' revisions; UINT64_MAX: none yet */
};

static int lower_bound(void *ctx, const struct store_snapshot_row *row)
{
    struct bound *bound = ctx;
    int r = verify_once(bound->s, row);

    if (r == ERR_CORRUPT)
        return 0;
    if (!r)
        bound->lowest = MIN(bound->lowest, row->revision);
    return r;
}

/* C1: records below *ret_limit may go. */
static int find_limit(struct store *s, uint64_t below, uint64_t *ret_limit, struct err *err)
{
    struct bound bound = {.s = s, .lowest = UINT64_MAX};
    int r = s->engine->snapshot_each(s, lower_bound, &bound, err);

    if (r)
        return r;
    *ret_limit = 0;
    if (bound.lowest == UINT64_MAX || s->head.revision < s->retain)
        return 0;
    *ret_limit = MIN(below, MIN(bound.lowest, s->head.revision - s->retain) + 1);
    return 0;
}

int store_compact(struct store *s, const struct store_compact *op, uint64_t *ret_floor,
                  struct err *err)
{
    struct store_head base;
    uint64_t limit, step, goal;
    int r = observe_all(s, err); /* snapshots of others may be of newer records */

    if (r)
        return r;
    r = find_limit(s, op->below, &goal, err);
    if (r)
        return r;
    r = s->engine->base(s, &base, err);
    if (r)
        return r;
    limit = goal;
    step = op->max_records ? op->max_records : UINT64_MAX;
    if (goal > base.revision + 1) {
        limit = base.revision + 1 + MIN(step, goal - base.revision - 1);
        r = s->engine->compact(s, op, limit, err);
        if (r)
            return r;
    }
    *ret_floor = MAX(limit, base.revision + 1);
    return limit < goal ? STORE_MORE : 0;
}

int store_forget(struct store *s, const uint64_t *revisions, size_t n, struct err *err)
{
    if (n > STORE_APPEND_RECORDS_MAX)
        return err_set(err, ERR_INVALID, "at most %d revisions in one call",
                       STORE_APPEND_RECORDS_MAX);
    return n ? s->engine->forget(s, revisions, n, err) : 0;
}

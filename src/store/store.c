/*
 * The store above its engines: opening, the log, the chain, request ids. See store.h for the contract and
 * engine.h for the division of work.
 */
#include "store/store.h"

#include "base/alloc.h"
#include "store/contents.h"
#include "store/core.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { VERIFY_AT_OPEN = 64 }; /* records */

static const struct store_engine *const engines[] = {&store_mem_engine, &store_sqlite_engine};

/* ---- verifying ---- */

/* Fills in the contents of a row; ERR_CORRUPT when one is not what its hash says. */
static int parse_contents(struct store *s, struct store_entry *entry, size_t n, struct err *err)
{
    s->parsed.n = 0;
    while (s->parsed.cap < n) {
        s->parsed.n = s->parsed.cap;
        if (!VEC_ROOM(&s->parsed))
            return err_set(err, ERR_NOMEM, "out of memory while reading the log");
    }
    s->parsed.n = n;
    contents_unpack(entry->packed, s->parsed.at);
    for (size_t i = 0; i < n; i++) {
        const struct hashed *content = &s->parsed.at[i];
        struct sha256 found = sha256_of(content->bytes);

        if (content->bytes.data && !sha256_eq(&found, &content->hash))
            return err_set(err, ERR_CORRUPT,
                           "content %zu of record %" PRIu64 " is not what was appended", i + 1,
                           entry->revision);
    }
    entry->contents = s->parsed.at;
    entry->n_contents = n;
    return 0;
}

/* R3 for one row; *entry gets its contents. */
static int check_row(struct store *s, const struct sha256 *previous, struct store_entry *entry,
                     struct err *err)
{
    struct sha256 chain;
    size_t n = 0;

    if (entry->packed.data && !contents_count(entry->packed, &n))
        return err_set(err, ERR_CORRUPT, "record %" PRIu64 " is damaged: its contents",
                       entry->revision);
    chain = store_chain_next(previous, entry);
    if (!sha256_eq(&chain, &entry->chain))
        return err_set(err, ERR_CORRUPT, "record %" PRIu64 " is not what was appended",
                       entry->revision);
    return n ? parse_contents(s, entry, n, err) : 0;
}

struct verification {
    struct store *s;
    struct store_head at; /* verified up to here */
    store_entry_fn *fn;   /* NULL: nobody is given anything */
    void *ctx;
    struct err *err;
};

static int verify_entry(void *ctx, const struct store_entry *row)
{
    struct verification *v = ctx;
    struct store_entry entry = *row;
    int r;

    if (row->previous) { /* a kept record, with holes before it */
        r = check_row(v->s, row->previous, &entry, v->err);
    } else {
        if (entry.revision != v->at.revision + 1)
            return err_set(v->err, ERR_CORRUPT, "record %" PRIu64 " is missing",
                           v->at.revision + 1);
        r = check_row(v->s, &v->at.chain, &entry, v->err);
        v->at = (struct store_head){.revision = entry.revision, .chain = entry.chain};
    }
    if (r)
        return r;
    return v->fn ? v->fn(v->ctx, &entry) : 0;
}

static int take_chain(void *ctx, const struct store_entry *entry)
{
    struct sha256 *chain = ctx;

    *chain = entry->chain;
    return 0;
}

int chain_at(struct store *s, uint64_t revision, struct sha256 *ret_chain, struct err *err)
{
    struct store_head base;
    int r = s->engine->base(s, &base, err);

    if (r)
        return r;
    if (revision < base.revision || revision > s->head.revision)
        return err_set(err, ERR_INVALID,
                       "revision %" PRIu64 " is not between the floor %" PRIu64
                       " and the head %" PRIu64,
                       revision, base.revision + 1, s->head.revision);
    if (revision == base.revision) {
        *ret_chain = base.chain;
        return 0;
    }
    return s->engine->read(s, STORE_ROWS_REQUESTS, (const uint64_t[]){revision, revision},
                           take_chain, ret_chain, err);
}

/* The end of the log was reached: it is where the head is. */
static int check_end(const struct verification *v, uint64_t to)
{
    const struct store_head *head = &v->s->head;

    if (v->at.revision < to)
        return err_set(v->err, ERR_CORRUPT, "record %" PRIu64 " is missing",
                       v->at.revision + 1);
    if (v->at.revision == head->revision && !sha256_eq(&v->at.chain, &head->chain))
        return err_set(v->err, ERR_CORRUPT, "the log was forked before record %" PRIu64,
                       head->revision);
    return 0;
}

static int read_at_head(struct store *s, enum store_rows rows, const uint64_t range[2],
                        store_entry_fn *fn, void *ctx, struct err *err)
{
    const uint64_t cut[2] = {MAX(range[0], (uint64_t)1), MIN(range[1], s->head.revision)};
    struct verification v = {.s = s, .fn = fn, .ctx = ctx, .err = err};
    int r = s->engine->base(s, &v.at, err);

    if (r || cut[0] > cut[1])
        return r;
    if (rows == STORE_ROWS_LOG && cut[0] <= v.at.revision)
        return STORE_COMPACTED;
    if (cut[0] > v.at.revision + 1) {
        r = chain_at(s, cut[0] - 1, &v.at.chain, err);
        if (r == ERR_INVALID) /* an engine whose readers have no view: it went in between */
            r = rows == STORE_ROWS_LOG ? STORE_COMPACTED : r;
        v.at.revision = cut[0] - 1;
    }
    if (!r)
        r = s->engine->read(s, rows, cut, verify_entry, &v, err);
    return r ? r : check_end(&v, cut[1]);
}

int read_verified(struct store *s, enum store_rows rows, const uint64_t range[2],
                  store_entry_fn *fn, void *ctx, struct err *err)
{
    int r = s->is_reader ? s->engine->head(s, &s->head, err) : 0;

    return r ? r : read_at_head(s, rows, range, fn, ctx, err);
}

int verify_from(struct store *s, uint64_t from, struct err *err)
{
    return read_verified(s, STORE_ROWS_LOG, (const uint64_t[]){from, s->head.revision}, NULL,
                         NULL, err);
}

/* ---- observing ---- */

struct observation {
    struct store *s;
    struct err *err;
};

static void forget_old_requests(struct store *s)
{
    if (s->head.revision > s->retain)
        requests_drop_below(&s->requests, s->head.revision - s->retain + 1);
}

static int observe(void *ctx, const struct store_entry *row)
{
    struct observation *o = ctx;
    struct store *s = o->s;
    struct store_entry entry = *row;
    int r;

    if (entry.revision != s->head.revision + 1)
        return err_set(o->err, ERR_CORRUPT, "record %" PRIu64 " is missing",
                       s->head.revision + 1);
    r = check_row(s, &s->head.chain, &entry, o->err);
    if (r)
        return r;
    if (!requests_find(&s->requests, entry.request)) {
        r = requests_add(&s->requests, entry.request, entry.revision);
        if (r)
            return err_set(o->err, r, "out of memory while reading the log");
    }
    s->head = (struct store_head){.revision = entry.revision, .chain = entry.chain};
    forget_old_requests(s);
    watches_give(s, &entry);
    return 0;
}

static int learn_request(void *ctx, const struct store_entry *entry)
{
    struct store *s = ctx;

    if (requests_find(&s->requests, entry->request))
        return 0;
    return requests_add(&s->requests, entry->request, entry->revision);
}

/* Takes head as observed without having seen the records, and learns the request ids that count (Q2). */
static int start_at(struct store *s, const struct store_head *head, struct err *err)
{
    struct store_head base;
    uint64_t from;
    int r = s->engine->base(s, &base, err);

    if (r)
        return r;
    requests_drop_below(&s->requests, UINT64_MAX);
    from = head->revision > s->retain ? head->revision - s->retain + 1 : 1;
    from = MAX(from, base.revision + 1);
    r = s->engine->read(s, STORE_ROWS_REQUESTS, (const uint64_t[]){from, head->revision},
                        learn_request, s, err);
    if (r == ERR_NOMEM)
        return err_set(err, r, "out of memory while reading the log");
    if (r)
        return r;
    s->head = *head;
    return 0;
}

/* Compaction by others has passed this store: its watches cannot go on, the rest can. */
static int skip_to(struct store *s, const struct store_head *head, struct err *err)
{
    int r = start_at(s, head, err);

    if (r)
        return r;
    watches_end(s, STORE_COMPACTED);
    return 0;
}

int observe_all(struct store *s, struct err *err)
{
    struct observation o = {.s = s, .err = err};
    struct store_head head;
    int r = s->engine->head(s, &head, err);

    if (r)
        return r;
    if (head.revision < s->head.revision)
        return err_set(err, ERR_CORRUPT,
                       "the log was rolled back: it ends at %" PRIu64 ", it was at %" PRIu64,
                       head.revision, s->head.revision);
    if (head.revision > s->head.revision) {
        r = s->engine->read(s, STORE_ROWS_LOG,
                            (const uint64_t[]){s->head.revision + 1, head.revision}, observe,
                            &o, err);
        if (r == STORE_COMPACTED)
            return skip_to(s, &head, err);
        if (r)
            return r;
    }
    if (head.revision == s->head.revision && !sha256_eq(&head.chain, &s->head.chain))
        return err_set(err, ERR_CORRUPT, "the log was forked before record %" PRIu64,
                       head.revision);
    return 0;
}

/* ---- opening ---- */

static const struct store_engine *engine_of(const char *url, const char **ret_place)
{
    const char *colon = strchr(url, ':');

    for (size_t i = 0; colon && i < ARRAY_LEN(engines); i++) {
        struct str scheme = str_of(url, (size_t)(colon - url));

        if (str_eq(scheme, str_c(engines[i]->scheme))) {
            *ret_place = colon + 1;
            return engines[i];
        }
    }
    return NULL;
}

static int check_semantics(struct store *s, struct err *err)
{
    struct store_identity identity;
    int r = s->engine->identity(s, &identity, err);

    if (r)
        return r;
    if (identity.semantics > s->semantics) {
        r = err_set(err, ERR_UNSUPPORTED,
                    "the log has records of semantics version %u, this program knows up to %u",
                    identity.semantics, s->semantics);
        err_hint(err, "run the newer version of the program");
    }
    return r;
}

/* Makes sure that the newest records are what they were, and stands at the head. */
static int start(struct store *s, struct err *err)
{
    struct store_head head, base;
    uint64_t from;
    int r = check_semantics(s, err);

    if (r)
        return r;
    r = s->engine->head(s, &head, err);
    if (r)
        return r;
    r = start_at(s, &head, err);
    if (r)
        return r;
    r = s->engine->base(s, &base, err);
    if (r)
        return r;
    from = head.revision > VERIFY_AT_OPEN ? head.revision - VERIFY_AT_OPEN + 1 : 1;
    return verify_from(s, MAX(from, base.revision + 1), err);
}

static void release(struct store *s)
{
    requests_deinit(&s->requests);
    VEC_DEINIT(&s->chains);
    VEC_DEINIT(&s->packed);
    VEC_DEINIT(&s->parsed);
    if (s->wake_fd >= 0)
        (void)close(s->wake_fd); /* nothing is written there */
    (void)mem_free(s);
}

static struct store *make(const struct store_engine *engine, const struct store_opts *opts)
{
    struct store *s = NEW(struct store);

    if (!s)
        return NULL;
    s->engine = engine;
    s->semantics = opts->semantics;
    s->retain = opts->retain ? opts->retain : STORE_RETAIN_DEFAULT;
    s->now = opts->now;
    requests_init(&s->requests);
    link_init(&s->watches);
    link_init(&s->ephemeral_watches);
    s->wake_fd = -1;
    return s;
}

int store_open(const char *url, const struct store_opts *opts, struct store **ret_store,
               struct err *err)
{
    const char *place = NULL;
    const struct store_engine *engine = engine_of(url, &place);
    owned(store_drop) struct store *s = NULL;
    int r;

    if (!engine) {
        r = err_set(err, ERR_INVALID, "there is no storage engine for \"%s\"", url);
        err_hint(err,
                 "use sqlite:/path/to/file, or mem: for a store that ends with the process");
        return r;
    }
    s = make(engine, opts);
    if (!s)
        return err_set(err, ERR_NOMEM, "out of memory while opening %s", url);
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->wake_fd < 0)
        return err_set_errno(err, "cannot make an eventfd");
    r = engine->open(s, place, opts, err);
    if (r)
        return r;
    r = start(s, err);
    if (r) {
        err_place(err, "%s", url);
        return r;
    }
    *ret_store = take(s);
    return 0;
}

int store_reader_open(struct store *s, struct store **ret_reader, struct err *err)
{
    const struct store_opts opts = {.semantics = s->semantics, .retain = s->retain};
    owned(store_drop) struct store *reader = make(s->engine, &opts);
    int r;

    if (!reader)
        return err_set(err, ERR_NOMEM, "out of memory for a reader of the store");
    reader->is_reader = true;
    r = s->engine->open_reader(reader, s, err);
    if (!r)
        *ret_reader = take(reader);
    return r;
}

void store_reader_release(struct store *reader)
{
    ASSERT(reader->is_reader);
    reader->engine->release(reader);
}

int store_close(struct store *s, struct err *err)
{
    int r = 0;

    while (!link_is_alone(&s->watches))
        link_remove(s->watches.next); /* their memory is the watcher's until it closes them */
    while (!link_is_alone(&s->ephemeral_watches))
        link_remove(s->ephemeral_watches.next);
    ASSERT(!s->snapshot && !s->backup);
    if (s->impl)
        r = s->engine->close(s, err);
    release(s);
    return r;
}

struct store *store_drop(struct store *s)
{
    if (s)
        (void)store_close(s, NULL); /* the caller is on its way out of a failure already */
    return NULL;
}

int store_identity(struct store *s, struct store_identity *ret_identity, struct err *err)
{
    return s->engine->identity(s, ret_identity, err);
}

int store_identity_renew(struct store *s, struct err *err)
{
    struct store_identity identity;
    int r = s->engine->identity(s, &identity, err);

    if (r)
        return r;
    r = random_bytes(identity.id.bytes, sizeof(identity.id.bytes));
    if (r)
        return err_set(err, r, "the system has no random bytes");
    return s->engine->set_identity(s, &identity, err);
}

int store_semantics_raise(struct store *s, uint32_t semantics, struct err *err)
{
    struct store_identity identity;
    int r;

    if (semantics > s->semantics)
        return err_set(err, ERR_INVALID, "this program knows semantics up to %u, not %u",
                       s->semantics, semantics);
    r = s->engine->identity(s, &identity, err);
    if (r || semantics <= identity.semantics)
        return r;
    identity.semantics = semantics;
    return s->engine->set_identity(s, &identity, err);
}

/* ---- appending ---- */

static size_t record_bytes(const struct store_record *record)
{
    size_t bytes = record->bytes.len;

    for (size_t i = 0; i < record->n_contents; i++)
        bytes = size_add(bytes, record->contents[i].bytes.len);
    return bytes;
}

static int check_record(const struct store_record *record, size_t at, struct err *err)
{
    if (record->bytes.len == 0)
        return err_set(err, ERR_INVALID, "record %zu of the append is empty", at);
    if (record->n_contents > STORE_RECORD_CONTENTS_MAX)
        return err_set(err, ERR_INVALID, "record %zu of the append has more than %d contents",
                       at, STORE_RECORD_CONTENTS_MAX);
    if (record_bytes(record) > STORE_RECORD_MAX)
        return err_set(err, ERR_INVALID, "record %zu of the append has %zu bytes, over %d", at,
                       record_bytes(record), STORE_RECORD_MAX);
    if (record->request.len > STORE_REQUEST_MAX)
        return err_set(err, ERR_INVALID, "the request id of record %zu is longer than %d bytes",
                       at, STORE_REQUEST_MAX);
    if (record->n_blobs > STORE_RECORD_BLOBS_MAX)
        return err_set(err, ERR_INVALID, "record %zu of the append names more than %d blobs",
                       at, STORE_RECORD_BLOBS_MAX);
    return 0;
}

static int check_append(const struct store_append *op, struct err *err)
{
    size_t bytes = 0;

    if (op->n == 0 || op->n > STORE_APPEND_RECORDS_MAX)
        return err_set(err, ERR_INVALID, "an append takes 1 to %d records, not %zu",
                       STORE_APPEND_RECORDS_MAX, op->n);
    for (size_t i = 0; i < op->n; i++) {
        int r = check_record(&op->records[i], i, err);

        if (r)
            return r;
        bytes += record_bytes(&op->records[i]); /* 4096 * 72 MiB cannot wrap */
    }
    if (bytes > STORE_APPEND_BYTES_MAX)
        return err_set(err, ERR_INVALID, "the records of an append have %zu bytes, over %d",
                       bytes, STORE_APPEND_BYTES_MAX);
    return 0;
}

/* Q1: STORE_REPEATED for the first record that is in the log already. */
static int find_repeated(const struct store *s, const struct store_append *op,
                         struct store_appended *result)
{
    for (size_t i = 0; i < op->n; i++) {
        uint64_t revision = requests_find(&s->requests, op->records[i].request);

        if (revision) {
            result->at = i;
            result->repeated_revision = revision;
            return STORE_REPEATED;
        }
    }
    return 0;
}

/* The contents of each record as rows keep them, in one piece of memory. */
static int pack(struct store *s, const struct store_append *op)
{
    size_t size = 0;
    char *at;

    s->packed.n = 0;
    for (size_t i = 0; i < op->n; i++)
        size += contents_size(op->records[i].contents, op->records[i].n_contents);
    at = s->packing = mem_alloc(size);
    for (size_t i = 0; at && i < op->n; i++) {
        const struct store_record *record = &op->records[i];
        size_t len = contents_size(record->contents, record->n_contents);

        contents_pack(record->contents, record->n_contents, at);
        if (!VEC_PUSH(&s->packed, str_of(at, len)))
            return ERR_NOMEM;
        at += len;
    }
    return at ? 0 : ERR_NOMEM;
}

static struct store_entry entry_of(const struct store *s, const struct store_record *record,
                                   size_t i)
{
    return (struct store_entry){.revision = s->head.revision + 1 + i,
                                .request = record->request,
                                .bytes = record->bytes,
                                .contents = record->contents,
                                .n_contents = record->n_contents,
                                .packed = s->packed.at[i]};
}

/* Makes the chains and enters the request ids, so that nothing can fail once the records are durable. */
static int prepare(struct store *s, const struct store_append *op, struct err *err)
{
    struct sha256 chain = s->head.chain;
    int r = pack(s, op);

    s->chains.n = 0;
    for (size_t i = 0; !r && i < op->n; i++) {
        const struct store_record *record = &op->records[i];
        struct store_entry entry = entry_of(s, record, i);

        if (requests_find(&s->requests, record->request))
            return err_set(err, ERR_INVALID,
                           "record %zu of the append repeats a request id of it", i);
        r = requests_add(&s->requests, record->request, entry.revision);
        chain = store_chain_next(&chain, &entry);
        if (!r && !VEC_PUSH(&s->chains, chain))
            r = ERR_NOMEM;
    }
    return r ? err_set(err, ERR_NOMEM, "out of memory while preparing an append") : 0;
}

/* The records are durable: everybody may know (W2). */
static void publish(struct store *s, const struct store_append *op)
{
    for (size_t i = 0; i < op->n; i++) {
        struct store_entry entry = entry_of(s, &op->records[i], 0);

        entry.packed = s->packed.at[i];
        entry.chain = s->chains.at[i];
        s->head = (struct store_head){.revision = entry.revision, .chain = entry.chain};
        watches_give(s, &entry);
    }
    forget_old_requests(s);
}

/* Others have appended: O3 wants that known before the answer, and Q1 goes before O2. */
static int answer_conflict(struct store *s, const struct store_append *op,
                           struct store_appended *result, struct err *err)
{
    int r = observe_all(s, err);

    if (r)
        return r;
    r = find_repeated(s, op, result);
    return r ? r : STORE_CONFLICT;
}

static int append_at_head(struct store *s, const struct store_append *op,
                          struct store_appended *result, struct err *err)
{
    struct store_batch batch = {.records = op->records, .n = op->n, .before = s->head};
    int r;

    if (op->expected_head != s->head.revision)
        return answer_conflict(s, op, result, err);
    r = find_repeated(s, op, result);
    if (r)
        return r;
    r = prepare(s, op, err);
    if (!r) {
        batch.chains = s->chains.at;
        batch.packed = s->packed.at;
        r = s->engine->append(s, &batch, &result->at, err);
    }
    if (r)
        requests_drop_above(&s->requests, s->head.revision);
    else
        publish(s, op);
    s->packing = mem_free(s->packing); /* may be large, and is not needed between appends */
    return r == STORE_CONFLICT ? answer_conflict(s, op, result, err) : r;
}

static void count_append(struct store *s, const struct store_append *op, int r, nsec_t duration)
{
    struct store_stats *stats = &s->stats;
    size_t bucket = 0;

    if (r) {
        stats->conflicts += r == STORE_CONFLICT || r == STORE_BLOB_GONE;
        stats->repeated += r == STORE_REPEATED;
        stats->failed += r < 0;
        return;
    }
    while (((size_t)1 << bucket) < op->n)
        bucket++;
    stats->groups[bucket]++;
    stats->appends++;
    stats->records += op->n;
    for (size_t i = 0; i < op->n; i++)
        stats->bytes += record_bytes(&op->records[i]);
    stats->append_last = duration;
    stats->append_max = MAX(stats->append_max, duration);
}

int store_append(struct store *s, const struct store_append *op,
                 struct store_appended *ret_appended, struct err *err)
{
    struct store_appended result = {0};
    nsec_t begun = clock_now();
    int r = check_append(op, err);

    ASSERT(!s->is_reader);
    if (!r &&
        op->expected_head > s->head.revision) /* the caller has seen more than this handle */
        r = observe_all(s, err);
    if (!r)
        r = append_at_head(s, op, &result, err);
    count_append(s, op, r, clock_now() - begun);
    if (r < 0)
        return r;
    result.head = s->head;
    *ret_appended = result;
    return r;
}

int store_find_request(struct store *s, struct str request, uint64_t *ret_revision,
                       struct err *err)
{
    int r = observe_all(s, err);
    uint64_t revision;

    if (r)
        return r;
    revision = requests_find(&s->requests, request);
    if (!revision)
        return err_set(err, ERR_NOT_FOUND, "no record has this request id");
    *ret_revision = revision;
    return 0;
}

/* ---- reading ---- */

struct store_head store_head(const struct store *s)
{
    return s->head;
}

int store_catch_up(struct store *s, struct err *err)
{
    return observe_all(s, err);
}

int store_read(struct store *s, uint64_t from, uint64_t to, store_entry_fn *fn, void *ctx,
               struct err *err)
{
    return read_verified(s, STORE_ROWS_LOG, (const uint64_t[]){from, to}, fn, ctx, err);
}

int store_read_kept(struct store *s, uint64_t from, uint64_t to, store_entry_fn *fn, void *ctx,
                    struct err *err)
{
    return read_verified(s, STORE_ROWS_ALL, (const uint64_t[]){from, to}, fn, ctx, err);
}

int store_floor(struct store *s, uint64_t *ret_floor, struct err *err)
{
    struct store_head base;
    int r = s->engine->base(s, &base, err);

    if (r)
        return r;
    *ret_floor = base.revision + 1;
    return 0;
}

/* ---- marks ---- */

int store_mark(struct store *s, const struct store_mark *marks, size_t n, uint64_t upto,
               struct err *err)
{
    ASSERT(!s->is_reader);
    if (n > STORE_MARKS_MAX)
        return err_set(err, ERR_INVALID, "at most %d marks in one call", STORE_MARKS_MAX);
    if (upto > s->head.revision)
        return err_set(err, ERR_INVALID, "the log ends before revision %" PRIu64, upto);
    for (size_t i = 0; i < n; i++)
        if (marks[i].key.len == 0 || marks[i].key.len > STORE_MARK_KEY_MAX)
            return err_set(err, ERR_INVALID, "a mark has a key of %zu bytes", marks[i].key.len);
    return s->engine->mark(s, marks, n, upto, err);
}

int store_marked(struct store *s, uint64_t *ret_upto, struct err *err)
{
    struct store_head head;
    uint64_t upto = 0;
    int r = s->engine->head(s, &head, err);

    if (!r)
        r = s->engine->marked(s, &upto, err);
    if (!r)
        *ret_upto = upto > head.revision ? 0 : upto; /* it was altered */
    return r;
}

int store_mark_find(struct store *s, struct str key, uint64_t number,
                    struct store_mark *ret_mark, struct err *err)
{
    struct store_mark mark = {0};
    int r = s->engine->mark_find(s, key, number, &mark, err);

    if (!r)
        *ret_mark = mark;
    return r;
}

/* ---- care ---- */

struct store_stats store_stats(const struct store *s)
{
    struct store_stats stats = s->stats;

    stats.requests_known = s->requests.by_id.n;
    return stats;
}

int store_verify(struct store *s, struct err *err)
{
    int r = observe_all(s, err);

    return r ? r
             : read_verified(s, STORE_ROWS_ALL, (const uint64_t[]){1, s->head.revision}, NULL,
                             NULL, err);
}

int store_check(struct store *s, struct err *err)
{
    int r = s->engine->check(s, err);

    if (r)
        return r;
    r = store_verify(s, err);
    if (r)
        return r;
    return snapshots_check(s, err);
}

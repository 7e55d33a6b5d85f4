/*
 * Helpers of the store's tests. See kit.h.
 */
#include "kit.h"

#include "base/alloc.h"

#include <inttypes.h>

struct str kit_bytes(uint64_t revision, char out[256])
{
    size_t len = 20 + (size_t)(revision * 37 % 200);
    int n = snprintf(out, 256, "record %" PRIu64 ":", revision);

    memset(out + n, (int)('a' + revision % 26), 256 - (size_t)n);
    return str_of(out, MAX(len, (size_t)n));
}

struct str kit_request(uint64_t number, char out[32])
{
    int n = snprintf(out, 32, "req-%" PRIu64, number);

    return str_of(out, (size_t)n);
}

int gather_record(void *ctx, const struct store_entry *entry)
{
    struct gather *g = ctx;
    char text[256], id[32];

    if (g->stop_at && g->n == g->stop_at)
        return GATHER_STOPPED;
    if (g->n < GATHER_MAX)
        g->revisions[g->n] = entry->revision;
    g->n++;
    if (!str_eq(entry->bytes, kit_bytes(entry->revision, text)) ||
        !str_eq(entry->request, kit_request(entry->revision, id)))
        g->altered = true;
    return 0;
}

void gather_ended(void *ctx, int why)
{
    struct gather *g = ctx;

    g->ended = why;
    g->n_ended++;
}

bool gather_is(const struct gather *g, uint64_t from, uint64_t to)
{
    if (g->altered || g->n != to + 1 - from)
        return false;
    for (size_t i = 0; i < g->n; i++)
        if (g->revisions[i] != from + i)
            return false;
    return true;
}

enum { KIT_APPEND_MAX = 128 };

int kit_append(struct store *s, size_t n, struct err *err)
{
    char texts[KIT_APPEND_MAX][256], ids[KIT_APPEND_MAX][32];
    struct store_record records[KIT_APPEND_MAX];
    struct store_append op = {
        .records = records, .n = n, .expected_head = store_head(s).revision};
    struct store_appended done;

    memset(records, 0, sizeof(records));
    for (size_t i = 0; i < n; i++) {
        records[i].request = kit_request(op.expected_head + 1 + i, ids[i]);
        records[i].bytes = kit_bytes(op.expected_head + 1 + i, texts[i]);
    }
    return store_append(s, &op, &done, err);
}

static char snapshot_byte(uint64_t revision, size_t at)
{
    return (char)(revision * 131 + at * 7 + (at >> 12));
}

int kit_snapshot(struct store *s, uint64_t revision, size_t bytes, struct err *err)
{
    owned(store_snapshot_free) struct store_snapshot *snapshot = NULL;
    char piece[1000];
    int r = store_snapshot_new(s, revision, &snapshot, err);

    for (size_t at = 0; !r && at < bytes;) {
        size_t len = MIN(sizeof(piece), bytes - at);

        for (size_t i = 0; i < len; i++)
            piece[i] = snapshot_byte(revision, at + i);
        r = store_snapshot_add(snapshot, str_of(piece, len), err);
        at += len;
    }
    return r ? r : store_snapshot_commit(snapshot, err);
}

struct reading {
    struct store_snapshot_info info;
    size_t at;
    bool wrong;
};

static int compare_chunk(void *ctx, struct str bytes)
{
    struct reading *reading = ctx;

    for (size_t i = 0; i < bytes.len; i++)
        if (bytes.data[i] != snapshot_byte(reading->info.revision, reading->at++))
            reading->wrong = true;
    return 0;
}

int kit_read_snapshot(struct store *s, struct store_snapshot_info *ret_info, bool *ret_right,
                      struct err *err)
{
    struct reading reading = {0};
    int r = store_snapshot_read(s, compare_chunk, &reading, &reading.info, err);

    if (r)
        return r;
    *ret_info = reading.info;
    *ret_right = !reading.wrong && reading.at == reading.info.bytes;
    return 0;
}

int kit_blob(struct store *s, const char *text, struct sha256 *ret_hash, struct err *err)
{
    *ret_hash = sha256_of(str_c(text));
    return store_blob_put(s, ret_hash, str_c(text), err);
}

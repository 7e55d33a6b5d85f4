/*
 * The high-water mark in its file. See highwater.h.
 */
#include "store/highwater.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "store/core.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

/* A slot is a line of text padded to its size: what it is, a number that grows, the store, revision, chain, sum. */
enum { SLOTS = 2, SLOT_BYTES = 256, SUM_BYTES = 8, ID_HEX = 2 * STORE_ID_BYTES };

#define HIGHWATER_TITLE "trimtab-high-water-1"

struct highwater {
    int fd;
    uint64_t sequence; /* of the last slot written */
    bool is_dirty;
};

/* ---- a slot ---- */

static void sum_of(struct str text, char hex[2 * SUM_BYTES + 1])
{
    struct sha256 hash = sha256_of(text);

    hex_encode(hash.bytes, SUM_BYTES, hex);
}

static void format_slot(uint64_t sequence, const struct highwater_mark *mark,
                        char out[SLOT_BYTES + 1])
{
    char id[ID_HEX + 1], chain[SHA256_HEX_BYTES + 1], sum[2 * SUM_BYTES + 1];
    int n;

    hex_encode(mark->store.bytes, STORE_ID_BYTES, id);
    hex_encode(mark->head.chain.bytes, SHA256_BYTES, chain);
    n = snprintf(out, SLOT_BYTES + 1, HIGHWATER_TITLE " %" PRIu64 " %s %" PRIu64 " %s", sequence, id,
                 mark->head.revision, chain);
    sum_of(str_of(out, (size_t)n), sum);
    n += snprintf(out + n, SLOT_BYTES + 1 - (size_t)n, " %s\n", sum);
    memset(out + n, '\n', SLOT_BYTES - (size_t)n);
}

static bool parse_slot(struct str slot, uint64_t *ret_sequence, struct highwater_mark *mark)
{
    struct str line = str_part(slot, 0, str_index(slot, '\n')), rest = line, words[6];
    char sum[2 * SUM_BYTES + 1];
    size_t n = 0;

    while (n < ARRAY_LEN(words) && str_next(&rest, ' ', &words[n]))
        n++;
    if (n < ARRAY_LEN(words) || words[5].len != 2 * SUM_BYTES)
        return false;
    sum_of(str_part(line, 0, line.len - words[5].len - 1), sum);
    return str_eq(words[5], str_c(sum)) && str_eq(words[0], STR(HIGHWATER_TITLE)) &&
           str_u64(words[1], ret_sequence) &&
           hex_decode(words[2], mark->store.bytes, STORE_ID_BYTES) &&
           str_u64(words[3], &mark->head.revision) &&
           hex_decode(words[4], mark->head.chain.bytes, SHA256_BYTES);
}

static int read_slots(const char *path, uint64_t *ret_sequence, struct highwater_mark *ret_mark,
                      struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(SLOTS * SLOT_BYTES + 1);
    int r = file_read(path, &text, err);
    bool found = false;

    if (r && r != ERR_LIMIT)
        return r;
    for (size_t i = 0; i < SLOTS; i++) {
        struct str slot = str_part(buf_str(&text), i * SLOT_BYTES, (i + 1) * SLOT_BYTES);
        struct highwater_mark mark;
        uint64_t sequence;

        if (!parse_slot(slot, &sequence, &mark) || (found && sequence <= *ret_sequence))
            continue;
        found = true;
        *ret_sequence = sequence;
        *ret_mark = mark;
    }
    return found ? 0 : err_set(err, ERR_CORRUPT, "%s has no high-water mark in it", path);
}

int highwater_read(const char *path, struct highwater_mark *ret_mark, struct err *err)
{
    uint64_t sequence = 0;

    return read_slots(path, &sequence, ret_mark, err);
}

/* ---- writing ---- */

int highwater_open(const char *path, struct highwater **ret, struct err *err)
{
    struct highwater *h = NEW(struct highwater);
    struct highwater_mark mark;
    int r;

    if (!h)
        return err_set(err, ERR_NOMEM, "out of memory for the high-water mark");
    r = read_slots(path, &h->sequence, &mark, err);
    if (r == ERR_NOT_FOUND || r == ERR_CORRUPT)
        r = 0; /* the first one; one that cannot be read is replaced */
    h->fd = r ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (!r && h->fd < 0)
        r = err_set_errno(err, "cannot open %s", path);
    if (!r)
        r = file_sync_parent(path, err);
    if (r) {
        if (h->fd >= 0)
            (void)close(h->fd); /* nothing was written */
        (void)mem_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

int highwater_note(struct highwater *h, const struct highwater_mark *mark, struct err *err)
{
    char slot[SLOT_BYTES + 1];
    uint64_t sequence = h->sequence + 1;
    ssize_t n;

    format_slot(sequence, mark, slot);
    do
        n = pwrite(h->fd, slot, SLOT_BYTES, (off_t)(sequence % SLOTS * SLOT_BYTES));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set_errno(err, "cannot write the high-water mark");
    if (n != SLOT_BYTES)
        return err_set(err, ERR_IO, "the high-water mark was written in part");
    h->sequence = sequence;
    h->is_dirty = true;
    return 0;
}

int highwater_sync(struct highwater *h, struct err *err)
{
    if (!h->is_dirty)
        return 0;
    if (fdatasync(h->fd))
        return err_set_errno(err, "cannot sync the high-water mark");
    h->is_dirty = false;
    return 0;
}

struct highwater *highwater_close(struct highwater *h)
{
    if (!h)
        return NULL;
    if (highwater_sync(h, NULL))
        h->is_dirty = false; /* as after a loss of power: the mark may be behind */
    (void)close(h->fd);      /* nothing is buffered */
    return mem_free(h);
}

/* ---- comparing ---- */

int highwater_check(struct store *s, const struct highwater_mark *mark, struct err *err)
{
    struct store_identity identity;
    struct store_head head;
    struct sha256 chain;
    int r = store_identity(s, &identity, err);

    if (r)
        return r;
    head = store_head(s);
    if (memcmp(identity.id.bytes, mark->store.bytes, STORE_ID_BYTES) != 0)
        return err_set(err, ERR_CORRUPT,
                       "the database is not the store that this data folder had");
    if (head.revision < mark->head.revision)
        return err_set(err, ERR_CORRUPT,
                       "the log ends at revision %" PRIu64 ", but %" PRIu64 " was acknowledged",
                       head.revision, mark->head.revision);
    r = chain_at(s, mark->head.revision, &chain, err);
    if (r == ERR_INVALID)
        return 0; /* compacted */
    if (r)
        return r;
    return sha256_eq(&chain, &mark->head.chain)
               ? 0
               : err_set(err, ERR_CORRUPT,
                         "revision %" PRIu64 " is not the one that was acknowledged",
                         mark->head.revision);
}

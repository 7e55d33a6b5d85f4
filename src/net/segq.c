/*
 * Queue of segments. See segq.h.
 */
#include "net/segq.h"

#include "base/alloc.h"

static struct segq_entry *entries(struct segq *q)
{
    return q->at ? q->at : q->inlined;
}

static void back_to_start(struct segq *q)
{
    q->first = q->n = 0;
    q->cap = 0;
    q->at = mem_free(q->at);
}

void segq_deinit(struct segq *q)
{
    struct segq_entry *at = entries(q);

    for (uint32_t i = q->first; i < q->first + q->n; i++)
        (void)shared_unref(at[i].owner);
    back_to_start(q);
    q->bytes = 0;
}

/* Room for more entries behind the last. */
static int make_room(struct segq *q, size_t more)
{
    uint32_t cap = q->at ? q->cap : SEGQ_INLINE;
    struct segq_entry *grown, *at = entries(q);
    size_t want;

    if (q->first + q->n + more <= cap)
        return 0;
    if (q->n + more <= cap && q->first >= cap / 2) {
        memmove(at, at + q->first, q->n * sizeof(*at));
        q->first = 0;
        return 0;
    }
    want = MAX((size_t)cap * 2, size_add(q->n, more));
    if (want > UINT32_MAX / 2)
        return ERR_NOMEM;
    grown = mem_alloc(want * sizeof(*grown));
    if (!grown)
        return ERR_NOMEM;
    memcpy(grown, at + q->first, q->n * sizeof(*at));
    (void)mem_free(q->at);
    q->at = grown;
    q->cap = (uint32_t)want;
    q->first = 0;
    return 0;
}

static void append(struct segq *q, struct segq_entry entry)
{
    entries(q)[q->first + q->n++] = entry;
    q->bytes += entry.len;
}

static struct segq_entry small_entry(struct str bytes)
{
    struct segq_entry entry = {.owner = NULL, .len = bytes.len};

    memcpy(entry.small, bytes.data, bytes.len);
    return entry;
}

/* What has no owner is copied together into one. */
static int copy_unowned(const struct segment *segments, size_t n, struct shared **ret_copies)
{
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        if (!segments[i].owner && segments[i].bytes.len > SEGQ_SMALL)
            total = size_add(total, segments[i].bytes.len);
    *ret_copies = NULL;
    if (!total)
        return 0;
    *ret_copies = shared_new(total);
    return *ret_copies ? 0 : ERR_NOMEM;
}

int segq_put(struct segq *q, struct str prefix, const struct segment *segments, size_t n)
{
    struct shared *copies;
    size_t copied = 0;

    if (make_room(q, size_add(n, 1)) || copy_unowned(segments, n, &copies))
        return ERR_NOMEM;
    if (prefix.len)
        append(q, small_entry(prefix));
    for (size_t i = 0; i < n; i++) {
        struct str bytes = segments[i].bytes;

        if (!bytes.len)
            continue;
        if (segments[i].owner) {
            append(q,
                   (struct segq_entry){shared_ref(segments[i].owner), bytes.len, {bytes.data}});
        } else if (bytes.len <= SEGQ_SMALL) {
            append(q, small_entry(bytes));
        } else {
            ASSERT(copies); /* which copy_unowned made for these */
            memcpy(copies->data + copied, bytes.data, bytes.len);
            append(q,
                   (struct segq_entry){shared_ref(copies), bytes.len, {copies->data + copied}});
            copied += bytes.len;
        }
    }
    (void)shared_unref(copies);
    return 0;
}

int segq_put_owned(struct segq *q, struct shared *owner)
{
    if (make_room(q, 1))
        return ERR_NOMEM;
    if (owner->len)
        append(q, (struct segq_entry){owner, owner->len, {owner->data}});
    else
        (void)shared_unref(owner);
    return 0;
}

static void take_part(struct segq_entry *e, size_t len, struct gather *g)
{
    if (e->owner) {
        gather_put(g, shared_ref(e->owner), str_of(e->data, len));
        e->data += len;
    } else {
        gather_copy(g, e->small, len);
        memmove(e->small, e->small + len, e->len - len);
    }
    e->len -= len;
}

void segq_take(struct segq *q, size_t len, struct gather *g)
{
    ASSERT(len <= q->bytes);
    q->bytes -= len;
    while (len) {
        struct segq_entry *e = &entries(q)[q->first];

        if (e->len > len) {
            take_part(e, len, g);
            return;
        }
        len -= e->len;
        if (e->owner)
            gather_put(g, e->owner, str_of(e->data, e->len)); /* the reference moves along */
        else
            gather_copy(g, e->small, e->len);
        q->first++;
        q->n--;
    }
    if (!q->n)
        back_to_start(q);
}

/*
 * The rows of the local copy. See copy_rows.h. Numbers are eight bytes, most significant first; texts have their
 * length in front.
 */
#include "sync/copy_rows.h"

#include "proto/convert.h"
#include "sync/stage.h"

enum { HEAD_FORMAT = 1 };

/* ---- writing and reading ---- */

static void put_u64(struct buf *out, uint64_t v)
{
    unsigned char bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(v >> (56 - 8 * i));
    buf_put(out, bytes, sizeof(bytes));
}

static void put_text(struct buf *out, struct str s)
{
    put_u64(out, s.len);
    buf_put_str(out, s);
}

static void put_digest(struct buf *out, struct digest d)
{
    unsigned char bytes[DIGEST_BYTES];

    digest_put(d, bytes);
    put_text(out, str_of(bytes, sizeof(bytes)));
}

/* Reads on; the first failure is remembered, and everything after it is empty. */
struct reader {
    struct str rest;
    bool failed;
};

static uint64_t get_u64(struct reader *r)
{
    uint64_t v = 0;

    if (r->rest.len < 8) {
        r->failed = true;
        r->rest = STR_NULL;
        return 0;
    }
    for (size_t i = 0; i < 8; i++)
        v = v << 8 | (unsigned char)r->rest.data[i];
    r->rest = str_from(r->rest, 8);
    return v;
}

static struct str get_text(struct reader *r)
{
    uint64_t len = get_u64(r);
    struct str s;

    if (len > r->rest.len) {
        r->failed = true;
        r->rest = STR_NULL;
        return STR_NULL;
    }
    s = str_part(r->rest, 0, len);
    r->rest = str_from(r->rest, len);
    return s;
}

static void get_bytes(struct reader *r, void *out, size_t len)
{
    struct str s = get_text(r);

    if (s.len == len)
        memcpy(out, s.data, len);
    else
        r->failed = true;
}

static struct digest get_digest(struct reader *r)
{
    struct digest d = DIGEST_NULL;

    if (!digest_get(get_text(r), &d))
        r->failed = true;
    return d;
}

/* ---- the head ---- */

void copy_head_encode(const struct copy_head *h, struct buf *out)
{
    put_u64(out, HEAD_FORMAT);
    put_text(out, str_c(h->instance));
    put_text(out, str_of(h->subscription.bytes, SHA256_BYTES));
    put_text(out, str_of(h->cursor.store_id, SYNC_STORE_ID_BYTES));
    put_u64(out, h->cursor.revision);
    put_digest(out, h->cursor.digest);
    put_u64(out, h->cursor.count);
    put_u64(out, h->applied);
    put_u64(out, h->n_rows);
    put_digest(out, h->rows);
    if (h->cursor.has_mark)
        put_text(out, str_of(h->cursor.mark, SYNC_MARK_BYTES));
}

bool copy_head_decode(struct str bytes, struct copy_head *ret_head)
{
    struct reader r = {.rest = bytes};
    struct copy_head h = {.instance = ""};
    struct str instance;

    if (get_u64(&r) != HEAD_FORMAT)
        return false;
    instance = get_text(&r);
    if (instance.len > COPY_INSTANCE_MAX)
        return false;
    if (instance.len)
        memcpy(h.instance, instance.data, instance.len);
    get_bytes(&r, h.subscription.bytes, SHA256_BYTES);
    get_bytes(&r, h.cursor.store_id, SYNC_STORE_ID_BYTES);
    h.cursor.revision = get_u64(&r);
    h.cursor.digest = get_digest(&r);
    h.cursor.count = get_u64(&r);
    h.applied = get_u64(&r);
    h.n_rows = get_u64(&r);
    h.rows = get_digest(&r);
    h.cursor.has_mark = r.rest.len > 0; /* a copy from before there were marks has none */
    if (h.cursor.has_mark)
        get_bytes(&r, h.cursor.mark, SYNC_MARK_BYTES);
    if (r.failed || r.rest.len)
        return false;
    *ret_head = h;
    return true;
}

/* ---- rows ---- */

struct sha256 copy_row_proof(enum copy_what what, struct str key, struct str body)
{
    char front[32];
    int n = snprintf(front, sizeof(front), "%d %zu ", (int)what, key.len);
    struct str parts[] = {STR("trimtab copy 1 "), str_of(front, (size_t)n), key, body};

    return sha256_of_parts(parts, ARRAY_LEN(parts));
}

void copy_key_put(struct str scope, struct str tail, struct buf *out)
{
    buf_put_str(out, scope);
    buf_put_byte(out, '\0');
    buf_put_str(out, tail);
}

bool copy_key_split(struct str key, struct str *ret_scope, struct str *ret_tail)
{
    size_t nul = str_index(key, '\0');

    if (nul == key.len)
        return false;
    *ret_scope = str_part(key, 0, nul);
    *ret_tail = str_from(key, nul + 1);
    return str_index(*ret_tail, '\0') < ret_tail->len;
}

static char *id_text(struct arena *a, struct str key)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    key_put_id(key, &id);
    return arena_c(a, buf_status(&id) ? STR("") : buf_str(&id));
}

void copy_item_encode(const struct version *v, struct buf *out)
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__Item item = TRIMTAB__V1__ITEM__INIT;
    size_t size;
    char *at;

    item.id = id_text(&a, v->key);
    item.version = v->number;
    item.revision = v->revision;
    item.content_type = arena_c(&a, v->content_type);
    item.metadata = meta_to_proto(v->meta, META_DELIVERED, &a);
    item.references = references_to_proto(v->references, &item.n_references, &a);
    item.size = v->content.len;
    item.content_hash = proto_bytes(str_of(v->content_hash.bytes, SHA256_BYTES));
    item.content = proto_bytes(v->content);
    if (arena_failed(&a)) {
        out->status = out->status ? out->status : ERR_NOMEM;
        return;
    }
    size = trimtab__v1__item__get_packed_size(&item);
    at = buf_room(out, size);
    if (at)
        buf_added(out, trimtab__v1__item__pack(&item, (uint8_t *)at));
}

/* Tells whether memory ran out: that must never be mistaken for a broken copy. */
static void *alloc_noting(void *ctx, size_t size)
{
    void *p = mem_alloc(size);

    if (!p)
        *(bool *)ctx = true;
    return p;
}

static void free_noting(void *ctx, void *p)
{
    (void)ctx;
    (void)mem_free(p);
}

int copy_item_decode(struct str body, struct version **ret, struct err *err)
{
    bool without_memory = false;
    ProtobufCAllocator allocator = {alloc_noting, free_noting, &without_memory};
    Trimtab__V1__Item *item =
        trimtab__v1__item__unpack(&allocator, body.len, (const uint8_t *)body.data);
    struct shared *bytes;
    int r = ERR_NOMEM;

    if (!item && without_memory)
        return ERR_NOMEM;
    if (!item)
        return err_set(err, ERR_CORRUPT, "an item of the local copy cannot be read");
    bytes = shared_copy(proto_str(item->content));
    if (bytes)
        r = version_received(item, bytes, ret, err);
    (void)shared_unref(bytes);
    trimtab__v1__item__free_unpacked(item, &allocator);
    return r == ERR_INVALID || r == ERR_LIMIT ? ERR_CORRUPT : r;
}

void copy_held_encode(const struct sync_held *h, struct buf *out)
{
    owned(buf) struct buf item = BUF_NULL(out->ceiling);

    copy_item_encode(h->item, &item);
    if (buf_status(&item)) {
        out->status = out->status ? out->status : buf_status(&item);
        return;
    }
    put_u64(out, h->since);
    put_u64(out, h->is_needed);
    put_text(out, buf_str(&item));
}

int copy_held_decode(struct str body, struct sync_held *ret_held, struct err *err)
{
    struct reader r = {.rest = body};
    struct str item;

    *ret_held = (struct sync_held){.since = get_u64(&r)};
    ret_held->is_needed = get_u64(&r) != 0;
    item = get_text(&r);
    if (r.failed || r.rest.len)
        return err_set(err, ERR_CORRUPT, "what is held by the local copy cannot be read");
    return copy_item_decode(item, &ret_held->item, err);
}

void copy_served_encode(const struct copy_served *s, struct str item, struct buf *out)
{
    put_u64(out, s->batch);
    put_u64(out, s->group);
    put_text(out, s->code);
    put_text(out, s->message);
    put_text(out, s->held_by);
    put_text(out, item);
}

int copy_served_decode(struct str body, struct copy_served *ret_served, struct err *err)
{
    struct reader r = {.rest = body};
    struct str item;

    *ret_served = (struct copy_served){.batch = get_u64(&r)};
    ret_served->group = get_u64(&r);
    ret_served->code = get_text(&r);
    ret_served->message = get_text(&r);
    ret_served->held_by = get_text(&r);
    item = get_text(&r);
    if (r.failed || r.rest.len)
        return err_set(err, ERR_CORRUPT, "a refusal of the local copy cannot be read");
    return item.len ? copy_item_decode(item, &ret_served->served, err) : 0;
}

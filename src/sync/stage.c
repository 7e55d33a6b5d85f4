/*
 * Staging. See stage.h. Every content is hashed here, once, when it is complete: what does not have the hash that was
 * announced never gets further.
 */
#include "sync/stage.h"

#include "model/commit.h"
#include "proto/convert.h"

/* A content on its way in parts. */
struct stage_content {
    struct sha256 hash;
    size_t received;
    struct shared *bytes;
};

struct binding *binding_new(struct str scope, struct str tail, struct version *item)
{
    struct binding *b = mem_alloc(size_add(sizeof(*b), size_add(scope.len, tail.len) + 1));

    if (!b)
        return NULL;
    b->item = version_ref(item);
    b->is_uncaused = false;
    b->scope_len = scope.len;
    b->len = scope.len + 1 + tail.len;
    if (scope.len)
        memcpy(b->key, scope.data, scope.len);
    b->key[scope.len] = '\0';
    memcpy(b->key + scope.len + 1, tail.data, tail.len);
    return b;
}

struct binding *binding_free(struct binding *b)
{
    if (b)
        (void)version_unref(b->item);
    return mem_free(b);
}

static void content_free(struct stage_content *c)
{
    (void)shared_unref(c->bytes);
    (void)mem_free(c);
}

void stage_clear(struct stage *s)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&s->changes, &at)))
        (void)binding_free(slot->value);
    at = 0;
    while ((slot = map_each(&s->keep, &at)))
        (void)binding_free(slot->value);
    at = 0;
    while ((slot = map_each(&s->parts, &at)))
        content_free(slot->value);
    map_deinit(&s->changes);
    map_deinit(&s->keep);
    map_deinit(&s->parts);
    s->is_complete = false;
    s->n_uncaused = 0;
    s->bytes = 0;
}

static int add_bytes(struct stage *s, size_t n, struct err *err)
{
    if (n > STAGE_BYTES_MAX - s->bytes)
        return err_set(err, ERR_LIMIT, "a batch of more than %d bytes", STAGE_BYTES_MAX);
    s->bytes += n;
    return 0;
}

/* ---- parts ---- */

static struct stage_content *content_new(struct stage *s, struct str hash, size_t size)
{
    struct stage_content *c = NEW(struct stage_content);

    if (!c)
        return NULL;
    memcpy(c->hash.bytes, hash.data, SHA256_BYTES);
    c->bytes = shared_new(size);
    if (!c->bytes || !map_put(&s->parts, str_of(c->hash.bytes, SHA256_BYTES), c, NULL)) {
        content_free(c);
        return NULL;
    }
    return c;
}

int stage_part(struct stage *s, const Trimtab__V1__Part *part, struct err *err)
{
    struct str hash = proto_str(part->content_hash), data = proto_str(part->data);
    struct stage_content *c;
    int r;

    if (hash.len != SHA256_BYTES || part->size > CONTENT_BYTES_MAX)
        return err_set(err, ERR_INVALID, "a part with a wrong hash or size");
    c = map_get(&s->parts, hash);
    if (c && part->offset == 0 && part->size == c->bytes->len)
        c->received = 0; /* sent again from its beginning */
    if (!c) {
        r = add_bytes(s, part->size, err);
        if (r)
            return r;
        c = content_new(s, hash, part->size);
    }
    if (!c)
        return ERR_NOMEM;
    if (part->offset != c->received || data.len > c->bytes->len - c->received)
        return err_set(err, ERR_INVALID, "a part out of order");
    if (data.len)
        memcpy(c->bytes->data + c->received, data.data, data.len);
    c->received += data.len;
    return 0;
}

/* ---- changes ---- */

static bool is_referred(struct str scope)
{
    return str_eq(scope, SCOPE_REFERRED);
}

/* Replaces an earlier word of the same batch on this name. */
static int put(struct map *words, struct binding *b)
{
    void *old = NULL;

    if (!b)
        return ERR_NOMEM;
    if (!map_put(words, binding_key(b), b, &old)) {
        (void)binding_free(b);
        return ERR_NOMEM;
    }
    (void)binding_free(old);
    return 0;
}

/* The bytes of an item: inside it, or put together before. *ret is a new reference. */
static int item_bytes(struct stage *s, const Trimtab__V1__Item *item, struct shared **ret,
                      struct err *err)
{
    struct stage_content *c;

    if (!item->in_parts) {
        *ret = shared_copy(proto_str(item->content));
        return *ret ? add_bytes(s, item->content.len, err) : ERR_NOMEM;
    }
    c = item->content_hash.len == SHA256_BYTES
            ? map_get(&s->parts, proto_str(item->content_hash))
            : NULL;
    if (!c || c->received != c->bytes->len)
        return err_set(err, ERR_INVALID, "the parts of %s are not complete", item->id);
    *ret = shared_ref(c->bytes);
    return 0;
}

int version_received(const Trimtab__V1__Item *item, struct shared *bytes, struct version **ret,
                     struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct version_opts o;
    struct sha256 hash = sha256_of(shared_str(bytes));
    int r = item_from_proto(item, shared_str(bytes), &a, &o, err);

    if (r)
        return r;
    if (!str_eq(proto_str(item->content_hash), str_of(hash.bytes, SHA256_BYTES)))
        return err_set(err, ERR_INVALID, "the content of %s is not what was announced",
                       item->id);
    o.wire = bytes;
    o.content_hash = &hash;
    *ret = version_new(&o);
    return *ret ? 0 : ERR_NOMEM;
}

static int stage_item(struct stage *s, struct str scope, const Trimtab__V1__Item *item,
                      struct err *err)
{
    owned(version_unref) struct version *v = NULL;
    owned(shared_unref) struct shared *bytes = NULL;
    struct name name;
    int r = item_bytes(s, item, &bytes, err);

    if (!r)
        r = version_received(item, bytes, &v, err);
    if (r)
        return r;
    name = key_name(v->key);
    return put(&s->changes,
               binding_new(scope, str_from(v->key, is_referred(scope) ? 0 : name.space.len + 1),
                           v));
}

/* "kind/name" as kind NUL name; of what is referred to, an id as a key. */
static int put_tail(struct str scope, struct str text, struct buf *out, struct err *err)
{
    size_t slash = str_index(text, '/');
    struct name name;

    if (is_referred(scope)) {
        if (name_parse(text, &name, err))
            return ERR_INVALID;
        name_put_key(name, out);
        return buf_status(out);
    }
    if (slash == text.len)
        return err_set(err, ERR_INVALID, "a drop is written kind/name");
    buf_put_str(out, str_part(text, 0, slash));
    buf_put_byte(out, '\0');
    buf_put_str(out, str_from(text, slash + 1));
    return buf_status(out);
}

/* A name without an item, among the changes (unbound) or among what is kept. */
static int stage_name(struct map *words, struct str scope, const char *text, struct err *err)
{
    owned(buf) struct buf tail = BUF_NULL(ID_BYTES_MAX);
    int r = put_tail(scope, str_c(text), &tail, err);

    return r ? r : put(words, binding_new(scope, buf_str(&tail), NULL));
}

/* A drop that was staged just before has no cause. */
static int stage_uncaused(struct stage *s, struct str scope, const char *text, struct err *err)
{
    owned(buf) struct buf key = BUF_NULL((size_t)2 * ID_BYTES_MAX);
    struct binding *drop;
    int r;

    buf_put_str(&key, scope);
    buf_put_byte(&key, '\0');
    r = put_tail(scope, str_c(text), &key, err);
    drop = r ? NULL : map_get(&s->changes, buf_str(&key));
    if (r)
        return r;
    if (!drop || drop->item)
        return err_set(err, ERR_INVALID, "what is named as without a cause is not dropped: %s",
                       text);
    drop->is_uncaused = true;
    s->n_uncaused++;
    return 0;
}

int stage_changes(struct stage *s, const Trimtab__V1__Changes *changes, struct err *err)
{
    struct str scope = str_c(changes->scope);
    int r = 0;

    if (s->changes.n + changes->n_put + changes->n_drop > STAGE_CHANGES_MAX ||
        s->keep.n + changes->n_keep > STAGE_CHANGES_MAX)
        return err_set(err, ERR_LIMIT, "a batch of more than %d changes", STAGE_CHANGES_MAX);
    if ((changes->complete || changes->n_keep) && !is_referred(scope))
        return err_set(err, ERR_INVALID, "only what is referred to comes complete");
    s->is_complete |= changes->complete;
    for (size_t i = 0; i < changes->n_put && !r; i++)
        r = stage_item(s, scope, changes->put[i], err);
    for (size_t i = 0; i < changes->n_drop && !r; i++)
        r = stage_name(&s->changes, scope, changes->drop[i], err);
    for (size_t i = 0; i < changes->n_keep && !r; i++)
        r = stage_name(&s->keep, scope, changes->keep[i], err);
    for (size_t i = 0; i < changes->n_uncaused && !r; i++)
        r = stage_uncaused(s, scope, changes->uncaused[i], err);
    return r;
}

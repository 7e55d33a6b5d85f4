/*
 * What the view of a session is, at the feed's state: what cutting, judging and ordering ask of it. See feed.h.
 */
#include "feed/internal.h"

const struct closure *session_closure(const struct feed_session *s)
{
    return s->gray.is_in ? &s->gray.closure : &s->class->closure;
}

struct digest session_digest(const struct feed_session *s, uint64_t *ret_count)
{
    struct digest sum = DIGEST_NULL;

    *ret_count = 0;
    if (s->class)
        sum = feed_class_digest(s->class, ret_count);
    *ret_count += (uint64_t)s->gray.count;
    return digest_add(sum, s->gray.digest);
}

bool session_is_behind(const struct feed_session *s)
{
    return s->status.changed > s->status.sent && !s->pending;
}

bool session_wants(const struct feed_session *s, struct name name)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);

    for (size_t i = 0; s->class && i < s->class->n_scopes; i++) {
        const struct scope *scope = s->class->scopes[i];
        size_t layer;

        if (scope_has_layer(scope, name.space, &layer) &&
            scope_selects(scope, name.kind, name.name))
            return true;
    }
    if (s->class && session_closure(s)->n_withheld)
        return true; /* what is withheld refers to what the closure does not have */
    if (!s->class || !session_closure(s)->entries)
        return false;
    name_put_key(name, &key);
    return buf_status(&key) || closure_find(session_closure(s), buf_str(&key));
}

void session_changed(struct feed_session *s)
{
    if (s->is_changed || !s->feed->opts.changed)
        return;
    s->is_changed = true;
    s->feed->opts.changed(s->ctx);
}

struct str mark_rights(const struct feed_class *c, const struct closure *closure,
                       unsigned char bytes[MARK_RIGHTS_BYTES])
{
    struct str readable = readable_identity(c->readable);

    if (!readable.len)
        return STR("");
    memcpy(bytes, readable.data, SHA256_BYTES);
    digest_put(closure->withheld_names, bytes + SHA256_BYTES);
    return str_of(bytes, MARK_RIGHTS_BYTES);
}

void feed_mark_put(const struct feed_class *c, const struct closure *closure,
                   const struct feed *f, uint64_t revision, unsigned char out[MARK_BYTES])
{
    unsigned char bytes[MARK_RIGHTS_BYTES];
    struct marked of = {str_of(f->opts.store_id, FEED_STORE_ID_BYTES), revision,
                        mark_rights(c, closure, bytes)};

    mark_make(f->opts.key, &of, out);
}

void session_withheld(struct feed_session *s, const struct closure *sent)
{
    bool is_due = s->status.changed <= s->status.sent;
    struct tree *before = s->withheld_sent;

    s->withheld_sent = tree_ref(is_due ? session_closure(s)->withheld : sent->withheld);
    (void)tree_unref(before);
}

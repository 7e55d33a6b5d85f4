/*
 * Frames of a batch. Contents are referenced, everything between them lies in one piece of glue:
 *
 *   segments:  glue [changes head, scope, drops, small puts] | put in wire of v1 | glue [...] | put ... | glue [end]
 *
 * Puts smaller than COPY_MAX are cheaper to copy than to reference.
 */
#include "feed/encode.h"

#include "proto/convert.h"
#include "proto/wire.h"

enum {
    COPY_MAX = 512,
    FIELD_FRAME_PART = 2,
    FIELD_FRAME_CHANGES = 3,
    FIELD_FRAME_END = 4,
    FIELD_CHANGES_SCOPE = 1,
    FIELD_CHANGES_DROP = 3,
    FIELD_PART_DATA = 15,
};

void encode_drop(struct buf *out, struct str tail)
{
    size_t nul = str_index(tail, '\0');
    char head[16];

    buf_put(out, head, (size_t)(wire_put_head(head, FIELD_CHANGES_DROP, tail.len) - head));
    buf_put_str(out, str_part(tail, 0, nul));
    buf_put_byte(out, '/');
    buf_put_str(out, str_from(tail, nul + 1));
}

struct layout {
    size_t changes; /* bytes of Changes */
    size_t end;     /* bytes of End */
    size_t frame;   /* bytes of ServerFrame */
};

static struct layout measure(const struct frame_parts *p)
{
    struct layout l = {.changes = p->drops.len};

    if (p->scope.len)
        l.changes += wire_field_len(p->scope.len);
    for (size_t i = 0; i < p->n_puts; i++)
        l.changes += p->puts[i]->item.len;
    if (p->n_puts || p->drops.len)
        l.frame = wire_field_len(l.changes);
    if (p->end) {
        l.end = trimtab__v1__end__get_packed_size(p->end);
        l.frame += wire_field_len(l.end);
    }
    return l;
}

static char *put_changes_head(char *at, const struct frame_parts *p, const struct layout *l)
{
    at = wire_put_head(at, FIELD_FRAME_CHANGES, l->changes);
    if (p->scope.len) {
        at = wire_put_head(at, FIELD_CHANGES_SCOPE, p->scope.len);
        at = wire_put_bytes(at, p->scope);
    }
    return wire_put_bytes(at, p->drops);
}

static char *put_end(char *at, const struct frame_parts *p, const struct layout *l)
{
    at = wire_put_head(at, FIELD_FRAME_END, l->end);
    return at + trimtab__v1__end__pack(p->end, (uint8_t *)at);
}

struct shared *encode_changes_framed(const struct frame_parts *p)
{
    struct layout l = measure(p);
    struct shared *frame = shared_new(GRPC_PREFIX_BYTES + l.frame);
    char *at;

    if (!frame)
        return NULL;
    at = wire_put_grpc_prefix(frame->data, l.frame);
    if (p->n_puts || p->drops.len)
        at = put_changes_head(at, p, &l);
    for (size_t i = 0; i < p->n_puts; i++)
        at = wire_put_bytes(at, p->puts[i]->item);
    if (p->end)
        at = put_end(at, p, &l);
    ASSERT(at == frame->data + frame->len);
    return frame;
}

static void add_segment(struct feed_frame *f, struct shared *owner, const char *from, const char *to)
{
    if (from == to)
        return;
    ASSERT(f->n < FEED_FRAME_SEGMENTS);
    f->segments[f->n++] =
        (struct segment){shared_ref(owner), str_of(from, (size_t)(to - from))};
}

int encode_changes(const struct frame_parts *p, struct feed_frame *ret_frame)
{
    struct layout l = measure(p);
    size_t glue_len = l.frame;
    struct shared *glue;
    char *at, *from;

    ASSERT(p->n_puts <= FRAME_PUTS_MAX);
    for (size_t i = 0; i < p->n_puts; i++)
        if (p->puts[i]->item.len > COPY_MAX)
            glue_len -= p->puts[i]->item.len;
    glue = shared_new(glue_len);
    if (!glue)
        return ERR_NOMEM;
    *ret_frame = (struct feed_frame){.n = 0};
    at = from = glue->data;
    if (p->n_puts || p->drops.len)
        at = put_changes_head(at, p, &l);
    for (size_t i = 0; i < p->n_puts; i++) {
        struct version *v = p->puts[i];

        if (v->item.len <= COPY_MAX) {
            at = wire_put_bytes(at, v->item);
            continue;
        }
        add_segment(ret_frame, glue, from, at);
        from = at;
        add_segment(ret_frame, v->wire, v->item.data, v->item.data + v->item.len);
    }
    if (p->end)
        at = put_end(at, p, &l);
    add_segment(ret_frame, glue, from, at);
    (void)shared_unref(glue);
    return 0;
}

int encode_part(struct version *v, size_t offset, struct feed_frame *ret_frame)
{
    Trimtab__V1__Part part = TRIMTAB__V1__PART__INIT;
    struct str data = str_part(v->content, offset, offset + ITEM_INLINE_MAX);
    size_t head, body;
    struct shared *glue;
    char *at;

    part.content_hash = proto_bytes(str_of(v->content_hash.bytes, SHA256_BYTES));
    part.offset = offset;
    part.size = v->content.len;
    head = trimtab__v1__part__get_packed_size(&part);
    body = head + wire_field_len(data.len);
    glue = shared_new(wire_field_len(body) - data.len);
    if (!glue)
        return ERR_NOMEM;
    at = wire_put_head(glue->data, FIELD_FRAME_PART, body);
    at += trimtab__v1__part__pack(&part, (uint8_t *)at);
    at = wire_put_head(at, FIELD_PART_DATA, data.len);
    *ret_frame = (struct feed_frame){.n = 0};
    add_segment(ret_frame, glue, glue->data, at);
    add_segment(ret_frame, v->wire, data.data, data.data + data.len);
    (void)shared_unref(glue);
    return 0;
}

int encode_frame(const Trimtab__V1__ServerFrame *message, struct feed_frame *ret_frame)
{
    struct shared *packed = proto_pack(&message->base, 0);

    if (!packed)
        return ERR_NOMEM;
    *ret_frame = (struct feed_frame){.n = 0};
    add_segment(ret_frame, packed, packed->data, packed->data + packed->len);
    (void)shared_unref(packed);
    return 0;
}

struct shared *encode_frame_framed(const Trimtab__V1__ServerFrame *message)
{
    struct shared *packed = proto_pack(&message->base, GRPC_PREFIX_BYTES);

    if (packed)
        (void)wire_put_grpc_prefix(packed->data, packed->len - GRPC_PREFIX_BYTES);
    return packed;
}

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
    FIELD_CHANGES_COMPLETE = 4,
    FIELD_CHANGES_KEEP = 5,
    FIELD_CHANGES_UNCAUSED = 6,
    FIELD_CHANGES_WITHHELD = 7,
    FIELD_PART_DATA = 15,
};

/* Every NUL becomes a slash: names have none. */
static void put_name(struct buf *out, unsigned field, struct str name)
{
    char head[16];
    struct str rest = name, part;

    buf_put(out, head, (size_t)(wire_put_head(head, field, name.len) - head));
    for (bool is_first = true; str_next(&rest, '\0', &part); is_first = false) {
        if (!is_first)
            buf_put_byte(out, '/');
        buf_put_str(out, part);
    }
}

void encode_drop(struct buf *out, struct str tail)
{
    put_name(out, FIELD_CHANGES_DROP, tail);
}

void encode_uncaused(struct buf *out, struct str tail)
{
    put_name(out, FIELD_CHANGES_UNCAUSED, tail);
}

void encode_withheld(struct buf *out, struct str tail)
{
    put_name(out, FIELD_CHANGES_WITHHELD, tail);
}

void encode_keep(struct buf *out, struct str key)
{
    put_name(out, FIELD_CHANGES_KEEP, key);
}

void encode_complete(struct buf *out)
{
    buf_put_byte(out, FIELD_CHANGES_COMPLETE << 3); /* a varint: true */
    buf_put_byte(out, 1);
}

struct layout {
    size_t changes[FRAME_CHANGES]; /* bytes of each Changes; 0: it is left out */
    size_t end;                    /* bytes of End */
    size_t frame;                  /* bytes of ServerFrame */
};

static size_t measure_changes(const struct frame_changes *c)
{
    size_t len = c->names.len;

    if (!c->n_puts && !c->names.len)
        return 0;
    if (c->scope.len)
        len += wire_field_len(c->scope.len);
    for (size_t i = 0; i < c->n_puts; i++)
        len += c->puts[i]->item.len;
    return len;
}

static struct layout measure(const struct frame_parts *p)
{
    struct layout l = {.frame = 0};

    for (size_t i = 0; i < FRAME_CHANGES; i++) {
        l.changes[i] = measure_changes(&p->changes[i]);
        l.frame += l.changes[i] ? wire_field_len(l.changes[i]) : 0;
    }
    if (p->end) {
        l.end = trimtab__v1__end__get_packed_size(p->end);
        l.frame += wire_field_len(l.end);
    }
    return l;
}

static char *put_changes_head(char *at, const struct frame_changes *c, size_t len)
{
    at = wire_put_head(at, FIELD_FRAME_CHANGES, len);
    if (c->scope.len) {
        at = wire_put_head(at, FIELD_CHANGES_SCOPE, c->scope.len);
        at = wire_put_bytes(at, c->scope);
    }
    return wire_put_bytes(at, c->names);
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
    for (size_t i = 0; i < FRAME_CHANGES; i++) {
        const struct frame_changes *c = &p->changes[i];

        if (l.changes[i])
            at = put_changes_head(at, c, l.changes[i]);
        for (size_t j = 0; j < c->n_puts; j++)
            at = wire_put_bytes(at, c->puts[j]->item);
    }
    if (p->end)
        at = put_end(at, p, &l);
    ASSERT(at == frame->data + frame->len);
    return frame;
}

static void add_segment(struct feed_frame *f, struct shared *owner, const char *from,
                        const char *to)
{
    if (from == to)
        return;
    ASSERT(f->n < FEED_FRAME_SEGMENTS);
    f->segments[f->n++] =
        (struct segment){shared_ref(owner), str_of(from, (size_t)(to - from))};
}

/* Bytes that are laid around contents: small puts are cheaper to copy than to reference. */
struct glue {
    struct shared *bytes;
    char *at, *from; /* from here on they are not in a segment yet */
};

static void put_items(struct glue *g, const struct frame_changes *c, struct feed_frame *frame)
{
    for (size_t i = 0; i < c->n_puts; i++) {
        struct version *v = c->puts[i];

        if (v->item.len <= COPY_MAX) {
            g->at = wire_put_bytes(g->at, v->item);
            continue;
        }
        add_segment(frame, g->bytes, g->from, g->at);
        g->from = g->at;
        add_segment(frame, v->wire, v->item.data, v->item.data + v->item.len);
    }
}

/* Bytes of a frame that are in the glue. */
static size_t measure_glue(const struct frame_parts *p, const struct layout *l)
{
    size_t len = l->frame, n_puts = 0;

    for (size_t i = 0; i < FRAME_CHANGES; i++) {
        n_puts += p->changes[i].n_puts;
        for (size_t j = 0; j < p->changes[i].n_puts; j++)
            if (p->changes[i].puts[j]->item.len > COPY_MAX)
                len -= p->changes[i].puts[j]->item.len;
    }
    ASSERT(n_puts <= FRAME_PUTS_MAX);
    return len;
}

int encode_changes(const struct frame_parts *p, struct feed_frame *ret_frame)
{
    struct layout l = measure(p);
    struct glue g = {.bytes = shared_new(measure_glue(p, &l))};

    if (!g.bytes)
        return ERR_NOMEM;
    *ret_frame = (struct feed_frame){.n = 0};
    g.at = g.from = g.bytes->data;
    for (size_t i = 0; i < FRAME_CHANGES; i++) {
        if (l.changes[i])
            g.at = put_changes_head(g.at, &p->changes[i], l.changes[i]);
        put_items(&g, &p->changes[i], ret_frame);
    }
    if (p->end)
        g.at = put_end(g.at, p, &l);
    add_segment(ret_frame, g.bytes, g.from, g.at);
    (void)shared_unref(g.bytes);
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

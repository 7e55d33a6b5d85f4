/*
 * Frames of the feed as messages. See frame_json.h.
 */
#include "server/edge/frame_json.h"

#include "base/buf.h"
#include "proto/convert.h"

/* Items show text where they can: nobody reads base64. */
static void show_text(Trimtab__V1__Changes *c)
{
    for (size_t i = 0; i < c->n_put; i++) {
        Trimtab__V1__Item *item = c->put[i];
        struct str content = proto_str(item->content);
        char *text;

        if (!content.len || !str_is_utf8(content) || str_index(content, '\0') < content.len)
            continue;
        text = mem_dup(content.data, content.len);
        if (!text)
            continue;      /* base64 it is */
        item->text = text; /* was the static empty text; freed with the message */
        proto_allocator.free(NULL, item->content.data);
        item->content = (ProtobufCBinaryData){0, NULL};
    }
}

Trimtab__V1__ServerFrame *frame_message(struct feed_frame *frame)
{
    owned(buf) struct buf bytes = BUF_NULL(SIZE_MAX - 1);
    Trimtab__V1__ServerFrame *m;
    struct str packed;

    for (size_t i = 0; i < frame->n; i++)
        buf_put_str(&bytes, frame->segments[i].bytes);
    packed = str_from(buf_str(&bytes), frame->is_framed ? 5 : 0); /* gRPC's prefix */
    feed_frame_deinit(frame);
    if (buf_status(&bytes))
        return NULL;
    m = trimtab__v1__server_frame__unpack(&proto_allocator, packed.len,
                                          (const uint8_t *)packed.data);
    for (size_t i = 0; m && i < m->n_changes; i++)
        show_text(m->changes[i]);
    return m;
}

void frame_free(Trimtab__V1__ServerFrame *m)
{
    trimtab__v1__server_frame__free_unpacked(m, &proto_allocator);
}

/*
 * What clients say, at the door of the server: any bytes as each message that a stream or a call takes, and as a document. What
 * passes has no text that its rule forbids, and passes again unchanged; what is refused has its story.
 */
#include "proto/inbound.h"

#include "base/text.h"
#include "proto/convert.h"

#include <trimtab/v1/admin.pb-c.h>

static void check_text(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *f, const char *text)
{
    enum inbound_rule rule;
    struct str s = str_c(text);
    size_t max;

    if (!s.len)
        return;
    ASSERT(inbound_rule_of(type, f, &rule, &max));
    ASSERT(str_is_utf8(s) && s.len <= max);
    ASSERT(rule == INBOUND_CONTENT || text_is_plain(s, rule == INBOUND_SHOWN_LINES ? TEXT_LINES : TEXT_LINE));
}

static void check_message(const ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const char *at = (const char *)m + f->offset;
        bool is_list = f->label == PROTOBUF_C_LABEL_REPEATED;
        size_t n = is_list ? *(const size_t *)(const void *)((const char *)m + f->quantifier_offset) : 1;
        const void *const *list = is_list ? *(const void *const *const *)(const void *)at : (const void *const *)(const void *)at;

        for (size_t j = 0; j < n; j++) {
            if (f->type == PROTOBUF_C_TYPE_STRING)
                check_text(m->descriptor, f, list[j]);
            else if (f->type == PROTOBUF_C_TYPE_MESSAGE && list[j])
                check_message(list[j]);
        }
    }
}

static void check_story(int r, const struct err *err)
{
    ASSERT((r == ERR_INVALID || r == ERR_LIMIT || r == ERR_UNSUPPORTED) && err->code == r && err->text[0]);
    ASSERT(str_is_utf8(str_c(err->place)));
}

/* What passed comes back the same from its own bytes. */
static void check_again(ProtobufCMessage *m, const ProtobufCMessageDescriptor *type)
{
    owned(shared_unref) struct shared *first = proto_pack(m, 0), *second = NULL;
    owned(arena) struct arena a = ARENA_NULL;
    struct err err = ERR_NULL;
    ProtobufCMessage *again;

    ASSERT(first);
    if (inbound_unpack(type, shared_str(first), &a, &again, &err))
        bug(__FILE__, __LINE__, err.text);
    second = proto_pack(again, 0);
    ASSERT(second && str_eq(shared_str(first), shared_str(second)));
}

static void try(struct str bytes, const ProtobufCMessageDescriptor *type, bool is_document)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct err err = ERR_NULL;
    ProtobufCMessage *m;
    int r = is_document ? inbound_json(bytes, type, &a, &m, &err) : inbound_unpack(type, bytes, &a, &m, &err);

    if (r) {
        check_story(r, &err);
        return;
    }
    check_message(m);
    check_again(m, type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &trimtab__v1__client_frame__descriptor, &trimtab__v1__commit_request__descriptor,
        &trimtab__v1__start_rollout_request__descriptor, &trimtab__v1__ack_request__descriptor,
        &trimtab__v1__poll_request__descriptor};
    size_t which = size ? data[0] % (2 * ARRAY_LEN(types)) : 0;

    try(str_of(data + MIN(size, (size_t)1), size - MIN(size, (size_t)1)), types[which / 2], which % 2);
    return 0;
}

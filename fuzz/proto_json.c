/*
 * JSON documents into messages, as POST /v1/commits takes them: a refusal has its story, and what was taken comes out as a
 * document that is taken again and comes out the same.
 */
#include "proto/json.h"

#include <trimtab/v1/admin.pb-c.h>

enum { TEXT_MAX = 64 << 20 };

static void round_trip(const ProtobufCMessage *m, const ProtobufCMessageDescriptor *type)
{
    owned(buf) struct buf first = BUF_NULL(TEXT_MAX), second = BUF_NULL(TEXT_MAX);
    owned(arena) struct arena arena = ARENA_NULL;
    struct err err = ERR_NULL;
    ProtobufCMessage *again;
    int r = proto_to_json_text(m, PROTO_JSON_SPARSE, &first);

    ASSERT(!r && !buf_status(&first));
    r = proto_from_json_text(buf_str(&first), type, &arena, &again, &err);
    ASSERT(!r);
    r = proto_to_json_text(again, PROTO_JSON_SPARSE, &second);
    ASSERT(!r && str_eq(buf_str(&first), buf_str(&second)));
}

static void try(struct str text, const ProtobufCMessageDescriptor *type)
{
    owned(arena) struct arena arena = ARENA_NULL;
    struct err err = ERR_NULL;
    ProtobufCMessage *m;
    int r = proto_from_json_text(text, type, &arena, &m, &err);

    if (!r) {
        ASSERT(protobuf_c_message_check(m));
        round_trip(m, type);
        return;
    }
    ASSERT((r == ERR_INVALID || r == ERR_LIMIT) && err.code == r && err.text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try(str_of(data, size), &trimtab__v1__commit_request__descriptor);
    try(str_of(data, size), &trimtab__v1__poll_request__descriptor);
    return 0;
}

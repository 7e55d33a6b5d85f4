/*
 * Messages as JSON documents, both ways, made from protobuf-c's descriptors: what REST and the command line show is
 * always exactly what gRPC carries.
 *
 * Field names are those of the .proto files; 64-bit integers are JSON integers, bytes base64, enumerations names,
 * maps objects. Fields with their default value are left out, but for those that JSON_FULL asks for. A field of a oneof is
 * there when it was set, whatever its value. Unknown fields are refused with their name.
 */
#ifndef TRIMTAB_PROTO_JSON_H
#define TRIMTAB_PROTO_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

enum proto_json_style {
    PROTO_JSON_SPARSE, /* default values are left out */
    PROTO_JSON_FULL,   /* scalars and lists are always there: what people's scripts want */
};

/* A new object that the caller releases (json_decref); NULL without memory. */
must_use json_t *proto_to_json(const ProtobufCMessage *m, enum proto_json_style style);

/* The same as text, compact, appended to out. ERR_NOMEM, ERR_LIMIT. */
must_use int proto_to_json_text(const ProtobufCMessage *m, enum proto_json_style style,
                                struct buf *out);

/*
 * Reads an object into a message of the type: *ret is on the arena, with texts copied. ERR_INVALID names the field
 * in err->place; ERR_NOMEM.
 */
must_use int proto_from_json(const json_t *object, const ProtobufCMessageDescriptor *type,
                             struct arena *a, ProtobufCMessage **ret, struct err *err);

/* Parses the text first; line and column of a syntax error. An empty text is an empty object. */
must_use int proto_from_json_text(struct str text, const ProtobufCMessageDescriptor *type,
                                  struct arena *a, ProtobufCMessage **ret, struct err *err);

/* Base64 (RFC 4648 section 4). */
void base64_put(struct str bytes, struct buf *out);
must_use bool base64_get(struct str text, struct buf *out);

#endif

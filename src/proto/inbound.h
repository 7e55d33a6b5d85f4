/*
 * What clients say, checked once: every message of a client passes here on its way from bytes, or from a document, to
 * the rest of the server. Behind it no text needs to be looked at again.
 *
 * Before a message is unpacked its bytes are walked over, which costs no memory: it may have INBOUND_VALUES_MAX values
 * and the elements that the table in inbound.c allows each repeated field. The same holds for the text of a document.
 *
 * Afterwards each text meets its rule:
 *
 *   decides       ids, labels, scopes, names, refusal keys, features: refused, with an error that names the field, when it is
 *                 not UTF-8, has a character that text_is_plain does not let pass, or is too long
 *   is shown      host, program, messages, reasons, ...: made plain (base/text.h) and cut between characters
 *   is content    the text of a resource and the value of an annotation: UTF-8, and kept byte for byte
 *
 * A text whose field the table does not name is refused; a test walks all messages of the services and finds the field.
 */
#ifndef TRIMTAB_PROTO_INBOUND_H
#define TRIMTAB_PROTO_INBOUND_H

#include "base/arena.h"
#include "base/err.h"

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

enum {
    INBOUND_VALUES_MAX =
        250000, /* of a message or document, fields that are not known included */
    INBOUND_REQUEST_VALUES_MAX = 1000000, /* of those that carry changes or targets */
    INBOUND_OBJECTS_MAX = 200000,         /* objects and lists of a document */
    INBOUND_DEPTH_MAX = 16,               /* of a document */
    INBOUND_HELLO_BYTES_MAX = 256 * 1024,
    INBOUND_REFUSALS_MAX = 10000, /* of one acknowledgement */
    INBOUND_REPORT_BYTES_MAX =
        2 << 20,                   /* of one acknowledgement, packed, with texts made plain */
    INBOUND_INVENTORY_MAX = 50000, /* entries of one message; an inventory may have several */
    INBOUND_REASON_MAX = 4096,     /* bytes that are kept of a refusal's message */
    INBOUND_HEALTH_REASON_MAX = 1024,
    INBOUND_HOST_MAX = 253,    /* also of the source of a judgement of health */
    INBOUND_PROGRAM_MAX = 128, /* over HTTP the User-Agent */
    INBOUND_ID_MAX = 128,      /* of an instance */
};

/*
 * Unpacks a message of this type onto the arena and checks it. ERR_INVALID: no such message, or a text that is refused,
 * with the field as place; ERR_LIMIT: too many values, elements or bytes; ERR_NOMEM.
 */
must_use int inbound_unpack(const ProtobufCMessageDescriptor *type, struct str bytes,
                            struct arena *a, ProtobufCMessage **ret, struct err *err);

/*
 * Reads the text of a document that is to become a message of this type, unchecked but for its size; an empty text is an
 * empty object. The caller releases it (json_decref). ERR_INVALID with line and column, ERR_LIMIT, ERR_NOMEM.
 */
must_use int inbound_document(struct str text, const ProtobufCMessageDescriptor *type,
                              json_t **ret, struct err *err);

/* The same to the end: the message, checked. */
must_use int inbound_json(struct str text, const ProtobufCMessageDescriptor *type,
                          struct arena *a, ProtobufCMessage **ret, struct err *err);

/*
 * Checks a message that was made from a document or from parameters; texts that are shown are exchanged for plain ones on
 * the arena. Failures as inbound_unpack.
 */
must_use int inbound_check(ProtobufCMessage *m, struct arena *a, struct err *err);

/* How a text is treated, for tests and documentation; false: the table does not name the field. */
enum inbound_rule {
    INBOUND_DECIDES,
    INBOUND_ID,
    INBOUND_SHOWN,
    INBOUND_SHOWN_LINES,
    INBOUND_CONTENT,
    INBOUND_PART
};
must_use bool inbound_rule_of(const ProtobufCMessageDescriptor *type,
                              const ProtobufCFieldDescriptor *f, enum inbound_rule *ret,
                              size_t *ret_max);

#endif

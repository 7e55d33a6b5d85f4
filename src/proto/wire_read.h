/*
 * Messages as they lie on the wire, field by field, without unpacking them: for bounds that must hold before anything is
 * unpacked, and for the few messages that are read where they lie (protobuf's encoding, "Message Structure").
 */
#ifndef TRIMTAB_PROTO_WIRE_READ_H
#define TRIMTAB_PROTO_WIRE_READ_H

#include "proto/wire.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_32 = 5 };

/* One field: payload is that of a length-delimited one, borrowed. */
struct wire_field {
    unsigned number, kind;
    struct str payload;
};

/* Takes the next field off. False: there is none, or it is malformed; then *in is not empty. */
bool wire_take_field(struct str *in, struct wire_field *ret);

#endif

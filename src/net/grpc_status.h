/*
 * The details of a failure as gRPC's own libraries read them: a google.rpc.Status with a google.rpc.ErrorInfo in it, encoded by hand,
 * because net knows no messages. Pure. Internal to net.
 *
 *   Status     code = 1, message = 2, details = 3 (google.protobuf.Any: type_url = 1, value = 2)
 *   ErrorInfo  reason = 1, domain = 2, metadata = 3 (a map: key = 1, value = 2)
 */
#ifndef TRIMTAB_NET_GRPC_STATUS_H
#define TRIMTAB_NET_GRPC_STATUS_H

#include "base/buf.h"

struct grpc_story {
    int status;
    const char *message;
    const char *reason;            /* name of one of our codes */
    const char *place, *hint, *at; /* metadata; NULL or "": there is none */
};

/* Texts that end inside a character are put without its beginning, as a string must be UTF-8. ERR_NOMEM, ERR_LIMIT. */
must_use int grpc_status_put(struct buf *out, const struct grpc_story *story);

#endif

/*
 * The small texts of gRPC over HTTP/2: percent-encoded messages, time-outs, binary headers. Pure. Internal to net.
 */
#ifndef TRIMTAB_NET_GRPC_TEXT_H
#define TRIMTAB_NET_GRPC_TEXT_H

#include "base/buf.h"
#include "base/clock.h"

/* grpc-message: all but printable ASCII, and '%', as %XX. */
void grpc_percent_put(struct buf *out, struct str text);
/* The reverse; what is not an encoding stays as it is. Cut to size, closed by a NUL. */
void grpc_percent_get(struct str text, char *out, size_t size);

/* grpc-timeout, "150m": up to eight digits and a unit of HMSmun. False when malformed. */
must_use bool grpc_timeout_get(struct str text, nsec_t *ret_nsec);
/* In the finest unit that eight digits allow; never shorter than asked for. */
enum { GRPC_TIMEOUT_MAX = 16 };
void grpc_timeout_put(uint64_t timeout_ms, char out[GRPC_TIMEOUT_MAX]);

/* Binary headers ("-bin"): base64 without padding. */
void grpc_base64_put(struct buf *out, struct str bytes);

/* "application/grpc", "application/grpc+proto", "application/grpc;..." */
bool grpc_is_content_type(struct str value);

#endif

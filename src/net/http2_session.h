/*
 * What the two ends of HTTP/2 share: memory for nghttp2 through our allocator, and the two callbacks by which a
 * session writes straight into a gather. Internal to net.
 */
#ifndef TRIMTAB_NET_HTTP2_SESSION_H
#define TRIMTAB_NET_HTTP2_SESSION_H

#include "net/conn.h"

#include <nghttp2/nghttp2.h>

/* nghttp2's memory comes from base/alloc.h, so that a test can make it fail. It only reads the struct. */
nghttp2_mem *http2_memory(void);

/* Control frames and heads: copied to the gather. Returns what a nghttp2_send_callback returns. */
ssize_t http2_gather_frame(struct gather *g, const uint8_t *bytes, size_t len);

struct http2_windows {
    uint32_t stream, connection, max_frame, max_streams, header_list;
};

/* Queues our SETTINGS and opens the connection's window. 0 or ERR_NOMEM. */
must_use int http2_announce(nghttp2_session *session, const struct http2_windows *windows);

/* A header for nghttp2, which copies it. */
nghttp2_nv http2_nv(struct str name, struct str value);

/* Of a nghttp2 failure: ERR_NOMEM, or ERR_INVALID (the peer broke the protocol). */
int http2_err(ssize_t nghttp2_error);

#endif

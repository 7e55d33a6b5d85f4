/*
 * A client's HTTP/2 connection: the mirror of http2_conn.c, and the same rules about nghttp2.
 */
#include "base/alloc.h"
#include "net/channel.h"
#include "net/http2_session.h"

#include <unistd.h>

enum { HEADERS_MAX = 40, HEADER_LIST_BYTES = 64 * 1024 };

static struct rpc *rpc_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

/* ---- what comes in ---- */

/* NOLINTNEXTLINE(readability-function-size): the library gives that many parameters */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *ctx)
{
    struct rpc *rpc = rpc_of(session, frame->hd.stream_id);

    (void)flags;
    (void)ctx;
    if (rpc)
        rpc_got_header(rpc, str_of(name, name_len), str_of(value, value_len));
    return 0;
}

/* The server has said everything: the call has ended, even if we had more to say. */
static void on_end_stream(nghttp2_session *session, int32_t stream_id)
{
    struct rpc *rpc = rpc_of(session, stream_id);

    if (rpc && !(rpc->is_half_closed && !rpc->out.bytes))
        rpc_stream_closed(rpc, NGHTTP2_NO_ERROR);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct peer *peer = ctx;

    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        on_end_stream(session, frame->hd.stream_id);
    else if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK))
        peer->ping_sent = 0;
    else if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK) &&
             !peer->ready_since)
        peer->ready_since = MAX(loop_now(peer->channel->loop), 1);
    else if (frame->hd.type == NGHTTP2_GOAWAY)
        peer->is_draining = true;
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *bytes, size_t len, void *ctx)
{
    struct rpc *rpc = rpc_of(session, stream_id);

    (void)flags;
    (void)ctx;
    if (rpc && !rpc->is_over)
        rpc_got_data(rpc, str_of(bytes, len));
    else
        (void)nghttp2_session_consume(session, stream_id,
                                      len); /* without memory the next receive fails */
    return 0;
}

/* The call and the connection let go of each other. */
static void detach(struct peer *peer, struct rpc *rpc)
{
    (void)nghttp2_session_set_stream_user_data(peer->session, rpc->stream_id,
                                               NULL); /* none: never submitted */
    if (rpc->outstanding)
        (void)nghttp2_session_consume_connection(peer->session,
                                                 rpc->outstanding); /* as above */
    rpc->outstanding = 0;
    rpc->peer = NULL;
    peer->n_rpcs--;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *ctx)
{
    struct rpc *rpc = rpc_of(session, stream_id);

    if (!rpc)
        return 0;
    detach(ctx, rpc);
    rpc_stream_closed(rpc, error_code);
    return 0;
}

/* ---- what goes out ---- */

static ssize_t on_send(nghttp2_session *session, const uint8_t *bytes, size_t len, int flags,
                       void *ctx)
{
    struct peer *peer = ctx;

    (void)session;
    (void)flags;
    return http2_gather_frame(peer->gather, bytes, len);
}

static ssize_t on_source(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
    struct rpc *rpc = rpc_of(session, stream_id);
    size_t n;

    (void)buf;
    (void)source;
    (void)ctx;
    if (!rpc || rpc->is_over)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!rpc->out.bytes && !rpc->is_half_closed) {
        rpc->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    n = MIN(MIN(room, (size_t)FRAME_BYTES), rpc->out.bytes);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == rpc->out.bytes && rpc->is_half_closed)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t len, nghttp2_data_source *source, void *ctx)
{
    struct peer *peer = ctx;
    struct rpc *rpc = rpc_of(session, frame->hd.stream_id);

    (void)source;
    if (!gather_has_room(peer->gather))
        return NGHTTP2_ERR_WOULDBLOCK;
    if (!rpc || rpc->out.bytes < len)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    gather_copy(peer->gather, head, 9);
    segq_take(&rpc->out, len, peer->gather);
    rpc->was_taken = true;
    return 0;
}

/* ---- calls ---- */

static void broken(struct peer *peer, int code, const char *text)
{
    struct err story;

    err_set(&story, code, "%s", text);
    channel_peer_lost(peer->channel, peer, &story);
}

/* A frame that cannot be queued leaves the other side waiting: the connection is broken, from the loop. */
static void must_have(struct peer *peer, int r)
{
    peer->must_break |= r == NGHTTP2_ERR_NOMEM;
}

void peer_start(struct peer *peer, struct rpc *rpc)
{
    struct channel *ch = peer->channel;
    nghttp2_data_provider provider = {.read_callback = on_source};
    char timeout[GRPC_TIMEOUT_MAX];
    nghttp2_nv nv[HEADERS_MAX];
    size_t n = 0;

    nv[n++] = http2_nv(STR(":method"), STR("POST"));
    nv[n++] = http2_nv(STR(":scheme"), ch->tls ? STR("https") : STR("http"));
    nv[n++] = http2_nv(STR(":path"), rpc->metadata[0].value);
    nv[n++] = http2_nv(STR(":authority"), channel_authority(ch));
    nv[n++] = http2_nv(STR("te"), STR("trailers"));
    nv[n++] = http2_nv(STR("content-type"), STR("application/grpc+proto"));
    nv[n++] = http2_nv(STR("user-agent"), str_c(ch->user_agent));
    if (rpc_timeout_text(rpc, timeout))
        nv[n++] = http2_nv(STR("grpc-timeout"), str_c(timeout));
    if (ch->authorization) {
        nv[n] = http2_nv(STR("authorization"), str_c(ch->authorization));
        nv[n++].flags = NGHTTP2_NV_FLAG_NO_INDEX; /* kept out of the compression's memory */
    }
    for (size_t i = 1; i < rpc->n_metadata && n < HEADERS_MAX; i++)
        nv[n++] = http2_nv(rpc->metadata[i].name, rpc->metadata[i].value);
    rpc->stream_id = nghttp2_submit_request(peer->session, NULL, nv, n, &provider, rpc);
    if (rpc->stream_id < 0) {
        rpc_end_text(rpc,
                     rpc->stream_id == NGHTTP2_ERR_NOMEM ? GRPC_RESOURCE_EXHAUSTED
                                                         : GRPC_UNAVAILABLE,
                     nghttp2_strerror(rpc->stream_id));
        return;
    }
    rpc->peer = peer;
    peer->n_rpcs++;
    conn_flush_soon(&peer->conn);
}

void peer_wake(struct peer *peer, struct rpc *rpc)
{
    if (rpc->is_deferred) {
        rpc->is_deferred = false;
        must_have(peer, nghttp2_session_resume_data(peer->session, rpc->stream_id));
    }
    conn_flush_soon(&peer->conn);
}

void peer_reset(struct peer *peer, struct rpc *rpc)
{
    must_have(peer, nghttp2_submit_rst_stream(peer->session, NGHTTP2_FLAG_NONE, rpc->stream_id,
                                              NGHTTP2_CANCEL));
    detach(peer, rpc);
    conn_flush_soon(&peer->conn);
}

void peer_consume(struct peer *peer, struct rpc *rpc, size_t n)
{
    n = MIN(n, rpc->outstanding);
    rpc->outstanding -= n;
    if (n)
        must_have(peer, nghttp2_session_consume(peer->session, rpc->stream_id, n));
    conn_flush_soon(&peer->conn);
}

void peer_check_ping(struct peer *peer, nsec_t now)
{
    const struct channel_opts *opts = &peer->channel->opts;

    if (peer->conn.last_read > peer->ping_sent)
        peer->ping_sent = 0;
    if (peer->ping_sent) {
        if (now - peer->ping_sent >= opts->ping_timeout_ms * NSEC_PER_MS)
            broken(peer, ERR_UNAVAILABLE, "the server does not answer any more");
        return;
    }
    if (!peer->n_rpcs || now - peer->conn.last_read < opts->ping_interval_ms * NSEC_PER_MS)
        return;
    if (nghttp2_submit_ping(peer->session, NGHTTP2_FLAG_NONE, NULL) == 0)
        peer->ping_sent = now;
    conn_flush_soon(&peer->conn);
}

/* ---- the connection's callbacks ---- */

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;

static void make_globals(void)
{
    if (nghttp2_session_callbacks_new(&callbacks) || nghttp2_option_new(&options)) {
        callbacks =
            NULL; /* every connection fails, for ever: a process that starts without memory */
        return;
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(options, 0);
}

static void on_open(struct conn *c, void *ctx)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct peer *peer = ctx;
    const struct channel_opts *opts = &peer->channel->opts;
    struct http2_windows windows = {.stream = opts->stream_window,
                                    .connection = opts->connection_window,
                                    .max_frame = opts->max_frame,
                                    .header_list = HEADER_LIST_BYTES};

    (void)pthread_once(&once, make_globals); /* fails only on misuse */
    if (c->ssl && !conn_is_h2(c)) {
        broken(peer, ERR_UNAVAILABLE, "the server does not speak HTTP/2");
        return;
    }
    if (!callbacks ||
        nghttp2_session_client_new3(&peer->session, callbacks, peer, options, http2_memory()) ||
        http2_announce(peer->session, &windows)) {
        broken(peer, ERR_NOMEM, "no memory for a connection");
        return;
    }
    conn_flush_soon(c);
}

static bool is_finished(const struct peer *peer)
{
    return !nghttp2_session_want_read(peer->session) &&
           !nghttp2_session_want_write(peer->session);
}

static void on_bytes(struct conn *c, void *ctx, struct str bytes)
{
    struct peer *peer = ctx;
    bool was_ready = peer->ready_since != 0, was_draining = peer->is_draining;
    ssize_t n = nghttp2_session_mem_recv(peer->session, (const uint8_t *)bytes.data, bytes.len);

    if (n < 0) {
        broken(peer, ERR_UNAVAILABLE,
               was_ready ? "the server broke the HTTP/2 protocol"
                         : "the server does not speak HTTP/2");
        return;
    }
    if (!was_ready && peer->ready_since)
        channel_peer_ready(peer->channel, peer);
    if (!was_draining && peer->is_draining && !peer->is_closed)
        channel_peer_draining(peer->channel, peer);
    if (peer->is_closed)
        return;
    if (peer->is_draining && !peer->n_rpcs && is_finished(peer))
        broken(peer, ERR_UNAVAILABLE, "the server is shutting down");
    else
        conn_flush_soon(c);
}

static void fill(struct conn *c, void *ctx, struct gather *g)
{
    struct peer *peer = ctx;
    int r;

    (void)c;
    if (peer->must_break) {
        broken(peer, ERR_NOMEM, "no memory for a frame");
        return;
    }
    peer->gather = g;
    r = nghttp2_session_send(peer->session);
    peer->gather = NULL;
    if (r)
        broken(peer, http2_err(r), nghttp2_strerror(r));
}

static struct rpc *next_writable(struct peer *peer)
{
    LIST_EACH (&peer->channel->active, l) {
        struct rpc *rpc = LINK_OF(l, struct rpc, link);

        if (rpc->peer == peer && rpc->was_taken &&
            rpc_queued(rpc) < peer->channel->opts.write_low)
            return rpc;
    }
    return NULL;
}

static void on_flushed(struct conn *c, void *ctx)
{
    struct peer *peer = ctx;
    struct rpc *rpc;

    (void)c;
    while (!peer->is_closed && (rpc = next_writable(peer))) {
        rpc->was_taken = false;
        if (rpc->ops && rpc->ops->on_writable && !rpc->is_half_closed)
            rpc->ops->on_writable(rpc, rpc->ctx);
    }
    if (!peer->is_closed && peer->is_draining && !peer->n_rpcs && is_finished(peer))
        broken(peer, ERR_UNAVAILABLE, "the server is shutting down");
}

static void on_gone(struct conn *c, void *ctx, int reason, const struct err *story)
{
    struct peer *peer = ctx;

    (void)c;
    if (reason == 0)
        broken(peer, ERR_UNAVAILABLE, "the server closed the connection");
    else if (reason == ERR_CANCELLED || reason == ERR_IO) /* nobody here cancelled anything */
        broken(peer, ERR_UNAVAILABLE, story->text);
    else
        channel_peer_lost(peer->channel, peer, story);
}

static void on_closed(struct conn *c, void *ctx)
{
    struct peer *peer = ctx;
    struct channel *ch = peer->channel;

    (void)c;
    nghttp2_session_del(peer->session);
    (void)mem_free(peer);
    channel_unref(ch);
}

static const struct conn_ops conn_ops = {on_open,    on_bytes, fill,
                                         on_flushed, on_gone,  on_closed};

/* ---- life ---- */

int peer_open(struct channel *ch, int fd, const char *host)
{
    struct peer *peer = NEW(struct peer);
    struct conn_opts opts = {
        .loop = ch->loop, .fd = fd, .is_connecting = true, .ops = &conn_ops, .ctx = peer};
    int r;

    if (peer && ch->tls)
        opts.ssl = tls_session(ch->tls, host);
    if (!peer || (ch->tls && !opts.ssl)) {
        (void)mem_free(peer);
        (void)close(fd); /* nothing was written */
        return ERR_NOMEM;
    }
    peer->channel = ch;
    r = conn_open(&peer->conn, &opts);
    if (r) {
        (void)mem_free(peer);
        return r;
    }
    ch->refs++;
    link_init(&peer->in_channel);
    link_before(&ch->peers, &peer->in_channel);
    ch->current = peer;
    return 0;
}

void peer_close(struct peer *peer, const struct err *story)
{
    if (peer->is_closed)
        return;
    peer->is_closed = true;
    link_remove(&peer->in_channel);
    LIST_EACH (&peer->channel->active, l) {
        struct rpc *rpc = LINK_OF(l, struct rpc, link);

        if (rpc->peer != peer)
            continue;
        detach(peer, rpc);
        rpc_end(rpc, GRPC_UNAVAILABLE, story);
    }
    conn_close(&peer->conn);
}

/*
 * Calls of the client. See grpc_client.h.
 */
#include "base/alloc.h"
#include "net/channel.h"
#include "net/http1_head.h"

/* ---- the end ---- */

void rpc_end(struct rpc *rpc, int status, const struct err *err)
{
    struct channel *ch = rpc->channel;

    if (rpc->is_over)
        return;
    rpc->is_over = true;
    rpc->status = status;
    if (err)
        rpc->err = *err;
    timer_stop(&rpc->deadline);
    segq_deinit(&rpc->out);
    if (rpc->peer)
        peer_reset(rpc->peer, rpc);
    link_remove(&rpc->link);
    link_before(&ch->ending, &rpc->link);
    loop_defer(ch->loop, &ch->settle);
}

void rpc_end_text(struct rpc *rpc, int status, const char *text)
{
    struct err err;

    err_set(&err, status ? err_code_from_grpc(status) : 0, "%s", text);
    rpc_end(rpc, status, &err);
}

static void rpc_free(struct rpc *rpc)
{
    timer_stop(&rpc->deadline);
    segq_deinit(&rpc->out);
    grpc_deframer_deinit(&rpc->deframer);
    buf_deinit(&rpc->message);
    (void)mem_free(rpc->metadata);
    (void)mem_free(rpc);
}

static void tell(struct rpc *rpc)
{
    const struct err *err = rpc->status == GRPC_OK ? NULL : &rpc->err;

    if (rpc->is_detached)
        return;
    if (rpc->ops) {
        if (rpc->ops->on_close)
            rpc->ops->on_close(rpc, rpc->ctx, rpc->status, err);
        return;
    }
    rpc->done(rpc->ctx, rpc->status, err,
              rpc->status == GRPC_OK ? buf_str(&rpc->message) : STR_NULL);
}

void rpcs_settle(struct defer *d, void *ctx)
{
    struct channel *ch = ctx;

    (void)d;
    while (!link_is_alone(&ch->ending)) {
        struct rpc *rpc = LINK_OF(ch->ending.next, struct rpc, link);

        link_remove(&rpc->link);
        tell(rpc);
        rpc_free(rpc);
        channel_unref(ch);
    }
}

/* ---- the answer ---- */

/* Without a status of gRPC's own, the HTTP status must do (gRPC's http-grpc-status-mapping). */
static int status_from_http(int status)
{
    switch (status) {
    case 400: return GRPC_INTERNAL;
    case 401: return GRPC_UNAUTHENTICATED;
    case 403: return GRPC_PERMISSION_DENIED;
    case 404: return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504: return GRPC_UNAVAILABLE;
    default: return GRPC_UNKNOWN;
    }
}

static int status_from_reset(uint32_t h2_code)
{
    switch (h2_code) {
    case NGHTTP2_REFUSED_STREAM: return GRPC_UNAVAILABLE;
    case NGHTTP2_CANCEL: return GRPC_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM: return GRPC_RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY: return GRPC_PERMISSION_DENIED;
    default: return GRPC_INTERNAL;
    }
}

/* "line:column"; anything else says nothing. */
static void take_place(struct err *err, struct str value)
{
    size_t colon = str_index(value, ':');
    uint64_t line, column;

    if (str_u64(str_part(value, 0, colon), &line) &&
        str_u64(str_from(value, colon + 1), &column) && line <= UINT32_MAX &&
        column <= UINT32_MAX)
        err_at(err, (uint32_t)line, (uint32_t)column);
}

void rpc_got_header(struct rpc *rpc, struct str name, struct str value)
{
    uint64_t number;

    if (str_eq(name, STR(":status")))
        rpc->http_status = str_u64(value, &number) && number < 1000 ? (int)number : 0;
    else if (str_eq(name, STR("content-type")))
        rpc->has_content_type = grpc_is_content_type(value);
    else if (str_eq(name, STR("grpc-status")))
        rpc->trailer_status =
            str_u64(value, &number) && number <= 16 ? (int)number : GRPC_UNKNOWN;
    else if (str_eq(name, STR("grpc-message")))
        grpc_percent_get(value, rpc->err.text, sizeof(rpc->err.text));
    else if (str_eq(name, STR("trimtab-code")))
        grpc_percent_get(value, rpc->code, sizeof(rpc->code));
    else if (str_eq(name, STR("trimtab-place")))
        grpc_percent_get(value, rpc->err.place, sizeof(rpc->err.place));
    else if (str_eq(name, STR("trimtab-hint")))
        grpc_percent_get(value, rpc->err.hint, sizeof(rpc->err.hint));
    else if (str_eq(name, STR("trimtab-at")))
        take_place(&rpc->err, value);
}

static void got_message(struct rpc *rpc, struct str message)
{
    if (rpc->ops) {
        if (rpc->ops->on_message && !rpc->is_detached)
            rpc->ops->on_message(rpc, rpc->ctx, message);
        return;
    }
    if (rpc->has_message) {
        rpc_end_text(rpc, GRPC_INTERNAL, "the server sent more than one message");
        return;
    }
    rpc->has_message = true;
    buf_put_str(&rpc->message, message);
    if (buf_status(&rpc->message))
        rpc_end_text(rpc, GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

/* As the server's, in grpc_server.c: pieces of a message are credited at once. */
static void add_credit(struct rpc *rpc, int64_t n)
{
    rpc->credit += n;
    if (rpc->credit <= 0 || !rpc->peer)
        return;
    peer_consume(rpc->peer, rpc, (size_t)rpc->credit);
    rpc->credit = 0;
}

void rpc_got_data(struct rpc *rpc, struct str bytes)
{
    size_t total = bytes.len, messages = 0;
    struct str message;
    int r = 0;

    rpc->outstanding += total;
    while (!rpc->is_over &&
           (r = grpc_deframe(&rpc->deframer, &bytes, &message)) == GRPC_MESSAGE) {
        messages += message.len;
        got_message(rpc, message);
    }
    if (r == GRPC_TOO_LARGE)
        rpc_end_text(rpc, GRPC_RESOURCE_EXHAUSTED,
                     "the server's message is larger than this client takes");
    else if (r == ERR_NOMEM)
        rpc_end_text(rpc, GRPC_RESOURCE_EXHAUSTED, "out of memory");
    else if (r != GRPC_NEED_MORE && r != GRPC_MESSAGE)
        rpc_end_text(rpc, GRPC_INTERNAL, "the server's message frame is malformed");
    add_credit(rpc, (int64_t)total - (rpc->is_manual ? (int64_t)messages : 0));
}

/* What the server said about its failure, as a story of ours. */
static void end_with_status(struct rpc *rpc, int status)
{
    rpc->err.code = rpc->code[0] ? err_code_from_name(rpc->code) : err_code_from_grpc(status);
    if (!rpc->err.text[0])
        (void)snprintf(rpc->err.text, sizeof(rpc->err.text),
                       "the server answered with gRPC status %d", status);
    rpc_end(rpc, status, NULL);
}

void rpc_stream_closed(struct rpc *rpc, uint32_t h2_code)
{
    char text[96];

    if (rpc->is_over)
        return;
    if (rpc->trailer_status > 0) {
        end_with_status(rpc, rpc->trailer_status);
    } else if (rpc->trailer_status == 0) {
        if (!grpc_deframer_is_clean(&rpc->deframer))
            rpc_end_text(rpc, GRPC_INTERNAL, "the answer ends inside a message");
        else if (!rpc->ops && !rpc->has_message)
            rpc_end_text(rpc, GRPC_INTERNAL, "the server answered without a message");
        else
            rpc_end(rpc, GRPC_OK, NULL);
    } else if (rpc->http_status && (rpc->http_status != 200 || !rpc->has_content_type)) {
        (void)snprintf(text, sizeof(text), "the server answered with HTTP status %d",
                       rpc->http_status);
        rpc_end_text(rpc, status_from_http(rpc->http_status), text);
    } else {
        (void)snprintf(text, sizeof(text), "the server broke the call off (HTTP/2 error %u)",
                       h2_code);
        rpc_end_text(rpc, status_from_reset(h2_code), text);
    }
}

/* ---- starting ---- */

bool rpc_timeout_text(struct rpc *rpc, char out[GRPC_TIMEOUT_MAX])
{
    nsec_t now = loop_now(rpc->channel->loop);

    if (!timer_is_running(&rpc->deadline))
        return false;
    grpc_timeout_put(rpc->deadline.due > now ? (rpc->deadline.due - now) / NSEC_PER_MS : 1,
                     out);
    return true;
}

static void on_deadline(struct timer *t, void *ctx)
{
    struct rpc *rpc = ctx;
    struct err err;

    (void)t;
    err_set(&err, ERR_TIMEOUT, "no answer within the deadline");
    if (!rpc->peer && rpc->channel->state != CHANNEL_READY && rpc->channel->story.code)
        err_hint(&err, "not connected: %s", rpc->channel->story.text);
    rpc_end(rpc, GRPC_DEADLINE_EXCEEDED, &err);
}

/* One allocation: the array (the method's path first), then all texts. */
static int copy_metadata(struct rpc *rpc, const struct rpc_opts *opts)
{
    size_t n = opts->n_metadata + 1, size = n * sizeof(struct http_header);
    struct str path = str_c(opts->method);
    char *text;

    for (size_t i = 0; i < opts->n_metadata; i++) {
        struct http_header h = opts->metadata[i];

        if (!http_is_token(h.name) || !http_is_value(h.value))
            return ERR_INVALID;
        size = size_add(size, size_add(h.name.len, h.value.len));
    }
    rpc->metadata = mem_alloc(size_add(size, path.len));
    if (!rpc->metadata)
        return ERR_NOMEM;
    rpc->n_metadata = n;
    text = (char *)&rpc->metadata[n];
    for (size_t i = 0; i < n; i++) {
        struct http_header from =
            i ? opts->metadata[i - 1] : (struct http_header){STR_NULL, path};

        rpc->metadata[i].name = str_of(text, from.name.len);
        if (from.name.len)
            text = mempcpy(text, from.name.data, from.name.len);
        rpc->metadata[i].value = str_of(text, from.value.len);
        if (from.value.len)
            text = mempcpy(text, from.value.data, from.value.len);
    }
    return 0;
}

static int rpc_make(struct channel *ch, const struct rpc_opts *opts, struct rpc **ret_rpc)
{
    struct rpc *rpc = NEW(struct rpc);
    int r;

    if (!rpc)
        return ERR_NOMEM;
    r = copy_metadata(rpc, opts);
    if (r) {
        rpc_free(rpc);
        return r;
    }
    rpc->channel = ch;
    rpc->trailer_status = -1;
    rpc->wait_for_ready = opts->wait_for_ready;
    rpc->is_manual = opts->manual_consume;
    grpc_deframer_init(&rpc->deframer,
                       opts->max_message ? opts->max_message : ch->opts.max_message);
    rpc->message = BUF_NULL(rpc->deframer.max_message);
    rpc->deadline = (struct timer){.fn = on_deadline, .ctx = rpc};
    link_init(&rpc->link);
    *ret_rpc = rpc;
    return 0;
}

static void rpc_start(struct rpc *rpc, uint32_t timeout_ms)
{
    struct channel *ch = rpc->channel;

    ch->refs++;
    link_before(&ch->waiting, &rpc->link);
    if (timeout_ms)
        timer_start(&rpc->deadline, ch->loop, timeout_ms, 0);
    if (ch->is_closing)
        rpc_end_text(rpc, GRPC_CANCELLED, "the channel was closed");
    else
        channel_admit(ch, rpc);
}

static int queue(struct rpc *rpc, const struct segment *segments, size_t n)
{
    unsigned char prefix[GRPC_PREFIX_BYTES];
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        total = size_add(total, segments[i].bytes.len);
    if (total > UINT32_MAX)
        return ERR_LIMIT;
    grpc_prefix_put(prefix, total);
    return segq_put(&rpc->out, str_of(prefix, sizeof(prefix)), segments, n);
}

int channel_unary(struct channel *ch, const struct rpc_opts *opts, struct str request,
                  rpc_done_fn *done, void *ctx, struct rpc **ret_rpc)
{
    struct segment segment = segment_copy(request);
    struct rpc *rpc;
    int r = rpc_make(ch, opts, &rpc);

    if (r)
        return r;
    r = queue(rpc, &segment, 1);
    if (r) {
        rpc_free(rpc);
        return r;
    }
    rpc->done = done;
    rpc->ctx = ctx;
    rpc->is_half_closed = true;
    rpc_start(rpc, opts->timeout_ms);
    if (ret_rpc)
        *ret_rpc = rpc;
    return 0;
}

int channel_stream(struct channel *ch, const struct rpc_opts *opts, const struct rpc_ops *ops,
                   void *ctx, struct rpc **ret_rpc)
{
    struct rpc *rpc;
    int r = rpc_make(ch, opts, &rpc);

    if (r)
        return r;
    rpc->ops = ops;
    rpc->ctx = ctx;
    rpc_start(rpc, opts->timeout_ms);
    *ret_rpc = rpc;
    return 0;
}

/* ---- the owner's calls ---- */

int rpc_send(struct rpc *rpc, const struct segment *segments, size_t n)
{
    int r;

    if (rpc->is_over || rpc->is_half_closed)
        return ERR_CANCELLED;
    r = queue(rpc, segments, n);
    if (r)
        return r;
    if (rpc->peer)
        peer_wake(rpc->peer, rpc);
    return 0;
}

void rpc_half_close(struct rpc *rpc)
{
    if (rpc->is_over || rpc->is_half_closed)
        return;
    rpc->is_half_closed = true;
    if (rpc->peer)
        peer_wake(rpc->peer, rpc);
}

size_t rpc_queued(const struct rpc *rpc)
{
    return rpc->out.bytes + (rpc->peer ? conn_backlog(&rpc->peer->conn) : 0);
}

void rpc_consume(struct rpc *rpc, size_t n)
{
    if (!rpc->is_over)
        add_credit(rpc, (int64_t)n);
}

void rpc_cancel(struct rpc *rpc)
{
    rpc_end_text(rpc, GRPC_CANCELLED, "the call was cancelled");
}

void rpc_detach(struct rpc *rpc)
{
    rpc->is_detached = true;
    rpc_cancel(rpc);
}

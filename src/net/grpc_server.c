/*
 * gRPC calls on exchanges. See grpc.h.
 *
 * A unary call is streamed in just like a bidirectional one; its message is complete when the request has ended. An
 * error before the first message is a "trailers-only" answer: everything in one HEADERS frame.
 */
#include "net/grpc.h"

#include "base/alloc.h"
#include "net/exchange.h"
#include "net/grpc_frame.h"
#include "net/grpc_status.h"
#include "net/grpc_text.h"
#include "net/gzip.h"

/* Answers of which sizes are compressed: smaller ones gain nothing, larger ones would hold up the loop. */
enum { PACK_MIN = 1024, PACK_MAX = 1024 * 1024 };
/* A message of up to this is unpacked on the loop: gzip makes at most a MiB of it. */
enum { UNPACK_ON_LOOP = 1024 };
enum { DEFAULT_MAX_MESSAGE = 4 * 1024 * 1024, TRAILERS_BYTES = 16 * 1024, TRAILERS_MAX = 8 };

struct grpc_call {
    const struct grpc_service *service;
    const struct grpc_method *method;
    struct exchange *x; /* NULL once on_close has been told */
    const struct grpc_ops *ops;
    void *ctx;
    struct grpc_deframer deframer;
    struct buf message; /* of a unary call; as it came, until the request has ended */
    struct work unpacking;
    struct buf unpacked; /* what the worker made of message */
    struct budget_share held; /* for both, and what is in pieces */
    int unpack_r;
    struct timer timer;
    nsec_t deadline;
    int64_t
        credit; /* bytes taken apart and not yet given back; negative: the owner gave some back early */
    int reason;          /* of the end, when it was ours */
    bool has_message;    /* unary: one has come */
    bool is_packed;      /* unary: message is compressed */
    bool is_handed_over; /* unary: the worker or the handler has it, and will answer */
    bool has_begun, has_ended, is_manual;
    bool is_admitted; /* grpc_service.admit was asked */
};

/* ---- the end ---- */

static void call_free(struct grpc_call *call)
{
    timer_stop(&call->timer);
    grpc_deframer_deinit(&call->deframer);
    buf_deinit(&call->message);
    buf_deinit(&call->unpacked);
    budget_return(&call->held);
    (void)mem_free(call);
}

struct trailers {
    struct buf texts;
    struct http_header at[TRAILERS_MAX];
    size_t n;
};

/* The value is the bytes put since from; as the buffer may move, offsets first. */
static void trailer_add(struct trailers *t, struct str name, size_t from)
{
    t->at[t->n++] = (struct http_header){name, str_of((const char *)from, t->texts.len - from)};
}

static void trailer_text(struct trailers *t, struct str name, const char *text)
{
    size_t from = t->texts.len;

    if (!text || !text[0])
        return;
    grpc_percent_put(&t->texts, str_c(text));
    trailer_add(t, name, from);
}

static void trailers_resolve(struct trailers *t)
{
    for (size_t i = 0; i < t->n; i++)
        t->at[i].value.data = t->texts.data + (uintptr_t)t->at[i].value.data;
}

struct ending {
    int status;
    const char *message, *code, *place, *hint, *at, *accepts;
};

/* The same once more, as the libraries of gRPC give it to their users. */
static int trailer_details(struct trailers *t, const struct ending *e)
{
    owned(buf) struct buf details = BUF_NULL(TRAILERS_BYTES);
    size_t from = t->texts.len;
    const struct grpc_story story = {
        .status = e->status,
        .message = e->message,
        .reason = e->code ? e->code : err_info(err_code_from_grpc(e->status))->name,
        .place = e->place,
        .hint = e->hint,
        .at = e->at};
    int r;

    if (e->status == GRPC_OK || !e->message)
        return 0;
    r = grpc_status_put(&details, &story);
    if (r)
        return r;
    grpc_base64_put(&t->texts, buf_str(&details));
    trailer_add(t, STR("grpc-status-details-bin"), from);
    return 0;
}

static int trailers_make(struct trailers *t, const struct ending *e)
{
    int r;

    buf_printf(&t->texts, "%d", e->status);
    trailer_add(t, STR("grpc-status"), 0);
    trailer_text(t, STR("grpc-message"), e->message);
    trailer_text(t, STR("trimtab-code"), e->code);
    trailer_text(t, STR("trimtab-place"), e->place);
    trailer_text(t, STR("trimtab-hint"), e->hint);
    trailer_text(t, STR("trimtab-at"), e->at);
    trailer_text(t, STR("grpc-accept-encoding"), e->accepts);
    r = trailer_details(t, e);
    if (!r)
        r = buf_status(&t->texts);
    if (r)
        return r;
    trailers_resolve(t);
    return 0;
}

static void answer_trailers_only(struct grpc_call *call, const struct trailers *t)
{
    struct http_header headers[TRAILERS_MAX + 1];

    headers[0] = (struct http_header){STR("content-type"), STR("application/grpc")};
    for (size_t i = 0; i < t->n; i++)
        headers[i + 1] = t->at[i];
    call->has_begun = true;
    if (exchange_begin_last(call->x, 200, headers, t->n + 1) == 0)
        (void)exchange_finish(call->x, NULL, 0); /* on_close tells */
    else
        exchange_reset(call->x);
}

static void finish(struct grpc_call *call, const struct ending *e)
{
    struct trailers t = {.texts = BUF_NULL(TRAILERS_BYTES)};
    struct ending bare = {.status = e->status};

    if (call->has_ended || !call->x)
        return;
    call->has_ended = true;
    timer_stop(&call->timer);
    /* A story that is too long is dropped rather than the status. */
    if (trailers_make(&t, e)) {
        buf_clear(&t.texts);
        t.n = 0;
        if (trailers_make(&t, &bare)) {
            exchange_reset(call->x);
            buf_deinit(&t.texts);
            return;
        }
    }
    if (call->has_begun)
        (void)exchange_finish(call->x, t.at, t.n); /* on_close tells */
    else
        answer_trailers_only(call, &t);
    buf_deinit(&t.texts);
}

/* A failure found by this layer. A handler that has the call is told by on_close, or answers in vain. */
static void fail(struct grpc_call *call, int reason, int status, const char *message)
{
    call->reason = reason;
    finish(call, &(struct ending){.status = status, .message = message});
}

/* ---- what comes in ---- */

/* Bytes of a message that is still in pieces are credited as they come, so that it may be larger than the window. */
static void add_credit(struct grpc_call *call, int64_t n)
{
    call->credit += n;
    if (call->credit <= 0 || !call->x)
        return;
    exchange_consume(call->x, (size_t)call->credit);
    call->credit = 0;
}

static const char TAKEN_ENCODINGS[] = "identity, gzip";

/* By compression.md of gRPC: who announced nothing has broken the protocol, others are told what is taken. */
static void refuse_compressed(struct grpc_call *call)
{
    struct str encoding = exchange_header(call->x, "grpc-encoding");

    if (!encoding.data || str_eq(encoding, STR("identity"))) {
        fail(call, ERR_INVALID, GRPC_INTERNAL,
             "a message is compressed, but no compression was announced");
        return;
    }
    call->reason = ERR_UNSUPPORTED;
    finish(call, &(struct ending){.status = GRPC_UNIMPLEMENTED,
                                  .message = "this compression is not supported",
                                  .accepts = TAKEN_ENCODINGS});
}

static void refuse_frame(struct grpc_call *call, int why)
{
    switch (why) {
    case GRPC_COMPRESSED: refuse_compressed(call); return;
    case GRPC_TOO_LARGE:
        fail(call, ERR_LIMIT, GRPC_RESOURCE_EXHAUSTED,
             "the message is larger than this server takes");
        return;
    case GRPC_BAD_FLAGS:
        fail(call, ERR_INVALID, GRPC_INTERNAL, "the message frame is malformed");
        return;
    default: fail(call, ERR_NOMEM, GRPC_RESOURCE_EXHAUSTED, "out of memory"); return;
    }
}

/* Nothing large is kept for somebody who has no business here. */
static void admit(struct grpc_call *call)
{
    const struct grpc_service *service = call->service;
    struct err err = ERR_NULL;
    int r;

    if (call->is_admitted || call->method->kind != GRPC_UNARY || !service->admit)
        return;
    call->is_admitted = true;
    r = service->admit(service->ctx, call->method, call->x, &err);
    if (!r)
        return;
    call->reason = r;
    finish(call, &(struct ending){.status = err_info(r)->grpc,
                                  .message = err.text,
                                  .code = err_info(r)->name,
                                  .hint = err.hint});
}

/* A message could not be unpacked (enum gzip_outcome). */
static void refuse_packed(struct grpc_call *call, int why)
{
    switch (why) {
    case GZIP_TOO_LARGE: refuse_frame(call, GRPC_TOO_LARGE); return;
    case GZIP_BROKEN:
        call->reason = ERR_INVALID;
        finish(call, &(struct ending){.status = GRPC_INTERNAL,
                                      .message = "the message cannot be decompressed",
                                      .accepts = TAKEN_ENCODINGS});
        return;
    default: refuse_frame(call, ERR_NOMEM); return;
    }
}

/* A large one came in pieces and has memory of its own, which is not copied. */
static void own_message(struct grpc_call *call, struct str message)
{
    char *own = grpc_deframer_take(&call->deframer);

    ASSERT(!call->message.data);
    if (own)
        call->message = (struct buf){.data = own,
                                     .len = message.len,
                                     .cap = message.len,
                                     .ceiling = call->message.ceiling};
    else
        buf_put_str(&call->message, message);
}

/* The one message of a unary call is kept. */
static void keep_message(struct grpc_call *call, struct str message)
{
    if (call->has_message) {
        fail(call, ERR_INVALID, GRPC_INVALID_ARGUMENT,
             "a unary call with more than one message");
        return;
    }
    call->has_message = true;
    call->is_packed = grpc_deframer_is_compressed(&call->deframer);
    if (call->is_packed)
        admit(call); /* a small message may become a large one */
    if (call->has_ended)
        return;
    own_message(call, message);
    if (buf_status(&call->message))
        fail(call, ERR_NOMEM, GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void pass_message(struct grpc_call *call, struct str message)
{
    if (call->ops && call->ops->on_message)
        call->ops->on_message(call, call->ctx, message);
}

/* Returns how many bytes the owner of a stream got. */
static size_t got_message(struct grpc_call *call, struct str message)
{
    owned(buf) struct buf plain = BUF_NULL(call->deframer.max_message);
    int r;

    if (call->method->kind == GRPC_UNARY) {
        keep_message(call, message);
        return 0;
    }
    if (!grpc_deframer_is_compressed(&call->deframer)) {
        pass_message(call, message);
        return message.len;
    }
    r = gzip_unpack(message, &plain);
    if (r) {
        refuse_packed(call, r);
        return 0;
    }
    pass_message(call, buf_str(&plain));
    return plain.len;
}

/* False: there is no room for it, and the call is refused. */
static bool hold(struct grpc_call *call)
{
    size_t bytes = call->message.len + call->unpacked.len + grpc_deframer_held(&call->deframer);

    if (exchange_hold(call->x, &call->held, bytes))
        return true;
    fail(call, ERR_LIMIT, GRPC_RESOURCE_EXHAUSTED,
         "the server holds as many large requests as it can");
    return false;
}

static void on_data(struct exchange *x, void *ctx, struct str bytes)
{
    struct grpc_call *call = ctx;
    size_t total = bytes.len, messages = 0;
    struct str message;
    int r = 0;

    (void)x;
    while (!call->has_ended &&
           (r = grpc_deframe(&call->deframer, &bytes, &message)) == GRPC_MESSAGE)
        messages += got_message(call, message);
    if (r != GRPC_NEED_MORE && r != GRPC_MESSAGE)
        refuse_frame(call, r);
    else if (!call->has_ended && hold(call) && !call->has_message)
        admit(call);
    add_credit(call, (int64_t)total - (call->is_manual ? (int64_t)messages : 0));
}

/* ---- the request of a unary call is whole ---- */

/* The owner of a unary call is done with it; what is under way on the exchange ends by itself. */
static void let_go(struct grpc_call *call)
{
    if (call->method->kind != GRPC_UNARY)
        return;
    call->is_handed_over = false;
    if (!call->x)
        call_free(call);
}

static void run_unpacking(struct work *w, void *ctx)
{
    struct grpc_call *call = ctx;

    (void)w;
    call->unpack_r = gzip_unpack(buf_str(&call->message), &call->unpacked);
}

static void unpacking_done(struct work *w, void *ctx)
{
    struct grpc_call *call = ctx;

    (void)w;
    if (call->unpack_r)
        refuse_packed(call, call->unpack_r);
    if (!grpc_is_live(call)) {
        let_go(call);
        return;
    }
    buf_deinit(&call->message);
    if (!hold(call)) {
        let_go(call);
        return;
    }
    call->method->on_call(call, call->service->ctx, buf_str(&call->unpacked));
}

/* Whoever it is handed to keeps the call until the answer. */
static void hand_over(struct grpc_call *call)
{
    call->is_handed_over = true;
    if (!call->is_packed) {
        call->method->on_call(call, call->service->ctx, buf_str(&call->message));
        return;
    }
    call->unpacked = BUF_NULL(call->deframer.max_message);
    call->unpacking = (struct work){.run = run_unpacking, .done = unpacking_done, .ctx = call};
    if (call->message.len > UNPACK_ON_LOOP) {
        loop_work(exchange_loop(call->x), &call->unpacking);
    } else {
        run_unpacking(&call->unpacking, call);
        unpacking_done(&call->unpacking, call);
    }
}

static void on_end(struct exchange *x, void *ctx)
{
    struct grpc_call *call = ctx;

    (void)x;
    if (call->has_ended)
        return;
    if (!grpc_deframer_is_clean(&call->deframer)) {
        fail(call, ERR_INVALID, GRPC_INVALID_ARGUMENT, "the request ends inside a message");
        return;
    }
    if (call->method->kind == GRPC_STREAM) {
        if (call->ops && call->ops->on_half_close)
            call->ops->on_half_close(call, call->ctx);
        return;
    }
    if (!call->has_message) {
        fail(call, ERR_INVALID, GRPC_INVALID_ARGUMENT, "a unary call without a message");
        return;
    }
    hand_over(call);
}

static void on_writable(struct exchange *x, void *ctx)
{
    struct grpc_call *call = ctx;

    (void)x;
    if (call->ops && call->ops->on_writable && !call->has_ended)
        call->ops->on_writable(call, call->ctx);
}

static void on_close(struct exchange *x, void *ctx, int reason)
{
    struct grpc_call *call = ctx;

    (void)x;
    if (call->method->kind == GRPC_STREAM) {
        call->has_ended = true;
        if (call->ops && call->ops->on_close)
            call->ops->on_close(call, call->ctx, call->reason ? call->reason : reason);
        call_free(call);
        return;
    }
    call->x = NULL;
    timer_stop(&call->timer);
    if (!call->is_handed_over)
        call_free(call);
}

static const struct exchange_ops ops = {on_data, on_end, on_writable, on_close};

/* ---- the beginning ---- */

static const struct grpc_method *find_method(const struct grpc_service *service,
                                             struct str path)
{
    for (size_t i = 0; i < service->n; i++)
        if (str_eq(path, str_c(service->methods[i].path)))
            return &service->methods[i];
    return NULL;
}

bool grpc_wants(const struct grpc_service *service, const struct exchange *x)
{
    return grpc_is_content_type(exchange_header(x, "content-type")) ||
           find_method(service, exchange_path(x));
}

static void on_deadline(struct timer *t, void *ctx)
{
    (void)t;
    fail(ctx, ERR_TIMEOUT, GRPC_DEADLINE_EXCEEDED, "the deadline has passed");
}

static void refuse(struct exchange *x, int status, struct str code)
{
    struct http_header headers[] = {{STR("content-type"), STR("application/grpc")},
                                    {STR("grpc-status"), code}};

    (void)exchange_respond(x, status, headers, ARRAY_LEN(headers), NULL,
                           0); /* without memory it is reset */
}

static struct grpc_call *call_new(const struct grpc_service *service,
                                  const struct grpc_method *method)
{
    struct grpc_call *call = NEW(struct grpc_call);
    size_t max = service->max_message ? service->max_message : DEFAULT_MAX_MESSAGE;

    if (!call)
        return NULL;
    call->service = service;
    call->method = method;
    call->timer = (struct timer){.fn = on_deadline, .ctx = call};
    grpc_deframer_init(&call->deframer,
                       method && method->max_message ? method->max_message : max);
    call->message.ceiling = call->deframer.max_message;
    return call;
}

static void start_deadline(struct grpc_call *call)
{
    struct str text = exchange_header(call->x, "grpc-timeout");
    struct loop *loop = exchange_loop(call->x);
    nsec_t nsec;

    if (!text.data || call->has_ended)
        return;
    if (!grpc_timeout_get(text, &nsec)) {
        fail(call, ERR_INVALID, GRPC_INVALID_ARGUMENT, "grpc-timeout is malformed");
        return;
    }
    if (nsec > (nsec_t)INT64_MAX - loop_now(loop))
        return;
    call->deadline = loop_now(loop) + nsec;
    timer_start(&call->timer, loop, nsec / NSEC_PER_MS, 0);
}

void grpc_handle(const struct grpc_service *service, struct exchange *x)
{
    static const struct grpc_method unknown = {"", GRPC_UNARY, NULL, NULL, 0};
    const struct grpc_method *method = find_method(service, exchange_path(x));
    struct grpc_call *call;

    if (!grpc_is_content_type(exchange_header(x, "content-type"))) {
        refuse(x, 415, STR("3"));
        return;
    }
    if (!str_eq(exchange_method(x), STR("POST")) || exchange_http_version(x) != 20) {
        refuse(x, exchange_http_version(x) == 20 ? 405 : 505, STR("12"));
        return;
    }
    call = call_new(service, method ? method : &unknown);
    if (!call) {
        refuse(x, 200, STR("8"));
        return;
    }
    call->x = x;
    call->deframer.takes_compressed = str_eq(exchange_header(x, "grpc-encoding"), STR("gzip"));
    exchange_set_ops(x, &ops, call);
    if (!method) {
        fail(call, ERR_UNSUPPORTED, GRPC_UNIMPLEMENTED, "unknown method");
        return;
    }
    start_deadline(call);
    if (method->kind == GRPC_STREAM && !call->has_ended)
        method->on_call(call, service->ctx, STR_NULL);
}

/* ---- the owner's calls ---- */

struct exchange *grpc_exchange(struct grpc_call *call)
{
    return call->x;
}

struct str grpc_metadata(struct grpc_call *call, const char *name)
{
    return call->x ? exchange_header(call->x, name) : STR_NULL;
}

const struct grpc_method *grpc_call_method(const struct grpc_call *call)
{
    return call->method;
}

void *grpc_call_service(const struct grpc_call *call)
{
    return call->service->ctx;
}

bool grpc_is_live(const struct grpc_call *call)
{
    return call->x && !call->has_ended && exchange_is_live(call->x);
}

nsec_t grpc_deadline(const struct grpc_call *call)
{
    return call->deadline;
}

void grpc_set_ops(struct grpc_call *call, const struct grpc_ops *with, void *ctx)
{
    call->ops = with;
    call->ctx = ctx;
}

enum packing { PLAIN, PACKED };

static void begin(struct grpc_call *call, enum packing packing)
{
    static const struct http_header headers[] = {
        {STR("content-type"), STR("application/grpc")},
        {STR("grpc-encoding"), STR("gzip")}};

    if (call->has_begun)
        return;
    call->has_begun = true;
    (void)exchange_begin(call->x, 200, headers, packing == PACKED ? 2 : 1);
    /* the write that follows tells */
}

int grpc_send(struct grpc_call *call, const struct segment *segments, size_t n)
{
    unsigned char prefix[GRPC_PREFIX_BYTES];
    size_t total = 0;

    if (call->has_ended || !call->x)
        return ERR_CANCELLED;
    for (size_t i = 0; i < n; i++)
        total = size_add(total, segments[i].bytes.len);
    if (total > UINT32_MAX)
        return ERR_LIMIT;
    grpc_prefix_put(prefix, total);
    begin(call, PLAIN);
    return exchange_write_prefixed(call->x, str_of(prefix, sizeof(prefix)), segments, n);
}

int grpc_send_framed(struct grpc_call *call, struct shared *framed)
{
    struct segment segment = segment_shared(framed);

    if (call->has_ended || !call->x)
        return ERR_CANCELLED;
    begin(call, PLAIN);
    return exchange_write(call->x, &segment, 1);
}

size_t grpc_queued(const struct grpc_call *call)
{
    return call->x ? exchange_queued(call->x) : 0;
}

void grpc_manual_consume(struct grpc_call *call)
{
    call->is_manual = true;
}

void grpc_consume(struct grpc_call *call, size_t n)
{
    add_credit(call, (int64_t)n);
}

/* ---- compressed answers ---- */

static bool takes_gzip(const struct grpc_call *call)
{
    struct str list = exchange_header(call->x, "grpc-accept-encoding"), word;

    while (list.len && str_next(&list, ',', &word))
        if (str_eq(str_trim(word), STR("gzip")))
            return true;
    return false;
}

/* Puts the answer as a compressed message. False: it is better sent as it is, also for lack of memory. */
static bool pack(const struct segment *segments, size_t n, struct buf *out)
{
    owned(buf) struct buf plain = BUF_NULL(PACK_MAX);
    char *prefix = buf_room(out, GRPC_PREFIX_BYTES);

    for (size_t i = 0; i < n; i++)
        buf_put_str(&plain, segments[i].bytes);
    if (!prefix || buf_status(&plain) || plain.len < PACK_MIN)
        return false;
    buf_added(out, GRPC_PREFIX_BYTES);
    if (gzip_pack(buf_str(&plain), out))
        return false;
    grpc_prefix_put((unsigned char *)out->data, out->len - GRPC_PREFIX_BYTES);
    out->data[0] = 1;
    return true;
}

static int send_answer(struct grpc_call *call, const struct segment *segments, size_t n)
{
    owned(buf) struct buf packed = BUF_NULL(GRPC_PREFIX_BYTES + PACK_MAX);
    struct segment segment;

    if (!takes_gzip(call) || !pack(segments, n, &packed))
        return grpc_send(call, segments, n);
    segment = segment_copy(buf_str(&packed));
    begin(call, PACKED);
    return exchange_write(call->x, &segment, 1);
}

void grpc_reply(struct grpc_call *call, const struct segment *segments, size_t n)
{
    if (grpc_is_live(call) && exchange_is_overdrawn(call->x)) {
        grpc_fail(call, GRPC_RESOURCE_EXHAUSTED, "answers on this connection wait to be read");
        return;
    }
    if (grpc_is_live(call)) {
        if (send_answer(call, segments, n) == 0)
            finish(call, &(struct ending){.status = GRPC_OK});
        else
            exchange_reset(call->x);
    }
    let_go(call);
}

void grpc_fail(struct grpc_call *call, int status, const char *message)
{
    finish(call, &(struct ending){.status = status, .message = message});
    let_go(call);
}

void grpc_fail_err(struct grpc_call *call, const struct err *err)
{
    const struct err_info *info = err_info(err->code);
    char at[32] = "";

    if (err->line)
        (void)snprintf(at, sizeof(at), "%u:%u", err->line, err->column);
    finish(call, &(struct ending){.status = info->grpc,
                                  .message = err->text,
                                  .code = info->name,
                                  .place = err->place,
                                  .hint = err->hint,
                                  .at = at});
    let_go(call);
}

void grpc_finish(struct grpc_call *call, int status, const char *message)
{
    finish(call, &(struct ending){.status = status, .message = message});
}

void grpc_reset(struct grpc_call *call)
{
    if (call->x)
        exchange_reset(call->x);
    call->has_ended = true;
}

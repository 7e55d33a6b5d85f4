/*
 * The gRPC server, on top of exchanges: a table of methods, unary and streaming.
 *
 * In its on_request the program asks grpc_wants(service, x) and hands such an exchange to grpc_handle. Each
 * call is then its handler's:
 *
 *   unary      on_call gets the whole request message. The call lives until the handler answers by grpc_reply or
 *              grpc_fail, now or later, whether the peer is still there or not (grpc_is_live tells).
 *   streaming  on_call gets an empty message and must call grpc_set_ops, or fail the call at once. on_close comes
 *              exactly once, after it the call is gone; it never runs inside a call of the owner into this header.
 *
 * Messages compressed with gzip are taken (grpc-encoding), and none becomes larger than its method takes. Answers of unary calls
 * between 1 KiB and 1 MiB are compressed for clients that take it (grpc-accept-encoding); what is sent on streams never is,
 * as one frame goes to many.
 *
 * Deadlines of the peer (grpc-timeout) are kept: when one passes, the peer gets DEADLINE_EXCEEDED, a stream gets
 * on_close(ERR_TIMEOUT), a unary handler's late reply is dropped.
 */
#ifndef TRIMTAB_NET_GRPC_H
#define TRIMTAB_NET_GRPC_H

#include "net/http.h"

/* google.rpc.Code */
enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

struct grpc_call;

/* service_ctx is grpc_service.ctx. message: empty for streams; of a unary call it stays valid until the answer. */
typedef void grpc_call_fn(struct grpc_call *call, void *service_ctx, struct str message);

enum grpc_kind { GRPC_UNARY, GRPC_STREAM };

struct grpc_method {
    const char *path; /* "/trimtab.v1.Admin/Get" */
    enum grpc_kind kind;
    grpc_call_fn *on_call;
    const void *ctx;    /* the handler reads it by grpc_call_method */
    size_t max_message; /* 0: the service's */
};

/* Borrowed: must outlive the server. */
struct grpc_service {
    const struct grpc_method *methods;
    size_t n;
    void *ctx;
    size_t max_message; /* 0: 4 MiB */
    /*
     * Asked once for a unary call whose message does not come at once, before more of it is kept, or is compressed, before it is
     * unpacked: 0, or why not. NULL: everybody may send. The handler asks again, with the whole message.
     */
    int (*admit)(void *ctx, const struct grpc_method *method, const struct exchange *x,
                 struct err *err);
};

/* Whether the exchange is a gRPC call (by content type) or names one of the methods. */
bool grpc_wants(const struct grpc_service *service, const struct exchange *x);

/* Takes the exchange over. Unknown methods get UNIMPLEMENTED, a wrong content type 415, a wrong method 405. */
void grpc_handle(const struct grpc_service *service, struct exchange *x);

/* ---- the call ---- */

/* The exchange below, for headers (metadata), peer, loop. Valid as long as the call; NULL once the peer is gone. */
struct exchange *grpc_exchange(struct grpc_call *call);
/* Metadata by lower-case name; data is NULL when it is not there or the peer is gone. */
struct str grpc_metadata(struct grpc_call *call, const char *name);
const struct grpc_method *grpc_call_method(const struct grpc_call *call);
void *grpc_call_service(const struct grpc_call *call); /* grpc_service.ctx */
bool grpc_is_live(const struct grpc_call *call);
/* Until when the peer waits; 0: for ever. */
nsec_t grpc_deadline(const struct grpc_call *call);

/* Answers a unary call. The prefix is added. After this the call is gone. */
void grpc_reply(struct grpc_call *call, const struct segment *segments, size_t n);

/*
 * Fails a unary call or ends a stream. message (any UTF-8 text) is percent-encoded; it travels once more in
 * grpc-status-details-bin, as every failure that has a message (grpc_status.h). A unary call is gone after this.
 */
void grpc_fail(struct grpc_call *call, int status, const char *message);

/*
 * The same from a story: status by err_info, text as message; code name, place and hint travel in trailers of ours
 * (trimtab-code, -place, -at, -hint), from which our client makes the same story again.
 */
void grpc_fail_err(struct grpc_call *call, const struct err *err);

struct grpc_ops {
    void (*on_message)(struct grpc_call *call, void *ctx,
                       struct str message);                   /* borrowed until return */
    void (*on_half_close)(struct grpc_call *call, void *ctx); /* the peer sends no more */
    void (*on_writable)(struct grpc_call *call,
                        void *ctx); /* queue fell below limits.write_low */
    void (*on_close)(struct grpc_call *call, void *ctx,
                     int reason); /* as exchange_ops.on_close */
};

/* Must be called inside on_call of a stream; ops members may be NULL, on_close should not be. */
void grpc_set_ops(struct grpc_call *call, const struct grpc_ops *ops, void *ctx);

/* One message made of n segments; the prefix is added. ERR_NOMEM, ERR_CANCELLED as exchange_write; on_close tells too. */
int grpc_send(struct grpc_call *call, const struct segment *segments, size_t n);

/*
 * One message whose owner's bytes already start with the 5-byte prefix (grpc_frame.h: grpc_prefix_put): cheapest
 * for the same message to many streams, as each costs one queue entry.
 */
int grpc_send_framed(struct grpc_call *call, struct shared *framed);

size_t grpc_queued(const struct grpc_call *call);

/*
 * From now on the bytes of messages are credited to the peer by grpc_consume only, so that a consumer that hands
 * messages on (to a thread, to a disk) can hold the peer back; without this, when on_message returns.
 */
void grpc_manual_consume(struct grpc_call *call);
void grpc_consume(struct grpc_call *call, size_t n);

/* Ends a stream. GRPC_OK: after all messages; message may be NULL. on_close comes later. */
void grpc_finish(struct grpc_call *call, int status, const char *message);
/* Breaks a stream off (RST_STREAM). on_close comes later. */
void grpc_reset(struct grpc_call *call);

#endif

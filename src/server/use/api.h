/*
 * Use cases: one function per thing that a person can do. REST and gRPC only translate to and from the messages of
 * proto/trimtab/v1/admin.proto.
 *
 * A call is made by its front end (api_call_new), run once, and ends in exactly one api_answer or api_fail, now or
 * later, on the loop; both give the result to the front end and free the call.
 */
#ifndef TRIMTAB_SERVER_USE_API_H
#define TRIMTAB_SERVER_USE_API_H

#include "base/arena.h"
#include "base/segment.h"
#include "server/hub/errand.h"
#include "server/use/desk.h"
#include "server/use/sight.h"

#include <trimtab/v1/admin.pb-c.h>
#include <trimtab/v1/record.pb-c.h>

struct api_call;
struct api_work;
struct kept_record;
struct instance_page;
struct status_wait;
struct rollout_wait;

struct api_method {
    const char *name; /* as in the service Admin */
    const ProtobufCMessageDescriptor *request;
    enum right_to right; /* somewhere; the use case asks where */
    void (*run)(struct api_call *call);
};

/*
 * How an answer is given. As text it may be there in no other form, and with a content as bytes the response may be without it:
 * what is large is made once, beside the loops, or shared.
 */
enum api_form { API_MESSAGE, API_TEXT, API_BYTES };

/* On the home loop: call->err has a code, or there is a response (api_response). The call is freed after it returns. */
typedef void api_done_fn(void *ctx, struct api_call *call);

struct api_call {
    struct errand errand; /* to the hub's thread, on which it is run */
    struct loop *home;    /* on which it is made and answered */
    struct hub *hub;
    struct driver *driver;
    const struct api_method *method;
    struct identity who;
    struct principal principal; /* the same; borrows from who */
    char origin[96];
    const ProtobufCMessage *request; /* lives until the end, as do the slices it points to */
    struct arena arena;              /* for the response */
    struct state *state;             /* pinned by whoever needs it past this turn */
    api_done_fn *done;
    void *ctx;

    struct kept_record
        *records; /* that the request or the response points into; freed with the call */
    struct commit_job commit;                 /* used by what publishes */
    void (*committed)(struct api_call *call); /* answers when it is done */
    bool (*again)(
        struct api_call *call); /* after a conflict: true when it is worth another try */
    unsigned n_again;
    struct work beside;      /* what is found out about it, or made of it, by a worker */
    struct state *looked_at; /* by it; NULL: nothing is */
    struct str *diffs;       /* of a dry run, one for each change */
    size_t diff_bytes;       /* of all together */
    struct read_job read;                   /* used by what reads history */
    ProtobufCMessage *response;             /* the hub's, which borrows from what the hub has */
    const ProtobufCMessageDescriptor *type; /* of the response */
    struct shared *packed;                  /* the same for another thread */
    enum api_form form;                     /* that the caller takes */
    struct shared *text;  /* of API_TEXT, where it was made beside the loops */
    struct segment bytes; /* of API_BYTES, where it is shared; a reference */
    ProtobufCMessage *unpacked;             /* the same on that thread */
    struct err err;
    int result;
    struct api_work *ctx_work; /* of the read that runs */
    struct status_wait *status;
    struct rollout_wait *rollout;
    Trimtab__V1__RolloutPicture
        *picture;         /* that the response points into; freed with the call */
    struct instance_page *page; /* that the response points into; let go of with the call */
    struct waiter waiter; /* used by what waits */
    struct timer timer;
};

/* To be answered on this loop. NULL without memory. */
must_use struct api_call *api_call_new(const struct desk *desk, struct loop *home,
                                       const struct api_method *method);
/* Drops a call that was not run. */
void api_call_free(struct api_call *call);

/* On its home loop. */
void api_run(struct api_call *call);

void api_answer(struct api_call *call, ProtobufCMessage *response);
void api_fail(struct api_call *call, const struct err *err);
/* Without a story of its own. */
void api_fail_code(struct api_call *call, int code);

/* Fails with r, and with the story of call->err if it has one. */
void api_fail_here(struct api_call *call, int r);

/* The answer, in either form, on the home loop; borrowed from the call. NULL without memory. */
const ProtobufCMessage *api_response(struct api_call *call);
struct shared *api_packed(struct api_call *call);
/* A message as people get it: JSON and a line feed. NULL without memory, or when it would be over 256 MiB. */
must_use struct shared *api_text_of(const ProtobufCMessage *m);

/*
 * Whether the caller has a right in a namespace (SPACE_EVERYTHING: on everything), by the newest state. 0, or ERR_DENIED with the
 * story in call->err.
 */
must_use int api_require(struct api_call *call, enum right_to right, struct str space);
/* The right to see a resource. ERR_INVALID, too. */
must_use int api_require_sight(struct api_call *call, const char *id);
/* What he sees, by the state that the call has pinned, or else the newest one. */
struct sight api_sight(const struct api_call *call);

/*
 * Runs work on the thread that reads history; finish is called on the loop. What is answered by api_read_finish is brought into
 * its form there, too, so that large answers cost the loops nothing.
 */
void api_read(struct api_call *call, void (*work)(struct api_call *call, struct store *store),
              void (*finish)(struct api_call *call));
/* The same on the committer's thread, with the store itself. */
void api_visit(struct api_call *call, void (*work)(struct api_call *call, struct store *store),
               void (*finish)(struct api_call *call));
/* The usual finish: answers call->response or fails with call->err. */
void api_read_finish(struct api_call *call);

/* ---- shared by the use cases ---- */

/* A version as people see it, on the arena. */
Trimtab__V1__Resource *resource_message(const struct version *v, bool with_content,
                                        struct arena *a);
/* The content goes to text when it is UTF-8 without NUL, else to bytes. Copied. */
void resource_set_content(Trimtab__V1__Resource *r, struct str content, struct arena *a);

/* The key of an id, on the arena. ERR_INVALID, ERR_NOMEM. */
must_use int api_key(struct api_call *call, const char *id, struct str *ret_key,
                     struct err *err);

/*
 * The record of a revision, read at most once per call and kept until its end, so that slices into it stay. On the
 * thread of api_read. ERR_COMPACTED, ERR_NOT_FOUND with the story in call->err.
 */
must_use int api_record(struct api_call *call, struct store *store, uint64_t revision,
                        const Trimtab__V1__Record **ret_record);
/* Lets go of the newest kept record, when nothing points into it. */
void api_record_drop(struct api_call *call);
/* The change of this id in a record, or NULL. */
const Trimtab__V1__RecordChange *record_change(const Trimtab__V1__Record *record,
                                               const char *id);

/*
 * The revision to look for versions up to `version` from: of a mark, when there is one behind it, else of the newest
 * version. Its record has a change of id.
 */
uint64_t api_version_from(struct api_call *call, struct store *store,
                          const struct version *newest, const char *id, uint64_t version);
/*
 * Follows the chain of versions from there back to `version` (0: the one before the newest), to the record in which
 * the change is. ERR_NOT_FOUND, ERR_COMPACTED with the story in call->err.
 */
must_use int api_record_of_version(struct api_call *call, struct store *store,
                                   const struct version *newest, const char *id,
                                   uint64_t version, const Trimtab__V1__Record **ret_record,
                                   uint64_t *ret_revision);

#endif

/*
 * Failures: one closed list of codes for the whole tree, and the story that goes with a code.
 *
 * A function returns 0 when done, a negative enum err_code when it failed, and a positive value for an
 * outcome that its own header lists and its caller must decide. A negative code travels up unchanged; the
 * story (struct err) is told once, by whoever detects the failure, and is read by people, never by code.
 * One table gives each code its name and its HTTP, gRPC and exit status, so every way out agrees.
 */
#ifndef TRIMTAB_BASE_ERR_H
#define TRIMTAB_BASE_ERR_H

#include "base/attr.h"

#include <stdint.h>

enum err_code {
    ERR_OK = 0,
    ERR_NOMEM = -1,            /* an allocation failed; nothing was changed */
    ERR_IO = -2,               /* the system refused a read, write, sync or socket operation */
    ERR_CORRUPT = -3,          /* bytes that we once wrote are not what we wrote */
    ERR_LIMIT = -4,            /* over a documented limit */
    ERR_CANCELLED = -5,        /* given up because the caller or the peer went away */
    ERR_TIMEOUT = -6,          /* a deadline passed; whether it happened is unknown */
    ERR_INVALID = -7,          /* the input is wrong; the place says where */
    ERR_NOT_FOUND = -8,        /* no such thing */
    ERR_CONFLICT = -9,         /* based on a version that is not the newest */
    ERR_EXISTS = -10,          /* there already */
    ERR_DENIED = -11,          /* known, but without the right to do this */
    ERR_UNAUTHENTICATED = -12, /* not known: no or wrong credentials */
    ERR_UNAVAILABLE = -13,     /* not now: starting, draining, or not reachable */
    ERR_UNSUPPORTED = -14,     /* not in this version */
    ERR_COMPACTED = -15,       /* history that retention has removed */
    ERR_LOCKED = -16,          /* held by something that must end first */
    ERR_REFUSED = -17,         /* an instance or a check refused what it was given */
    ERR_BUG = -18,             /* our own promise was broken */
};

#define ERR_CODE_LAST ERR_BUG

struct err_info {
    const char *name; /* stable, upper case, what JSON carries: "NOT_FOUND" */
    int http;         /* RFC 9110 status */
    int grpc;         /* google.rpc.Code */
    int exit_status;  /* of the command line */
};

/* The row of a code; an unknown code gets the row of ERR_BUG. Never NULL. */
const struct err_info *err_info(int code);

/* The code with this name, or ERR_BUG. */
int err_code_from_name(const char *name);

/* The code that best renders a gRPC status from elsewhere; 0 for status 0. */
int err_code_from_grpc(int status);

enum { ERR_TEXT_MAX = 2000, ERR_PLACE_MAX = 300, ERR_HINT_MAX = 300 };

/*
 * The story of a failure. Belongs to the caller, needs no release; texts that do not fit are cut and end in
 * "...". Every function that takes one accepts NULL.
 */
struct err {
    int code;                  /* enum err_code, 0 when there is no story */
    uint32_t line, column;     /* 1-based place in a text; 0 when there is none */
    char text[ERR_TEXT_MAX];   /* what is wrong */
    char place[ERR_PLACE_MAX]; /* where: a resource, a file, a field */
    char hint[ERR_HINT_MAX];   /* what would help */
};

#define ERR_NULL ((struct err){0})

/* The same where it is done for every message: a story is large, and only its beginnings must be empty. */
static inline void err_clear(struct err *err)
{
    err->code = 0;
    err->line = err->column = 0;
    err->text[0] = err->place[0] = err->hint[0] = '\0';
}

/* Tells the story and returns code, so that "return err_set(err, ERR_INVALID, ...)" is one line. */
int err_set(struct err *err, int code, const char *fmt, ...) printf_like(3, 4);

/* Adds to a story already told. The place is set only if nobody nearer to the fault has set it. */
void err_place(struct err *err, const char *fmt, ...) printf_like(2, 3);
void err_hint(struct err *err, const char *fmt, ...) printf_like(2, 3);
void err_at(struct err *err, uint32_t line, uint32_t column);

/* "text (with strerror of errno)", code ERR_IO. Reads errno before anything else. */
int err_set_errno(struct err *err, const char *fmt, ...) printf_like(2, 3);

/* The whole story on one line, for logs and terminals: "place:line:column: text; hint". */
const char *err_describe(const struct err *err, char *line, size_t size);

/* A static analyzer looks at one file at a time: it shall know what these return. */
#ifdef __clang_analyzer__
#define err_set(err, code, ...) ((void)(err_set)(err, code, __VA_ARGS__), (code))
#define err_set_errno(err, ...) ((void)(err_set_errno)(err, __VA_ARGS__), ERR_IO)
#endif

/* Ends the process loudly: for promises between our own functions, never for input. */
noreturn_fn void bug(const char *file, int line, const char *what);
#define ASSERT(cond) ((cond) ? (void)0 : bug(__FILE__, __LINE__, #cond))

#endif

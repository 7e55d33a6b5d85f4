/*
 * libtrimtab: configuration values that a Trimtab server pushes, read in nanoseconds.
 *
 *     struct trimtab_options *o = trimtab_options_new();
 *     trimtab_options_server(o, "127.0.0.1:7700");
 *     trimtab_options_token_file(o, "/etc/shop/trimtab.token");
 *     trimtab_options_namespace(o, "shop/prod");      // first wins
 *     trimtab_options_namespace(o, "shop/common");
 *     struct trimtab *t = trimtab_open(o);
 *     trimtab_options_free(o);
 *     trimtab_wait(t, 2000);                          // or start with defaults
 *
 *     int64_t max = trimtab_get_int(t, "pool.max", 32);
 *
 * or, on a host whose agent keeps a segment, without server, token and network, and also while the agent is down:
 *
 *     trimtab_options_segment(o, "/run/trimtab/shop.segment");
 *
 * Items (resources of kind `item`) are read by the name they have in the first namespace that has it.
 *
 * Threads: everything may be called from any thread, but for trimtab_close, which must be the last call; nothing from a signal
 * handler. Reads take no lock, allocate nothing and make no system call (the first read of each thread allocates its
 * reader slot; of a segment, one read in a quarter of a second looks whether its name leads to another file). One thread of
 * the library's own talks to the server; it blocks all signals, never writes to standard error, and is gone when
 * trimtab_close returns. A segment needs a thread only for trimtab_watch.
 *
 * Forks: a child reads on. From a segment it gets every change, as its parent does; from a server it keeps the values of the
 * moment, for the connection is its parent's. Watches stay with the parent; of a segment the child may set its own.
 *
 * Failure: a getter gives the default when there is no such item or its value has another type (an int is taken for a
 * float). Nothing here aborts. trimtab_problem tells what is wrong.
 */
#ifndef TRIMTAB_TRIMTAB_H
#define TRIMTAB_TRIMTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TRIMTAB_API __attribute__((visibility("default")))
#else
#define TRIMTAB_API
#endif

struct trimtab;
struct trimtab_options;
struct trimtab_snapshot;
struct trimtab_handle;

/* The version of the library, "0.1.0". */
TRIMTAB_API const char *trimtab_version(void);

/* ---- options; texts are copied; each returns false when there is no memory, and open then fails ---- */

TRIMTAB_API struct trimtab_options *trimtab_options_new(void); /* NULL: no memory */
TRIMTAB_API void trimtab_options_free(struct trimtab_options *o);
/* "host:port"; may be given several times, tried in order. Standard: 127.0.0.1:7700. */
TRIMTAB_API bool trimtab_options_server(struct trimtab_options *o, const char *address);
TRIMTAB_API bool trimtab_options_token(struct trimtab_options *o, const char *token);
TRIMTAB_API bool trimtab_options_token_file(struct trimtab_options *o, const char *path);
/* Speaks TLS, trusting this authority (PEM); cert and key may be NULL. */
TRIMTAB_API bool trimtab_options_tls(struct trimtab_options *o, const char *ca_file,
                                     const char *cert_file, const char *key_file);
/* A namespace to read, in order of priority; may contain labels, "shop/{env}". At least one. */
TRIMTAB_API bool trimtab_options_namespace(struct trimtab_options *o, const char *name);
TRIMTAB_API bool trimtab_options_label(struct trimtab_options *o, const char *key,
                                       const char *value);
/*
 * Reads the segment at this path, which an agent of this host keeps, and no server: no other option goes with it. It need not
 * be there yet. A program that may read the file needs no token; one that may not read it gets defaults. Whoever can cut the
 * file short while it is mapped can end the program by SIGBUS: the owner of the file, who should be the agent or root.
 */
TRIMTAB_API bool trimtab_options_segment(struct trimtab_options *o, const char *path);
/* A stable name of this instance; standard: made anew at every open. */
TRIMTAB_API bool trimtab_options_instance(struct trimtab_options *o, const char *id);

/* ---- life ---- */

/*
 * Starts to connect, in the background, for ever; from a segment that is there values can be read at once. NULL when there is
 * no memory, no namespace, a file of the options cannot be read, or options exclude each other; trimtab_open_error tells
 * why, for this thread, until the next open.
 */
TRIMTAB_API struct trimtab *trimtab_open(const struct trimtab_options *o);
TRIMTAB_API const char *trimtab_open_error(void);
/* Stops the thread and frees everything, handles too. No callback runs after it. NULL is fine. */
TRIMTAB_API void trimtab_close(struct trimtab *t);

/* Waits until the first values have come; false after timeout_ms milliseconds. */
TRIMTAB_API bool trimtab_wait(struct trimtab *t, unsigned timeout_ms);
/* Of a segment: it is there, and nothing is known to be wrong with it. */
TRIMTAB_API bool trimtab_is_connected(const struct trimtab *t);
/*
 * What keeps the values from being the newest, for people: copied as by trimtab_get_string. 0: nothing that is known. Bytes of a
 * segment that are not what the agent wrote are never taken for values: by name the default is read then, by handle the
 * last good value.
 */
TRIMTAB_API size_t trimtab_problem(const struct trimtab *t, char *out, size_t size);
/* The revision that is read now; 0 before the first values. */
TRIMTAB_API uint64_t trimtab_revision(const struct trimtab *t);

/* ---- values by name ---- */

TRIMTAB_API bool trimtab_get_bool(struct trimtab *t, const char *name, bool standard);
TRIMTAB_API int64_t trimtab_get_int(struct trimtab *t, const char *name, int64_t standard);
TRIMTAB_API double trimtab_get_float(struct trimtab *t, const char *name, double standard);
/*
 * Copies a string, or the JSON text of a list or object, closed by a NUL and cut to size. Returns its whole length in
 * bytes, as snprintf does; the length of standard when there is none.
 */
TRIMTAB_API size_t trimtab_get_string(struct trimtab *t, const char *name, const char *standard,
                                      char *out, size_t size);

/* ---- values by handle: an atomic load and a compare; of a segment, the first read after a change looks the name up ---- */

/* The handle of a name, the same one each time; lives until close. The item need not exist. NULL: no memory. */
TRIMTAB_API struct trimtab_handle *trimtab_handle(struct trimtab *t, const char *name);
TRIMTAB_API bool trimtab_handle_bool(const struct trimtab_handle *h, bool standard);
TRIMTAB_API int64_t trimtab_handle_int(const struct trimtab_handle *h, int64_t standard);
TRIMTAB_API double trimtab_handle_float(const struct trimtab_handle *h, double standard);

/* ---- several values of one revision ---- */

/*
 * What is read now, unchanging until released. Release it soon, on the same thread. NULL: no memory, or a damaged segment;
 * getters give defaults of it then. Of a segment it is a copy in memory of the program's own, which takes over only what
 * changed since the last one; taking it waits for another thread that does so.
 */
TRIMTAB_API const struct trimtab_snapshot *trimtab_snapshot_acquire(struct trimtab *t);
TRIMTAB_API void trimtab_snapshot_release(const struct trimtab_snapshot *s);
TRIMTAB_API uint64_t trimtab_snapshot_revision(const struct trimtab_snapshot *s);
TRIMTAB_API bool trimtab_snapshot_bool(const struct trimtab_snapshot *s, const char *name,
                                       bool standard);
TRIMTAB_API int64_t trimtab_snapshot_int(const struct trimtab_snapshot *s, const char *name,
                                         int64_t standard);
TRIMTAB_API double trimtab_snapshot_float(const struct trimtab_snapshot *s, const char *name,
                                          double standard);
/* Valid until the release. Strings, and lists and objects as JSON text. */
TRIMTAB_API const char *trimtab_snapshot_string(const struct trimtab_snapshot *s,
                                                const char *name, const char *standard);

/* ---- changes ---- */

/*
 * A change of one item: the JSON text before and after; NULL where there is none. Valid until the callback returns.
 */
struct trimtab_change {
    const char *name;
    const char *before, *after;
    uint64_t revision;
};

/*
 * Calls fn on the library's thread for each change of a name that fits the pattern ('*' is any run of characters),
 * after readers see the new values; once for each item at the first values. It may read, but not close. Returns an id
 * for trimtab_unwatch, 0 when there is no memory. Of a segment whose values change faster than callbacks return, versions
 * in between are skipped.
 */
TRIMTAB_API unsigned trimtab_watch(struct trimtab *t, const char *pattern,
                                   void (*fn)(void *ctx, const struct trimtab_change *change),
                                   void *ctx);
/* After it returns fn is not running and never runs again; not from inside fn. */
TRIMTAB_API void trimtab_unwatch(struct trimtab *t, unsigned id);

/* ---- how it goes ---- */

/*
 * Says whether the program does with the values that it reads now: a failure counts against the rollouts that have
 * reached it by then, and may end them. Say it when that changes, and anew when a change was judged, good or bad; what was
 * said last is repeated after a reconnect, with the revision of trimtab_revision when it was said. reason, of a failure,
 * is for people: UTF-8, copied, cut to 1 KiB; NULL is fine. A program that never calls this is taken to be well. Any
 * thread; returns false when there is no memory, and nothing is said then. A segment carries nothing back: false; say it to
 * the agent (`trimtab-agent health`).
 */
TRIMTAB_API bool trimtab_report_health(struct trimtab *t, bool failing, const char *reason);

#ifdef __cplusplus
}
#endif

#endif

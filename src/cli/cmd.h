/*
 * Commands of the command line: a table of rows, one file per group of verbs. A command gets its words after the
 * global flags were taken; it prints its result to standard output and talks on standard error.
 */
#ifndef TRIMTAB_CLI_CMD_H
#define TRIMTAB_CLI_CMD_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdio.h>
#include <trimtab/v1/admin.pb-c.h>

enum output { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_NAME };

/* How the server is reached, and how results are shown. */
struct cli {
    struct arena arena;
    const char *server, *token, *token_file, *ca, *cert, *key, *context;
    enum output output;
    bool is_quiet;
};

/* One flag of a command. Exactly one target is not NULL. */
struct flag {
    const char *name; /* "--message" */
    char letter;      /* 'm', or 0 */
    const char *help;
    const char **text;
    bool *is_set;
    uint64_t *number;
    struct texts *list; /* may be given many times */
};

/* Outcomes of a command besides 0. */
enum command_outcome {
    COMMAND_DIFFERS = 1, /* there is a difference, and it was asked for as exit status */
    COMMAND_HELPED,      /* the help was printed */
};

struct command {
    const char *name, *usage, *help;
    int (*run)(struct cli *cli, int argc, char **argv, struct err *err);
};

extern const struct command *const commands[];
extern const size_t commands_n;

/*
 * Takes flags out of argv (argv[0] is the command) and leaves the other words in words. ERR_INVALID with the usage as
 * hint; COMMAND_HELPED after --help was answered.
 */
enum { WORDS_MAX = 4096 };
struct words {
    char *at[WORDS_MAX];
    size_t n;
};
must_use int take_flags(const struct command *c, const struct flag *flags, size_t n_flags,
                        int argc, char **argv, struct words *words, struct err *err);

/* A usage error of this command. */
int usage(const struct command *c, struct err *err, const char *fmt, ...) printf_like(3, 4);

/* Calls a method of the service Admin; *ret is on the arena. timeout_ms 0: 30 s. */
must_use int call(struct cli *cli, const char *method, const ProtobufCMessage *request,
                  const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret,
                  uint32_t timeout_ms, struct err *err);

/*
 * Adds the entries of a page's list, a field of both, to those of another answer; cap: room of that one, at first as many as it
 * has.
 */
must_use int page_add(struct cli *cli, ProtobufCMessage *all, const ProtobufCMessage *page,
                      const char *list, size_t *cap, struct err *err);
/*
 * Follows the first page of a list until it holds limit entries (0: all there are). What a page gives as next the request says
 * as after; next is then that of the last page.
 */
must_use int call_rest(struct cli *cli, const char *method, ProtobufCMessage *request,
                       const char *list, uint64_t limit, ProtobufCMessage *all,
                       struct err *err);

/* Unpacks what the server says: all but JSON documents shows its texts plain (base/text.h). On the arena; NULL: it cannot be read. */
must_use ProtobufCMessage *answer_unpack(const struct cli *cli, struct arena *a,
                                         const ProtobufCMessageDescriptor *type,
                                         struct str bytes);

/* A random request id, on the arena: a repeated attempt is the same commit. */
must_use const char *request_id(struct cli *cli);

/* ---- output ---- */

/* Prints a message as one JSON document. */
must_use int print_json(const ProtobufCMessage *m, struct err *err);

/* One line of a text, without what a terminal could take for a command (base/text.h); on the arena. */
char *one_line(struct arena *a, const char *text);

/* A table whose columns are as wide as their widest cell; the last one is free. Cells are copied. */
enum { TABLE_COLUMNS_MAX = 8 };
struct table {
    struct arena *arena;
    const char *const *heads;
    size_t n_columns;
    char *(*rows)[TABLE_COLUMNS_MAX];
    size_t n, cap;
};
void table_row(struct table *t, ...); /* n_columns C strings */
void table_print(struct table *t);

/* Display width of UTF-8 text: east Asian wide characters count two. */
size_t text_width(struct str s);

/* Tells a person something on standard error, unless quiet. */
void say(const struct cli *cli, const char *fmt, ...) printf_like(2, 3);

/* What is waited for. */
struct awaited {
    uint64_t revision; /* 0: the head */
    char **resources;  /* instead of what that commit changed */
    size_t n_resources;
    uint64_t timeout_s;
    bool allow_none; /* nobody is concerned: that is well */
};

/*
 * Waits until everybody concerned has applied it, telling progress. ERR_TIMEOUT or ERR_REFUSED says who not; ERR_TIMEOUT too
 * when nobody is concerned.
 */
must_use int wait_applied(struct cli *cli, const struct awaited *what, struct err *err);

/*
 * Asks on the terminal, and returns whether just this word was typed; false without asking when there is no terminal.
 * For what cannot be taken back: the name of what it is about is harder to type by habit than a yes.
 */
must_use bool ask_word(const char *question, const char *word);

/* How a command commits. */
struct committing {
    const char *message, *override; /* NULL: nothing is overridden */
    bool dry_run, wait, allow_none;
    uint64_t timeout_s; /* of the wait */
};

/* Commits the changes of q, shows what they came to, and waits if asked to. */
must_use int commit(struct cli *cli, Trimtab__V1__CommitRequest *q,
                    const struct committing *how, struct err *err);

/* The same without a word: for who shows something else. No wait. */
must_use int commit_send(struct cli *cli, Trimtab__V1__CommitRequest *q,
                         const struct committing *how, Trimtab__V1__CommitResponse **ret,
                         struct err *err);

/* What a commit of grants and tokens comes to: a line for each subject and namespace, and for each token. */
void commit_show_rights(struct cli *cli, const Trimtab__V1__CommitResponse *c, FILE *out);

/*
 * Before a commit of grants or tokens: makes a dry run, and when anybody would lose a right or a token, lists it and asks for
 * this word. ERR_REFUSED when it was not typed.
 */
must_use int commit_ask(struct cli *cli, Trimtab__V1__CommitRequest *q, const char *word,
                        struct err *err);

/* ---- changes for a commit or a rollout ---- */

/* An empty list with room for as many as a commit may hold. */
must_use int changes_begin(struct cli *cli, Trimtab__V1__CommitRequest *q, struct err *err);
/* content must live as long as the arena. */
must_use int changes_add(struct cli *cli, Trimtab__V1__CommitRequest *q, const char *id,
                         struct str content, struct err *err);
/* Files and folders as publish takes them, and a folder as export wrote it, with what is said of their types. */
struct typing;
struct publishing {
    const char *space;
    char *const *paths;
    size_t n_paths;
    const struct typing *typing;
    bool without_modes; /* else files that are not 0644 keep their modes (cli/modes.h) */
};
must_use int changes_of_paths(struct cli *cli, const struct publishing *p,
                              Trimtab__V1__CommitRequest *q, struct err *err);
must_use int changes_of_export(struct cli *cli, const char *root, const struct typing *typing,
                               Trimtab__V1__CommitRequest *q, struct err *err);

/* The whole of a file, or of standard input for "-". ERR_LIMIT over 8 MiB. */
must_use int read_input(const char *path, struct buf *out, struct err *err);

extern const struct command cmd_get, cmd_put, cmd_rm, cmd_ls, cmd_publish, cmd_import,
    cmd_export, cmd_diff, cmd_history, cmd_rollback, cmd_watch, cmd_instances, cmd_status,
    cmd_running, cmd_events, cmd_info, cmd_admin, cmd_rollout, cmd_fleet, cmd_release,
    cmd_token, cmd_grant, cmd_revoke, cmd_grants, cmd_who_can, cmd_context, cmd_completion,
    cmd_complete;

/* instances retry: an order. */
must_use int instances_retry(struct cli *cli, int argc, char **argv, struct err *err);
must_use int instances_release(struct cli *cli, int argc, char **argv, struct err *err);

/* Prints the subcommands of rollout, or of token, that begin so. */
void rollout_complete(const char *begin);
void token_complete(const char *begin);

/* ---- contexts ---- */

/* Where that file is, on the arena. */
const char *contexts_path(struct arena *a);

/* Fills in what flags and environment left open, from the contexts file. */
must_use int context_apply(struct cli *cli, struct err *err);

/* ---- a server that goes away ---- */

/* How a command that follows the server waits for it: told once when it goes, with the reason, and once when it is back. */
struct outage {
    nsec_t since; /* 0: the server is there */
    unsigned tries;
};
/* Whether a call that failed so may go well when it is made again. */
bool outage_may_pass(int r);
/* After such a failure: milliseconds until the next try; longer each time, up to 5 s, and half of it by chance. */
uint32_t outage_wait_ms(struct outage *o, const struct cli *cli, const struct err *why);
/* After a success. */
void outage_over(struct outage *o, const struct cli *cli);
nsec_t outage_age(const struct outage *o); /* 0: the server is there */

/* ---- streams ---- */

struct cli_stream;

struct stream_opts {
    const char *method; /* "/trimtab.v1.Sync/Subscribe" */
    bool
        comes_back; /* waits, without end, for a server that went away after it said something */
    void (*on_begin)(struct cli_stream *s, void *ctx); /* says what is said first, each time */
    void (*on_message)(struct cli_stream *s, void *ctx, struct str message);
    void *ctx;
};

/* Runs until the stream fails for good: the error says why. */
must_use int stream_run(struct cli *cli, const struct stream_opts *stream, struct err *err);
/* From on_message: nothing more is wanted, stream_run returns 0. */
void stream_stop(struct cli_stream *s);
/* From on_begin and on_message. What cannot be sent ends the stream. */
void stream_send(struct cli_stream *s, const ProtobufCMessage *message);

/* How the channel is made. */
struct channel_opts;
struct tls;
must_use int channel_of(struct cli *cli, struct channel_opts *opts, struct tls **ret_tls,
                        struct err *err);

#endif

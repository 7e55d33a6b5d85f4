/*
 * diff, history, rollback: what was, and how to get back to it.
 */
#include "base/clock.h"
#include "cli/cmd.h"
#include "model/commit.h"
#include "proto/convert.h"

#include <inttypes.h>

enum { DIFFS_MAX = 512 << 20, VERSIONS_PAGE_MAX = 1000 };

/* ---- diff ---- */

/* Against a file: a dry run tells, and checks it on the way. */
static int diff_file(struct cli *cli, char *id, const char *file, bool *ret_differs,
                     struct err *err)
{
    owned(buf) struct buf content = BUF_NULL(CONTENT_BYTES_MAX);
    Trimtab__V1__Change c = TRIMTAB__V1__CHANGE__INIT, *list[] = {&c};
    Trimtab__V1__CommitRequest q = TRIMTAB__V1__COMMIT_REQUEST__INIT;
    Trimtab__V1__CommitResponse *m;
    int r = read_input(file, &content, err);

    if (r)
        return r;
    c.id = id;
    c.content = proto_bytes(buf_str(&content));
    q.changes = list;
    q.n_changes = 1;
    q.dry_run = true;
    r = call(cli, "Commit", &q.base, &trimtab__v1__commit_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (r)
        return r;
    if (m->n_changes)
        (void)fputs(m->changes[0]->diff, stdout);
    *ret_differs = m->n_changes && *m->changes[0]->diff;
    return 0;
}

/* The difference of a commit, part by part. ret_differs: in one of them. */
static int diff_commit(struct cli *cli, Trimtab__V1__DiffRequest *q, bool *ret_differs,
                       struct err *err)
{
    owned(buf) struct buf all = BUF_NULL(DIFFS_MAX); /* of one document */
    Trimtab__V1__DiffResponse *m;

    *ret_differs = false;
    do {
        int r = call(cli, "Diff", &q->base, &trimtab__v1__diff_response__descriptor,
                     (ProtobufCMessage **)&m, 0, err);

        if (r)
            return r;
        *ret_differs |= m->differs;
        if (cli->output == OUTPUT_JSON)
            buf_put_c(&all, m->diff);
        else
            (void)fputs(m->diff, stdout);
        q->after = m->next;
    } while (*q->after);
    if (cli->output != OUTPUT_JSON)
        return 0;
    if (buf_status(&all))
        return err_set(err, buf_status(&all), "the difference is too large for one document");
    m->diff = arena_c(&cli->arena, buf_str(&all));
    m->differs = *ret_differs;
    return m->diff ? print_json(&m->base, err) : ERR_NOMEM;
}

static int diff_versions(struct cli *cli, Trimtab__V1__DiffRequest *q, bool *ret_differs,
                         struct err *err)
{
    Trimtab__V1__DiffResponse *m;
    int r = call(cli, "Diff", &q->base, &trimtab__v1__diff_response__descriptor,
                 (ProtobufCMessage **)&m, 0, err);

    if (r)
        return r;
    *ret_differs = m->differs;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    (void)fputs(m->diff, stdout);
    return 0;
}

static int run_diff(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__DiffRequest q = TRIMTAB__V1__DIFF_REQUEST__INIT;
    const char *file = NULL;
    bool exit_code = false;
    const struct flag flags[] = {
        {"--from", 0, "version; the one before the newest", NULL, NULL, &q.from, NULL},
        {"--to", 0, "version; the newest", NULL, NULL, &q.to, NULL},
        {"--revision", 0, "everything that this commit changed", NULL, NULL, &q.revision, NULL},
        {"--file", 'f', "against this file, which is checked too", &file, NULL, NULL, NULL},
        {"--exit-code", 0, "exit status 1 when there is a difference", NULL, &exit_code, NULL,
         NULL},
    };
    struct words words;
    bool differs = false;
    int r = take_flags(&cmd_diff, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if ((words.n == 1) == (q.revision != 0) || words.n > 1)
        return usage(&cmd_diff, err, "diff takes an id, or --revision");
    if (file && !words.n)
        return usage(&cmd_diff, err, "--file needs an id");
    q.id = words.n ? words.at[0] : q.id;
    if (file)
        r = diff_file(cli, words.at[0], file, &differs, err);
    else if (q.revision)
        r = diff_commit(cli, &q, &differs, err);
    else
        r = diff_versions(cli, &q, &differs, err);
    if (r)
        return r;
    return exit_code && differs && cli->output != OUTPUT_JSON ? COMMAND_DIFFERS : 0;
}

const struct command cmd_diff = {
    "diff", "diff (ID [--from N] [--to N] [-f FILE] | --revision R) [--exit-code]",
    "shows a difference", run_diff};

/* ---- history ---- */

/* Versions page by page, until there are as many as asked for. */
static int all_versions(struct cli *cli, Trimtab__V1__HistoryRequest *q, uint64_t limit,
                        Trimtab__V1__HistoryResponse *all, struct err *err)
{
    Trimtab__V1__HistoryResponse *page;
    size_t cap = 0;

    do {
        int r;

        q->limit = (uint32_t)MIN(limit - all->n_versions, (uint64_t)VERSIONS_PAGE_MAX);
        r = call(cli, "History", &q->base, &trimtab__v1__history_response__descriptor,
                 (ProtobufCMessage **)&page, 0, err);
        if (!r)
            r = page_add(cli, &all->base, &page->base, "versions", &cap, err);
        if (r)
            return r;
        if (page->n_versions)
            q->before = page->versions[page->n_versions - 1]->version;
    } while (page->n_versions == q->limit && q->before > 1 && all->n_versions < limit);
    return 0;
}

static int history_of(struct cli *cli, char *id, uint64_t limit, struct err *err)
{
    static const char *const heads[] = {"VERSION", "REVISION", "TIME",
                                        "AUTHOR",  "SIZE",     "MESSAGE"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};
    Trimtab__V1__HistoryRequest q = TRIMTAB__V1__HISTORY_REQUEST__INIT;
    Trimtab__V1__HistoryResponse all = TRIMTAB__V1__HISTORY_RESPONSE__INIT;
    int r;

    q.id = id;
    r = all_versions(cli, &q, limit, &all, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&all.base, err);
    for (size_t i = 0; i < all.n_versions; i++) {
        const Trimtab__V1__Resource *v = all.versions[i];
        char version[24], revision[24], size[24];

        (void)snprintf(version, sizeof(version), "%" PRIu64, v->version);
        (void)snprintf(revision, sizeof(revision), "%" PRIu64, v->revision);
        (void)snprintf(size, sizeof(size), "%" PRIu64, v->size);
        table_row(&t, version, revision, v->time, v->author, v->deleted ? "deleted" : size,
                  v->message);
    }
    table_print(&t);
    return 0;
}

/* The strongest of its reasons. */
static const char *why_of(struct arena *a, const Trimtab__V1__CommitInfo *c)
{
    const char *force = c->n_moves ? c->moves[0]->force : "";
    owned(buf) struct buf text = BUF_NULL(SIZE_MAX - 1);

    if (*c->override || !*force)
        return *c->override ? c->override : c->message;
    buf_printf(&text, "forced: %s%s%s", force, *c->message ? "; " : "", c->message);
    return arena_c(a, buf_str(&text));
}

/* What a commit did, on one line. */
static void commit_row(struct table *t, const Trimtab__V1__CommitInfo *c)
{
    char revision[24], changes[400];
    const char *action = c->n_moves ? c->moves[0]->move : *c->order ? c->order : c->action;

    (void)snprintf(revision, sizeof(revision), "%" PRIu64, c->revision);
    if (c->n_moves && strcmp(action, "override") != 0)
        (void)snprintf(changes, sizeof(changes), "rollout %" PRIu64, c->moves[0]->rollout);
    else if (*c->order && !c->n_changes)
        (void)snprintf(changes, sizeof(changes), "%s", "instances");
    else if (c->n_changes == 1)
        (void)snprintf(changes, sizeof(changes), "%s %s", c->changes[0]->action,
                       c->changes[0]->id);
    else
        (void)snprintf(changes, sizeof(changes), "%zu resources", c->n_changes);
    table_row(t, revision, c->time, c->author, action, changes, why_of(t->arena, c));
}

/* Commits page by page, until there are as many as asked for. */
static int all_commits(struct cli *cli, Trimtab__V1__CommitsRequest *q, uint64_t limit,
                       Trimtab__V1__CommitsResponse *all, struct err *err)
{
    size_t cap = 0;

    do {
        Trimtab__V1__CommitsResponse *page;
        int r;

        q->limit = (uint32_t)MIN(limit - all->n_commits, (uint64_t)1000);
        r = call(cli, "Commits", &q->base, &trimtab__v1__commits_response__descriptor,
                 (ProtobufCMessage **)&page, 0, err);
        if (!r)
            r = page_add(cli, &all->base, &page->base, "commits", &cap, err);
        if (r)
            return r;
        all->next = q->before = page->next;
    } while (q->before && all->n_commits < limit);
    return 0;
}

static int history_of_all(struct cli *cli, Trimtab__V1__CommitsRequest *q, uint64_t limit,
                          struct err *err)
{
    static const char *const heads[] = {"REVISION", "TIME",    "AUTHOR",
                                        "ACTION",   "CHANGES", "MESSAGE"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};
    Trimtab__V1__CommitsResponse all = TRIMTAB__V1__COMMITS_RESPONSE__INIT;
    int r = all_commits(cli, q, limit, &all, err);

    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&all.base, err);
    for (size_t i = 0; i < all.n_commits; i++)
        commit_row(&t, all.commits[i]);
    table_print(&t);
    return 0;
}

/* "2h": since two hours ago. */
static int since(const char *text, uint64_t *ret_ms, struct err *err)
{
    uint64_t nsec, now = (uint64_t)clock_wall_ms();

    if (!str_duration(str_c(text), &nsec))
        return err_set(err, ERR_INVALID, "\"%s\" is no duration: 30s, 10m, 2h", text);
    *ret_ms = now > nsec / NSEC_PER_MS ? now - nsec / NSEC_PER_MS : 0;
    return 0;
}

static int run_history(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__CommitsRequest q = TRIMTAB__V1__COMMITS_REQUEST__INIT;
    uint64_t limit = 20;
    const char *author = "", *prefix = "", *action = "", *within = NULL;
    const struct flag flags[] = {
        {"--limit", 0, "how many, 20", NULL, NULL, &limit, NULL},
        {"--author", 0, "commits of this one", &author, NULL, NULL, NULL},
        {"--prefix", 0, "commits that changed a resource whose id begins so", &prefix, NULL,
         NULL, NULL},
        {"--action", 0, "publish, rollback, rollout, or a move of one: start, confirm, ...",
         &action, NULL, NULL, NULL},
        {"--rollout", 0, "moves of this rollout", NULL, NULL, &q.rollout, NULL},
        {"--since", 0, "commits of the last 30m, 2h, ...", &within, NULL, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_history, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n > 1)
        return usage(&cmd_history, err, "history takes one id, or none for all commits");
    if (words.n)
        return history_of(cli, words.at[0], limit, err);
    q.author = (char *)(uintptr_t)author; /* protobuf-c has no const */
    q.prefix = (char *)(uintptr_t)prefix;
    q.action = (char *)(uintptr_t)action;
    r = within ? since(within, &q.since_ms, err) : 0;
    return r ? r : history_of_all(cli, &q, limit, err);
}

const struct command cmd_history = {
    "history", "history [ID] [--limit N] [--author A] [--action A] [--rollout N] [--since 2h]",
    "lists the versions of a resource, or all commits", run_history};

/* ---- rollback ---- */

static int run_rollback(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__RollbackRequest q = TRIMTAB__V1__ROLLBACK_REQUEST__INIT;
    const char *message = "", *override = "";
    bool dry_run = false, wait = false;
    struct awaited what = {.timeout_s = 60};
    const struct flag flags[] = {
        {"--to", 0, "version; the one before the newest", NULL, NULL, &q.to_version, NULL},
        {"--revision", 0, "undo this whole commit", NULL, NULL, &q.revision, NULL},
        {"--message", 'm', "why", &message, NULL, NULL, NULL},
        {"--override", 0, "reason to change what is carried by a rollout, which it ends",
         &override, NULL, NULL, NULL},
        {"--dry-run", 0, "show what would change, store nothing", NULL, &dry_run, NULL, NULL},
        {"--wait", 'w', "return when every instance concerned has applied it", NULL, &wait,
         NULL, NULL},
        {"--timeout", 0, "seconds to wait, 60", NULL, NULL, &what.timeout_s, NULL},
        {"--allow-none", 0, "with --wait: it is well when nobody is concerned", NULL,
         &what.allow_none, NULL, NULL},
    };
    Trimtab__V1__CommitResponse *m;
    struct words words;
    int r = take_flags(&cmd_rollback, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if ((words.n == 1) == (q.revision != 0) || words.n > 1)
        return usage(&cmd_rollback, err, "rollback takes an id, or --revision");
    q.id = words.n ? words.at[0] : q.id;
    q.message = (char *)(uintptr_t)message; /* protobuf-c has no const */
    q.request_id = (char *)(uintptr_t)request_id(cli);
    q.override = (char *)(uintptr_t) override;
    q.dry_run = dry_run;
    r = call(cli, "Rollback", &q.base, &trimtab__v1__commit_response__descriptor,
             (ProtobufCMessage **)&m, 60000, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        r = print_json(&m->base, err);
    else
        for (size_t i = 0; i < m->n_changes; i++)
            (void)printf("%-9s %s  version %" PRIu64 "\n%s", m->changes[i]->action,
                         m->changes[i]->id, m->changes[i]->version, m->changes[i]->diff);
    if (cli->output == OUTPUT_TABLE)
        commit_show_rights(cli, m, stdout);
    what.revision = m->revision;
    if (cli->output == OUTPUT_TABLE && !dry_run)
        (void)printf("revision %" PRIu64 "\n", m->revision);
    return r || !wait || dry_run ? r : wait_applied(cli, &what, err);
}

const struct command cmd_rollback = {
    "rollback", "rollback (ID [--to N] | --revision R) [-m WHY] [--dry-run] [--wait]",
    "goes back, by resource or by whole commit", run_rollback};

/*
 * Committing: the one way in which every command that changes something sends it, shows what it came to, and waits.
 */
#include "cli/cmd.h"

#include <inttypes.h>
#include <unistd.h>

enum { COMMIT_TIMEOUT_MS = 120000, ANSWER_MAX = 1024 };

/* The annotation trimtab/canary made a move of it. */
static void show_canary(const Trimtab__V1__CommitResponse *c)
{
    if (c->rollout)
        (void)printf("%s rollout %" PRIu64 ": trimtab rollout watch %" PRIu64 "\n", c->move,
                     c->rollout, c->rollout);
    else
        (void)printf("%s a rollout\n", c->move);
}

/* ---- who loses and wins what ---- */

static void put_rights(FILE *out, const char *verb, char *const *rights, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)fprintf(out, "%s%s", i ? ", " : verb, rights[i]);
}

void commit_show_rights(struct cli *cli, const Trimtab__V1__CommitResponse *c, FILE *out)
{
    for (size_t i = 0; i < c->n_rights; i++) {
        const Trimtab__V1__RightsChange *r = c->rights[i];
        bool is_all = strcmp(r->namespace_, "*") == 0;

        (void)fprintf(out, "%s %s%s:", one_line(&cli->arena, r->subject),
                      is_all ? "on everything" : "in ", is_all ? "" : r->namespace_);
        put_rights(out, " loses ", r->lost, r->n_lost);
        put_rights(out, r->n_lost ? "; wins " : " wins ", r->won, r->n_won);
        (void)fprintf(out, "%s\n", r->n_lost || r->n_won ? "" : " no change");
    }
    for (size_t i = 0; i < c->n_tokens; i++)
        (void)fprintf(out, "token %s: %s\n", c->tokens[i]->name, c->tokens[i]->what);
}

/* ---- what it came to ---- */

/* What was taken against the guess from its name, and why. */
static void show_type(struct cli *cli, const Trimtab__V1__ChangeResult *r)
{
    if (*r->type_against && *r->type_seen)
        (void)printf("%s: taken as %s, not as %s: there is %s\n", r->id, r->content_type,
                     r->type_against, one_line(&cli->arena, r->type_seen));
    else if (*r->type_against)
        (void)printf("%s: taken as %s, not as %s, which it is not\n", r->id, r->content_type,
                     r->type_against);
}

/* What stayed as it was is only counted, unless it was all that was asked for. */
static int show_changes(struct cli *cli, const Trimtab__V1__CommitResponse *c, struct err *err)
{
    size_t unchanged = 0;

    if (cli->output == OUTPUT_JSON)
        return print_json(&c->base, err);
    for (size_t i = 0; i < c->n_changes; i++) {
        const Trimtab__V1__ChangeResult *r = c->changes[i];

        if (c->n_changes > 1 && strcmp(r->action, "unchanged") == 0)
            unchanged++;
        else if (cli->output == OUTPUT_NAME)
            (void)printf("%s\n", r->id);
        else
            (void)printf("%-9s %s\n%s", r->action, r->id, r->diff);
    }
    if (cli->output == OUTPUT_TABLE && unchanged)
        (void)printf("%zu unchanged\n", unchanged);
    for (size_t i = 0; cli->output == OUTPUT_TABLE && i < c->n_changes; i++)
        show_type(cli, c->changes[i]);
    if (cli->output == OUTPUT_TABLE)
        commit_show_rights(cli, c, stdout);
    if (cli->output == OUTPUT_TABLE && *c->move)
        show_canary(c);
    else if (cli->output == OUTPUT_TABLE && c->rollout)
        (void)printf("rollout %" PRIu64 " carries just this already\n", c->rollout);
    if (cli->output == OUTPUT_TABLE && c->retried)
        (void)printf("%" PRIu64 " instance%s will try again what %s\n", c->retried,
                     c->retried == 1 ? "" : "s",
                     c->retried == 1 ? "it refuses" : "they refuse");
    if (cli->output == OUTPUT_TABLE && c->dry_run)
        (void)printf("dry run: nothing was stored\n");
    else if (cli->output == OUTPUT_TABLE)
        (void)printf("revision %" PRIu64 "\n", c->revision);
    return 0;
}

/* ---- what is refused ---- */

static void refusal_to_err(const Trimtab__V1__Error *e, struct err *err)
{
    (void)err_set(err, err_code_from_name(e->code), "%s", e->message);
    err_place(err, "%s", e->place);
    err_at(err, e->line, e->column);
    if (*e->hint)
        err_hint(err, "%s", e->hint);
}

/* One is told as any error is; of several each has a line, with what would help it. */
static int refuse(struct cli *cli, const Trimtab__V1__CommitResponse *c, size_t n_changes,
                  struct err *err)
{
    char line[ERR_TEXT_MAX + ERR_PLACE_MAX + 40];
    int code = err_code_from_name(c->refused[0]->code);

    refusal_to_err(c->refused[0], err);
    if (c->n_refused == 1)
        return code;
    if (cli->output == OUTPUT_JSON)
        return print_json(&c->base, NULL) ? ERR_IO : code;
    for (size_t i = 0; i < c->n_refused; i++) {
        const Trimtab__V1__Error *e = c->refused[i];
        struct err story = ERR_NULL;

        refusal_to_err(e, &story);
        story.hint[0] = '\0';
        (void)fprintf(
            stderr, "%s\n",
            one_line(&cli->arena, (char *)(uintptr_t)err_describe(&story, line, sizeof(line))));
        if (*e->hint)
            (void)fprintf(stderr, "    %s\n", one_line(&cli->arena, e->hint));
    }
    *err = ERR_NULL;
    return err_set(err, code, "%zu of %zu changes are refused, and nothing was committed",
                   c->n_refused, n_changes);
}

static int send_commit(struct cli *cli, Trimtab__V1__CommitRequest *q,
                       Trimtab__V1__CommitResponse **ret, struct err *err)
{
    int r;

    q->list_refused = true;
    r = call(cli, "Commit", &q->base, &trimtab__v1__commit_response__descriptor,
             (ProtobufCMessage **)ret, COMMIT_TIMEOUT_MS, err);
    return r || !(*ret)->n_refused ? r : refuse(cli, *ret, q->n_changes, err);
}

bool ask_word(const char *question, const char *word)
{
    char line[ANSWER_MAX];

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    (void)fprintf(stderr, "%s\nType %s to go on: ", question, word);
    if (!fgets(line, sizeof(line), stdin))
        return false;
    return str_eq(str_trim(str_c(line)), str_c(word));
}

/* A refusal to prune that much without a question: asks it, where somebody can answer. */
static bool confirm_prune(const Trimtab__V1__CommitRequest *q, int result,
                          const struct err *err)
{
    return result == ERR_REFUSED && q->n_prune && !q->prune_confirmed &&
           strcmp(err->place, "prune") == 0 && ask_word(err->text, q->prune[0]);
}

/* What changed nothing made no commit: then it is the resources themselves that instances are to have. */
static int wait_for(struct cli *cli, const Trimtab__V1__CommitResponse *c,
                    const struct committing *how, struct err *err)
{
    struct awaited what = {
        .revision = c->revision, .timeout_s = how->timeout_s, .allow_none = how->allow_none};
    char **ids = ARENA_ARRAY(&cli->arena, char *, c->n_changes);
    size_t n = 0;

    for (size_t i = 0; ids && i < c->n_changes; i++)
        if (strcmp(c->changes[i]->action, "unchanged") == 0)
            ids[n++] = c->changes[i]->id;
    if (n == c->n_changes) {
        what.resources = ids;
        what.n_resources = n;
    }
    return ids ? wait_applied(cli, &what, err) : ERR_NOMEM;
}

int commit_send(struct cli *cli, Trimtab__V1__CommitRequest *q, const struct committing *how,
                Trimtab__V1__CommitResponse **ret, struct err *err)
{
    q->message = (char *)(uintptr_t)how->message; /* protobuf-c has no const */
    q->request_id = (char *)(uintptr_t)request_id(cli);
    q->dry_run = how->dry_run;
    if (how->override)
        q->override = (char *)(uintptr_t)how->override;
    return send_commit(cli, q, ret, err);
}

int commit_ask(struct cli *cli, Trimtab__V1__CommitRequest *q, const char *word,
               struct err *err)
{
    const struct committing how = {.message = "", .dry_run = true};
    Trimtab__V1__CommitResponse *answer;
    int r = commit_send(cli, q, &how, &answer, err);

    if (r || !answer->takes)
        return r;
    if (!cli->is_quiet)
        commit_show_rights(cli, answer, stderr);
    if (ask_word("This takes rights away.", word))
        return 0;
    (void)err_set(err, ERR_REFUSED, "somebody would lose rights; nothing was changed");
    err_hint(err, "--dry-run shows who and what; --yes says that it is meant");
    return ERR_REFUSED;
}

int commit(struct cli *cli, Trimtab__V1__CommitRequest *q, const struct committing *how,
           struct err *err)
{
    Trimtab__V1__CommitResponse *answer;
    int r;

    if (q->n_changes == 0 && !q->n_prune)
        return err_set(err, ERR_INVALID, "there is nothing to commit");
    r = commit_send(cli, q, how, &answer, err);
    if (confirm_prune(q, r, err)) {
        *err = ERR_NULL;
        q->prune_confirmed = true;
        r = send_commit(cli, q, &answer, err);
    }
    if (!r)
        r = show_changes(cli, answer, err);
    if (!r && how->wait && !how->dry_run)
        r = wait_for(cli, answer, how, err);
    return r;
}

/*
 * rollout: gray release from the command line. The subcommands that look are in rollout_show.c.
 */
#include "cli/rollout.h"
#include "cli/typing.h"
#include "model/commit.h"
#include "proto/convert.h"

#include <inttypes.h>

enum { COMMIT_TIMEOUT_MS = 120000 };

static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c has no const; it is only read */
}

/* ---- answers ---- */

/* What was done, or would be, and to how many. */
static void show_reach(const Trimtab__V1__RolloutResponse *m)
{
    (void)printf(m->dry_run ? "dry run: nothing was stored; this would reach " : "reaches ");
    (void)printf("%" PRIu64 " instance%s", m->reaches, m->reaches == 1 ? "" : "s");
    if (m->reaches_offline)
        (void)printf(" (%" PRIu64 " offline)", m->reaches_offline);
    (void)printf("\n");
}

static void warn_failing(struct cli *cli, const Trimtab__V1__Rollout *r)
{
    uint64_t n = r->counts->already_failing;

    say(cli, "warning: %" PRIu64 " of its targets %s already failing%s\n", n,
        n == 1 ? "is" : "are",
        r->plan && r->plan->automatic
            ? ": unless they become well with the candidates the rollout is taken back"
            : "");
}

static int show(struct cli *cli, const Trimtab__V1__RolloutResponse *m, struct err *err)
{
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    if (cli->output == OUTPUT_NAME) {
        if (m->rollout)
            (void)printf("%" PRIu64 "\n", m->rollout->id);
        return 0;
    }
    for (size_t i = 0; i < m->n_changes; i++)
        (void)printf("%-9s %s  version %" PRIu64 "\n%s", m->changes[i]->action,
                     m->changes[i]->id, m->changes[i]->version, m->changes[i]->diff);
    if (m->rollout)
        (void)printf("%s\n", rollout_line(cli, m->rollout));
    if (m->dry_run || m->reaches)
        show_reach(m);
    (void)fflush(stdout);
    if (m->rollout && m->rollout->counts && m->rollout->counts->already_failing)
        warn_failing(cli, m->rollout);
    if (!m->dry_run)
        (void)printf("revision %" PRIu64 "\n", m->revision);
    return 0;
}

/* ---- start ---- */

static const struct command cmd_start, cmd_preview, cmd_extend;

enum { START_FLAGS = 16 };

struct starting {
    struct step_words targets;
    struct texts steps, deleted;
    struct typing typing;
    const char *file, *value, *space, *folder, *expires, *name, *salt, *message;
    bool automatic, confirms, dry_run, watch;
};

static int take_value(struct cli *cli, const struct starting *s, const struct words *words,
                      Trimtab__V1__CommitRequest *q, struct err *err)
{
    owned(buf) struct buf content = BUF_NULL(CONTENT_BYTES_MAX);
    int r = s->file ? read_input(s->file, &content, err) : 0;

    if (r)
        return r;
    if (words->n != 1 || (s->file && s->value))
        return usage(&cmd_start, err, "one id, and either --file or --value");
    r = typing_check(&s->typing, err);
    if (!r)
        r = changes_add(cli, q, words->at[0],
                        s->file ? arena_str(&cli->arena, buf_str(&content)) : str_c(s->value),
                        err);
    if (!r)
        typing_apply(cli, &s->typing, NULL, q->changes[q->n_changes - 1]);
    return r;
}

/* What is rolled out: one resource, a folder as publish takes it, or what export wrote; and deletions. */
static int take_changes(struct cli *cli, const struct starting *s, struct words *words,
                        Trimtab__V1__CommitRequest *q, struct err *err)
{
    int r = changes_begin(cli, q, err);

    if (r)
        return r;
    if ((s->file || s->value) + (s->space != NULL) + (s->folder != NULL) > 1)
        return usage(&cmd_start, err, "only one of --file, --value, --publish and --import");
    if (s->file || s->value)
        r = take_value(cli, s, words, q, err);
    else if (s->space)
        r = changes_of_paths(cli,
                             &(struct publishing){.space = s->space,
                                                  .paths = words->at,
                                                  .n_paths = words->n,
                                                  .typing = &s->typing},
                             q, err);
    else if (s->folder)
        r = changes_of_export(cli, s->folder, &s->typing, q, err);
    else if (words->n)
        r = usage(&cmd_start, err, "an id needs --file or --value");
    for (size_t i = 0; i < s->deleted.n && !r; i++) {
        r = changes_add(cli, q, s->deleted.at[i], STR(""), err);
        if (!r)
            q->changes[q->n_changes - 1]->delete_ = true;
    }
    if (!r && !q->n_changes)
        r = usage(&cmd_start, err, "there is nothing to roll out");
    return r;
}

static int send_start(struct cli *cli, const struct starting *s,
                      const Trimtab__V1__CommitRequest *changes, Trimtab__V1__RolloutPlan *plan,
                      struct err *err)
{
    Trimtab__V1__StartRolloutRequest q = TRIMTAB__V1__START_ROLLOUT_REQUEST__INIT;
    Trimtab__V1__RolloutResponse *m;
    int r = s->expires ? milliseconds(s->expires, &q.expires_in_ms, err) : 0;

    if (r)
        return r;
    q.changes = changes->changes;
    q.n_changes = changes->n_changes;
    q.plan = plan;
    q.message = unconst(s->message);
    q.request_id = unconst(request_id(cli));
    q.dry_run = s->dry_run;
    r = call(cli, "StartRollout", &q.base, &trimtab__v1__rollout_response__descriptor,
             (ProtobufCMessage **)&m, COMMIT_TIMEOUT_MS, err);
    if (!r)
        r = show(cli, m, err);
    return r || !s->watch || s->dry_run || !m->rollout
               ? r
               : rollout_watch(cli, m->rollout->id, 0, err);
}

static int run_start(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct starting s = {.message = "", .name = "", .salt = ""};
    struct flag flags[START_FLAGS + STEP_FLAGS + CRITERIA_FLAGS] = {
        {"--file", 'f', "file with the content; - for standard input", &s.file, NULL, NULL,
         NULL},
        {"--value", 0, "the content itself", &s.value, NULL, NULL, NULL},
        TYPING_FLAGS(s.typing),
        {"--publish", 0, "namespace for the files and folders that follow, as in publish",
         &s.space, NULL, NULL, NULL},
        {"--import", 0, "folder that export wrote", &s.folder, NULL, NULL, NULL},
        {"--delete", 0, "id of a resource that is deleted", NULL, NULL, NULL, &s.deleted},
        {"--step", 0,
         "a further step: \"labels=zone=a;percent=10;soak=30s\", with ids, fingerprints, "
         "hosts, "
         "networks, labels, percent, count, all, soak, max_refused, max_failing, max_silent, "
         "max_lost, min_applied",
         NULL, NULL, NULL, &s.steps},
        {"--auto", 0, "steps follow each other when they went well", NULL, &s.automatic, NULL,
         NULL},
        {"--auto-confirm", 0, "and after the last one it is confirmed", NULL, &s.confirms, NULL,
         NULL},
        {"--expires", 0, "rolled back after this time: 1h", &s.expires, NULL, NULL, NULL},
        {"--name", 0, "for people", &s.name, NULL, NULL, NULL},
        {"--salt", 0, "of percentages, as a preview gave it", &s.salt, NULL, NULL, NULL},
        {"--message", 'm', "why", &s.message, NULL, NULL, NULL},
        {"--dry-run", 0, "check, show the differences, count the targets", NULL, &s.dry_run,
         NULL, NULL},
        {"--watch", 'w', "and watch until it has ended", NULL, &s.watch, NULL, NULL},
    };
    Trimtab__V1__RolloutPlan plan = TRIMTAB__V1__ROLLOUT_PLAN__INIT;
    Trimtab__V1__CommitRequest q;
    struct words words;
    int r;

    step_flags_rows(&s.targets, &flags[START_FLAGS]);
    criteria_flags_rows(&s.targets, &flags[START_FLAGS + STEP_FLAGS]);
    r = take_flags(&cmd_start, flags, ARRAY_LEN(flags), argc, argv, &words, err);
    if (!r)
        r = take_changes(cli, &s, &words, &q, err);
    if (!r)
        r = plan_of(cli, &s.targets, &s.steps, &plan, err);
    plan.name = unconst(s.name);
    plan.salt = unconst(s.salt);
    plan.automatic = s.automatic || s.confirms;
    plan.auto_confirm = s.confirms;
    return r ? r : send_start(cli, &s, &q, &plan, err);
}

static const struct command cmd_start = {
    "start",
    "rollout start (ID (-f FILE | --value TEXT) | --publish NAMESPACE PATH... | --import DIR | "
    "--delete ID) TARGETS [CRITERIA] [--step STEP]... [-m WHY] [--dry-run] [--watch]",
    "gives new versions to some instances, beside what is stable for all", run_start};

/* ---- preview ---- */

static bool has_percent(const Trimtab__V1__RolloutPlan *plan)
{
    for (size_t i = 0; i < plan->n_steps; i++)
        for (size_t j = 0; j < plan->steps[i]->n_targets; j++)
            if (plan->steps[i]->targets[j]->percent > 0)
                return true;
    return false;
}

static void say_step(struct cli *cli, size_t number, const Trimtab__V1__PreviewStep *step)
{
    char failing[64] = "";

    if (step->failing)
        (void)snprintf(failing, sizeof(failing), ", %" PRIu64 " failing already",
                       step->failing);
    say(cli, "step %zu: %" PRIu64 " instances, %" PRIu64 " of them connected%s%s\n", number,
        step->matched, step->connected, failing,
        step->matched > step->n_instances ? "; not all are shown" : "");
}

static int show_preview(struct cli *cli, const Trimtab__V1__RolloutPlan *plan,
                        const Trimtab__V1__PreviewRolloutResponse *m, struct err *err)
{
    static const char *const heads[] = {"STEP",  "INSTANCE",    "HOST",
                                        "STATE", "FINGERPRINT", "REASON"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};

    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    for (size_t i = 0; i < m->n_steps; i++)
        for (size_t j = 0; j < m->steps[i]->n_instances; j++) {
            const Trimtab__V1__RolloutInstance *p = m->steps[i]->instances[j];
            char step[24], state[48];

            (void)snprintf(step, sizeof(step), "%zu", i + 1);
            (void)snprintf(state, sizeof(state), "%s%s", p->state,
                           p->failing ? ",failing" : "");
            if (cli->output == OUTPUT_NAME)
                (void)printf("%s\n", p->id);
            else
                table_row(&t, step, p->id, p->host, state, p->fingerprint, p->reason);
        }
    if (cli->output == OUTPUT_TABLE)
        table_print(&t);
    (void)fflush(stdout);
    for (size_t i = 0; i < m->n_steps; i++)
        say_step(cli, i + 1, m->steps[i]);
    say(cli, "of %" PRIu64 " that the server knows; nothing was started\n", m->instances);
    if (has_percent(plan))
        say(cli, "the same ones are taken by a start with --salt %s\n", m->salt);
    return 0;
}

enum { PREVIEW_SHOWN = 100 };

/* The further instances of a step, until there are as many as asked for; limit 0: all. */
static int rest_of_step(struct cli *cli, Trimtab__V1__PreviewRolloutRequest *q, uint64_t limit,
                        Trimtab__V1__PreviewStep *all, struct err *err)
{
    size_t cap = all->n_instances;
    int r = 0;

    while (!r && *all->next && (!limit || all->n_instances < limit)) {
        Trimtab__V1__PreviewRolloutResponse *m;
        const Trimtab__V1__PreviewStep *page;

        q->after = all->next;
        if (limit)
            q->limit = (uint32_t)MIN(limit - all->n_instances, (uint64_t)UINT32_MAX);
        r = call(cli, "PreviewRollout", &q->base,
                 &trimtab__v1__preview_rollout_response__descriptor, (ProtobufCMessage **)&m, 0,
                 err);
        if (!r && m->n_steps < q->step)
            r = err_set(err, ERR_INVALID, "the server's answer cannot be read");
        if (r)
            return r;
        page = m->steps[q->step - 1];
        r = page_add(cli, &all->base, &page->base, "instances", &cap, err);
        all->next = page->next;
    }
    return r;
}

static int run_preview(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct step_words targets = {.count = 0};
    struct texts steps = {.n = 0}, resources = {.n = 0};
    uint64_t rollout = 0, limit = PREVIEW_SHOWN;
    const char *salt = "";
    struct flag flags[STEP_FLAGS + 5] = {
        {"--step", 0, "a further step: \"labels=zone=a;percent=10\"", NULL, NULL, NULL, &steps},
        {"--resource", 'r', "only instances that want this id", NULL, NULL, NULL, &resources},
        {"--rollout", 0, "as the next step of this rollout", NULL, NULL, &rollout, NULL},
        {"--salt", 0, "of percentages", &salt, NULL, NULL, NULL},
        {"--limit", 0, "instances shown for each step, 100; 0: all", NULL, NULL, &limit, NULL},
    };
    Trimtab__V1__PreviewRolloutRequest q = TRIMTAB__V1__PREVIEW_ROLLOUT_REQUEST__INIT;
    Trimtab__V1__RolloutPlan plan = TRIMTAB__V1__ROLLOUT_PLAN__INIT;
    Trimtab__V1__PreviewRolloutResponse *m;
    struct words words;
    int r;

    step_flags_rows(&targets, &flags[5]);
    r = take_flags(&cmd_preview, flags, ARRAY_LEN(flags), argc, argv, &words, err);
    if (!r && words.n)
        r = usage(&cmd_preview, err, "preview takes only flags");
    if (!r)
        r = plan_of(cli, &targets, &steps, &plan, err);
    if (r)
        return r;
    plan.salt = unconst(salt);
    q.plan = &plan;
    q.rollout = rollout;
    q.limit = (uint32_t)MIN(limit ? limit : UINT32_MAX, (uint64_t)UINT32_MAX);
    q.resources = (char **)(void *)resources.at;
    q.n_resources = resources.n;
    r = call(cli, "PreviewRollout", &q.base, &trimtab__v1__preview_rollout_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    plan.salt = r ? plan.salt : m->salt; /* the further pages are of the same instances */
    for (size_t i = 0; !r && i < m->n_steps; i++) {
        q.step = (uint32_t)(i + 1);
        r = rest_of_step(cli, &q, limit, m->steps[i], err);
    }
    return r ? r : show_preview(cli, &plan, m, err);
}

static const struct command cmd_preview = {
    "preview", "rollout preview TARGETS [--step STEP]... [--resource ID]... [--rollout N]",
    "shows whom the targets would take now", run_preview};

/* ---- moves ---- */

static int rollout_id(const struct command *c, const struct words *words, uint64_t *ret,
                      struct err *err)
{
    if (words->n != 1 || !str_u64(str_c(words->at[0]), ret))
        return usage(c, err, "%s takes the number of a rollout", c->name);
    return 0;
}

static int send_move(struct cli *cli, Trimtab__V1__MoveRolloutRequest *q, const char *reason,
                     struct err *err)
{
    Trimtab__V1__RolloutResponse *m;
    int r;

    q->reason = unconst(reason);
    q->request_id = unconst(request_id(cli));
    r = call(cli, "MoveRollout", &q->base, &trimtab__v1__rollout_response__descriptor,
             (ProtobufCMessage **)&m, COMMIT_TIMEOUT_MS, err);
    return r ? r : show(cli, m, err);
}

static int run_extend(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct step_words targets = {.count = 0};
    Trimtab__V1__MoveRolloutRequest q = TRIMTAB__V1__MOVE_ROLLOUT_REQUEST__INIT;
    const char *reason = "";
    bool dry_run = false;
    struct flag flags[3 + STEP_FLAGS + CRITERIA_FLAGS] = {
        {"--message", 'm', "why", &reason, NULL, NULL, NULL},
        {"--expected", 0, "refuse when it has made another number of moves", NULL, NULL,
         &q.expected, NULL},
        {"--dry-run", 0, "check, and count the targets", NULL, &dry_run, NULL, NULL},
    };
    struct words words;
    int r;

    step_flags_rows(&targets, &flags[3]);
    criteria_flags_rows(&targets, &flags[3 + STEP_FLAGS]);
    r = take_flags(&cmd_extend, flags, ARRAY_LEN(flags), argc, argv, &words, err);
    if (!r)
        r = rollout_id(&cmd_extend, &words, &q.id, err);
    if (!r && !step_words_choose(&targets))
        r = usage(&cmd_extend, err, "say to whom it is extended");
    if (!r)
        r = step_from_words(&targets, &cli->arena, &q.step, err);
    q.move = unconst("extend");
    q.dry_run = dry_run;
    return r ? r : send_move(cli, &q, reason, err);
}

static const struct command cmd_extend = {"extend",
                                          "rollout extend N TARGETS [CRITERIA] [-m WHY]",
                                          "gives it to more instances, at once", run_extend};

enum { CONFIRM_FLAGS = 2 }; /* the last ones, of confirm alone */

static int run_move(const struct command *c, const char *move, struct cli *cli, int argc,
                    char **argv, struct err *err)
{
    Trimtab__V1__MoveRolloutRequest q = TRIMTAB__V1__MOVE_ROLLOUT_REQUEST__INIT;
    const char *reason = "", *override = "", *force = "";
    bool dry_run = false, confirms = strcmp(move, "confirm") == 0;
    const struct flag flags[] = {
        {"--message", 'm', "why", &reason, NULL, NULL, NULL},
        {"--expected", 0, "refuse when it has made another number of moves", NULL, NULL,
         &q.expected, NULL},
        {"--dry-run", 0, "check and show what would change", NULL, &dry_run, NULL, NULL},
        {"--override", 0, "reason to confirm what is protected before a step is satisfied",
         &override, NULL, NULL, NULL},
        {"--force", 0, "reason to confirm although targets refuse, fail, are away or lost",
         &force, NULL, NULL, NULL},
    };
    struct words words;
    int r = take_flags(c, flags, ARRAY_LEN(flags) - (confirms ? 0 : CONFIRM_FLAGS), argc, argv,
                       &words, err);

    if (!r)
        r = rollout_id(c, &words, &q.id, err);
    q.move = unconst(move);
    q.override = unconst(override);
    q.force = unconst(force);
    q.dry_run = dry_run;
    return r ? r : send_move(cli, &q, reason, err);
}

#define MOVE_COMMAND(name, move, more, help)                                                   \
    static const struct command cmd_##name;                                                    \
    static int run_##name(struct cli *cli, int argc, char **argv, struct err *err)             \
    {                                                                                          \
        return run_move(&cmd_##name, move, cli, argc, argv, err);                              \
    }                                                                                          \
    static const struct command cmd_##name = {#name, "rollout " #name " N [-m WHY]" more,      \
                                              help, run_##name}

MOVE_COMMAND(advance, "advance", "", "begins its next planned step");
MOVE_COMMAND(pause, "pause", "", "stops its steps from following each other");
MOVE_COMMAND(resume, "resume", "", "lets it go on");
MOVE_COMMAND(confirm, "confirm", " [--force REASON] [--override REASON]",
             "makes it stable for everybody");
MOVE_COMMAND(abort, "roll_back", "", "rolls it back: everybody has what is stable");

/* ---- the command ---- */

static const struct command *const subs[] = {
    &cmd_start,          &cmd_preview,      &cmd_extend,        &cmd_advance,
    &cmd_pause,          &cmd_resume,       &cmd_confirm,       &cmd_abort,
    &cmd_rollout_status, &cmd_rollout_list, &cmd_rollout_watch,
};

void rollout_complete(const char *begin)
{
    for (size_t i = 0; i < ARRAY_LEN(subs); i++)
        if (str_starts(str_c(subs[i]->name), str_c(begin)))
            (void)printf("%s\n", subs[i]->name);
}

static int run_rollout(struct cli *cli, int argc, char **argv, struct err *err)
{
    if (argc < 2)
        return usage(&cmd_rollout, err, "rollout takes a subcommand");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        (void)printf("usage: trimtab %s\n\n%s\n\n", cmd_rollout.usage, cmd_rollout.help);
        for (size_t i = 0; i < ARRAY_LEN(subs); i++)
            (void)printf("  %-8s %s\n", subs[i]->name, subs[i]->help);
        return COMMAND_HELPED;
    }
    for (size_t i = 0; i < ARRAY_LEN(subs); i++)
        if (strcmp(subs[i]->name, argv[1]) == 0)
            return subs[i]->run(cli, argc - 1, argv + 1, err);
    return usage(&cmd_rollout, err, "there is no \"rollout %s\"", argv[1]);
}

const struct command cmd_rollout = {
    "rollout",
    "rollout start|preview|extend|advance|pause|resume|confirm|abort|status|list|watch ...",
    "gray release: new versions for some, then for all", run_rollout};

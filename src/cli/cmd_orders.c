/*
 * instances retry and release, fleet: orders to instances; and release: what a restore left with all of them.
 */
#include "cli/cmd.h"

#include <inttypes.h>

static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c has no const; it is only read */
}

/* ---- giving an order ---- */

static void show_order(const Trimtab__V1__OrderInfo *o)
{
    (void)printf("%s  %" PRIu64 " instance%s: %" PRIu64 " done, %" PRIu64 " pending, %" PRIu64
                 " offline",
                 o->kind, o->targets, o->targets == 1 ? "" : "s", o->done, o->pending,
                 o->offline);
    if (o->unable)
        (void)printf(", %" PRIu64 " too old to take orders", o->unable);
    (void)printf("\n");
}

static int send_order(struct cli *cli, Trimtab__V1__OrderRequest *q,
                      Trimtab__V1__OrderResponse **ret, struct err *err)
{
    Trimtab__V1__OrderResponse *m;
    int r;

    q->request_id = unconst(request_id(cli));
    r = call(cli, "Order", &q->base, &trimtab__v1__order_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (r)
        return r;
    *ret = m;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    if (cli->output == OUTPUT_NAME) {
        (void)printf("%" PRIu64 "\n", m->revision);
        return 0;
    }
    if (m->order)
        show_order(m->order);
    if (m->dry_run)
        (void)printf("dry run: nothing was stored\n");
    else
        (void)printf("revision %" PRIu64 "\n", m->revision);
    return 0;
}

/* ---- instances retry ---- */

static const struct command cmd_retry = {
    "retry",
    "instances retry (ID... | --resource ID) [-m WHY] [--dry-run] [--wait [--timeout S]]",
    "tells instances to try again what they refuse: those that are named, or all that have a "
    "resource",
    instances_retry};

int instances_retry(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__OrderRequest q = TRIMTAB__V1__ORDER_REQUEST__INIT;
    Trimtab__V1__OrderResponse *m;
    struct awaited what = {.timeout_s = 60, .allow_none = true};
    struct texts resources = {.n = 0};
    const char *reason = "";
    bool dry_run = false, wait = false;
    const struct flag flags[] = {
        {"--resource", 'r', "only this resource; without ids: of every instance that has it",
         NULL, NULL, NULL, &resources},
        {"--message", 'm', "why", &reason, NULL, NULL, NULL},
        {"--dry-run", 0, "only tell how many instances it is for", NULL, &dry_run, NULL, NULL},
        {"--wait", 'w', "return when those that are connected have tried", NULL, &wait, NULL,
         NULL},
        {"--timeout", 0, "seconds to wait, 60", NULL, NULL, &what.timeout_s, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_retry, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (!words.n && !resources.n)
        return usage(&cmd_retry, err, "say which instances, or which resource");
    q.kind = unconst("retry");
    q.instances = words.at;
    q.n_instances = words.n;
    q.resources = ARENA_ARRAY(&cli->arena, char *, resources.n);
    for (size_t i = 0; q.resources && i < resources.n; i++)
        q.resources[q.n_resources++] = unconst(resources.at[i]);
    q.reason = unconst(reason);
    q.dry_run = dry_run;
    r = q.resources ? send_order(cli, &q, &m, err) : ERR_NOMEM;
    if (r || !wait || dry_run)
        return r;
    what.revision = m->revision;
    return wait_applied(cli, &what, err);
}

/* ---- instances release ---- */

enum { RELEASED_MAX = 1000 }; /* that one order names */

static const struct command cmd_instances_release = {
    "release", "instances release ID [-m WHY] [--yes] [--dry-run] [--wait [--timeout S]]",
    "lets go of what an instance holds: what a server dropped and nothing explains",
    instances_release};

static int find_instance(struct cli *cli, const char *id, Trimtab__V1__InstanceInfo **ret,
                         struct err *err)
{
    Trimtab__V1__InstancesRequest q = TRIMTAB__V1__INSTANCES_REQUEST__INIT;
    Trimtab__V1__InstancesResponse *m;
    int r;

    q.prefix = unconst(id);
    r = call(cli, "Instances", &q.base, &trimtab__v1__instances_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (!r)
        r = call_rest(cli, "Instances", &q.base, "instances", 0, &m->base, err);
    for (size_t i = 0; !r && i < m->n_instances; i++)
        if (strcmp(m->instances[i]->instance->id, id) == 0) {
            *ret = m->instances[i];
            return 0;
        }
    return r ? r : err_set(err, ERR_NOT_FOUND, "there is no instance \"%s\"", id);
}

static bool is_listed(char *const *list, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], id) == 0)
            return true;
    return false;
}

/* Ids of what it holds, once each: as many as an order names. What only held items need goes with them. */
static int list_held(struct cli *cli, const Trimtab__V1__InstanceInfo *i,
                     Trimtab__V1__OrderRequest *q, struct err *err)
{
    q->resources = ARENA_ARRAY(&cli->arena, char *, i->n_refused);
    for (size_t at = 0; q->resources && at < i->n_refused; at++) {
        char *id = i->refused[at]->id;

        if (*id && strcmp(i->refused[at]->code, "HELD_DELETION") == 0 &&
            q->n_resources < RELEASED_MAX && !is_listed(q->resources, q->n_resources, id))
            q->resources[q->n_resources++] = id;
    }
    if (!q->resources)
        return ERR_NOMEM;
    return q->n_resources ? 0
                          : err_set(err, ERR_NOT_FOUND, "%s holds nothing", i->instance->id);
}

/* What goes is named before anybody is asked. */
static int confirm_release(struct cli *cli, const Trimtab__V1__OrderRequest *q, bool yes,
                           struct err *err)
{
    char question[ERR_TEXT_MAX];

    for (size_t i = 0; i < q->n_resources; i++)
        say(cli, "  %s\n", one_line(&cli->arena, q->resources[i]));
    (void)snprintf(question, sizeof(question), "%s deletes these %zu, as they are in no log.",
                   q->instances[0], q->n_resources);
    if (yes || q->dry_run || ask_word(question, q->instances[0]))
        return 0;
    (void)err_set(err, ERR_REFUSED, "%zu held resources of %s would be deleted", q->n_resources,
                  q->instances[0]);
    err_hint(err, "publish again what is to stay; --yes lets go of the rest");
    return ERR_REFUSED;
}

int instances_release(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__OrderRequest q = TRIMTAB__V1__ORDER_REQUEST__INIT;
    Trimtab__V1__InstanceInfo *info = NULL;
    Trimtab__V1__OrderResponse *m;
    struct awaited what = {.timeout_s = 60, .allow_none = true};
    const char *reason = "";
    bool dry_run = false, wait = false, yes = false;
    const struct flag flags[] = {
        {"--message", 'm', "why", &reason, NULL, NULL, NULL},
        {"--yes", 0, "without a question", NULL, &yes, NULL, NULL},
        {"--dry-run", 0, "only tell what would go", NULL, &dry_run, NULL, NULL},
        {"--wait", 'w', "return when it is done", NULL, &wait, NULL, NULL},
        {"--timeout", 0, "seconds to wait, 60", NULL, NULL, &what.timeout_s, NULL},
    };
    struct words words;
    int r =
        take_flags(&cmd_instances_release, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n != 1)
        return usage(&cmd_instances_release, err, "release takes the id of one instance");
    q.kind = unconst("release");
    q.instances = words.at;
    q.n_instances = 1;
    q.reason = unconst(reason);
    q.dry_run = dry_run;
    r = find_instance(cli, words.at[0], &info, err);
    if (!r)
        r = list_held(cli, info, &q, err);
    if (!r)
        r = confirm_release(cli, &q, yes, err);
    if (!r)
        r = send_order(cli, &q, &m, err);
    if (r || !wait || dry_run)
        return r;
    what.revision = m->revision;
    return wait_applied(cli, &what, err);
}

/* ---- release ---- */

static int confirm_restore(struct cli *cli, const Trimtab__V1__ReleaseRestoreRequest *q,
                           bool yes, struct err *err)
{
    Trimtab__V1__ReleaseRestoreRequest look = *q;
    Trimtab__V1__ReleaseRestoreResponse *m;
    char question[ERR_TEXT_MAX];
    int r;

    if (yes || q->dry_run)
        return 0;
    look.dry_run = true;
    r = call(cli, "ReleaseRestore", &look.base,
             &trimtab__v1__release_restore_response__descriptor, (ProtobufCMessage **)&m, 0,
             err);
    if (r)
        return r;
    (void)snprintf(question, sizeof(question),
                   "%" PRIu64
                   " instances hold deletions; all that any has from after revision %" PRIu64
                   " of the history before the restore may then be deleted.",
                   m->holding, m->from_revision);
    if (ask_word(question, "release"))
        return 0;
    (void)err_set(err, ERR_REFUSED, "what a restore left would be deleted on all hosts");
    err_hint(err, "publish again what is to stay; --yes lets go of the rest");
    return ERR_REFUSED;
}

static int run_release(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__ReleaseRestoreRequest q = TRIMTAB__V1__RELEASE_RESTORE_REQUEST__INIT;
    Trimtab__V1__ReleaseRestoreResponse *m;
    const char *reason = "";
    bool restore = false, dry_run = false, yes = false;
    const struct flag flags[] = {
        {"--restore", 0, "what the restored log does not know", NULL, &restore, NULL, NULL},
        {"--reason", 'm', "why; it stands in the history", &reason, NULL, NULL, NULL},
        {"--yes", 0, "without a question", NULL, &yes, NULL, NULL},
        {"--dry-run", 0, "only tell how many instances hold something", NULL, &dry_run, NULL,
         NULL},
    };
    struct words words;
    int r = take_flags(&cmd_release, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n || !restore || !*reason)
        return usage(
            &cmd_release, err,
            "release takes --restore and --reason; for one instance: instances release");
    q.reason = unconst(reason);
    q.dry_run = dry_run;
    r = confirm_restore(cli, &q, yes, err);
    if (r)
        return r;
    q.request_id = unconst(request_id(cli));
    r = call(cli, "ReleaseRestore", &q.base, &trimtab__v1__release_restore_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (r || cli->output == OUTPUT_JSON)
        return r ? r : print_json(&m->base, err);
    if (cli->output == OUTPUT_NAME) {
        (void)printf("%" PRIu64 "\n", m->revision);
        return 0;
    }
    (void)printf("%" PRIu64 " instance%s held deletions\n", m->holding,
                 m->holding == 1 ? "" : "s");
    if (m->dry_run)
        (void)printf("dry run: nothing was stored\n");
    else
        (void)printf("revision %" PRIu64 "\n", m->revision);
    return 0;
}

const struct command cmd_release = {
    "release", "release --restore --reason WHY [--yes] [--dry-run]",
    "lets all hosts delete what they have from the history before a restore", run_release};

/* ---- fleet ---- */

static int switch_fleet(const struct command *c, const char *kind, struct cli *cli, int argc,
                        char **argv, struct err *err)
{
    Trimtab__V1__OrderRequest q = TRIMTAB__V1__ORDER_REQUEST__INIT;
    Trimtab__V1__OrderResponse *m;
    const char *reason = "";
    bool dry_run = false;
    const struct flag flags[] = {
        {"--reason", 'm', "why; it stands in the history", &reason, NULL, NULL, NULL},
        {"--dry-run", 0, "only tell how many instances it is for", NULL, &dry_run, NULL, NULL},
    };
    struct words words;
    int r = take_flags(c, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n || !*reason)
        return usage(c, err, "say why, with --reason");
    q.kind = unconst(kind);
    q.reason = unconst(reason);
    q.dry_run = dry_run;
    return send_order(cli, &q, &m, err);
}

static const struct command cmd_fleet_pause, cmd_fleet_resume, cmd_fleet_status;

static int run_fleet_pause(struct cli *cli, int argc, char **argv, struct err *err)
{
    return switch_fleet(&cmd_fleet_pause, "pause", cli, argc, argv, err);
}

static int run_fleet_resume(struct cli *cli, int argc, char **argv, struct err *err)
{
    return switch_fleet(&cmd_fleet_resume, "resume", cli, argc, argv, err);
}

static int run_fleet_status(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__OrdersRequest q = TRIMTAB__V1__ORDERS_REQUEST__INIT;
    Trimtab__V1__OrdersResponse *m;
    struct words words;
    int r = take_flags(&cmd_fleet_status, NULL, 0, argc, argv, &words, err);

    if (r)
        return r;
    if (words.n)
        return usage(&cmd_fleet_status, err, "fleet status takes no words");
    r = call(cli, "Orders", &q.base, &trimtab__v1__orders_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    if (!m->fleet) {
        (void)printf("running\n");
        return 0;
    }
    (void)printf("%s since %s, by %s at revision %" PRIu64 ": %s\n",
                 m->paused ? "paused" : "running", m->fleet->time,
                 one_line(&cli->arena, m->fleet->author), m->fleet->revision,
                 one_line(&cli->arena, m->fleet->reason));
    show_order(m->fleet);
    return 0;
}

static const struct command cmd_fleet_pause = {
    "pause", "fleet pause --reason WHY [--dry-run]",
    "no agent restores, retries or reloads until it is resumed", run_fleet_pause};
static const struct command cmd_fleet_resume = {"resume",
                                                "fleet resume --reason WHY [--dry-run]",
                                                "lets all agents go on", run_fleet_resume};
static const struct command cmd_fleet_status = {
    "status", "fleet status", "tells whether the fleet is paused, and who holds to it",
    run_fleet_status};

static const struct command *const subs[] = {&cmd_fleet_pause, &cmd_fleet_resume,
                                             &cmd_fleet_status};

static int run_fleet(struct cli *cli, int argc, char **argv, struct err *err)
{
    if (argc < 2)
        return usage(&cmd_fleet, err, "fleet takes a subcommand");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        (void)printf("usage: trimtab %s\n\n%s\n\n", cmd_fleet.usage, cmd_fleet.help);
        for (size_t i = 0; i < ARRAY_LEN(subs); i++)
            (void)printf("  %-8s %s\n", subs[i]->name, subs[i]->help);
        return COMMAND_HELPED;
    }
    for (size_t i = 0; i < ARRAY_LEN(subs); i++)
        if (strcmp(subs[i]->name, argv[1]) == 0)
            return subs[i]->run(cli, argc - 1, argv + 1, err);
    return usage(&cmd_fleet, err, "there is no \"fleet %s\"", argv[1]);
}

const struct command cmd_fleet = {"fleet", "fleet pause|resume|status ...",
                                  "the stop switch for all agents", run_fleet};

/*
 * running, events: what instances say they run, and everything that changes, as it changes.
 */
#include "cli/rollout.h"

#include <inttypes.h>

/* ---- running ---- */

/* The last column is free, and is the reason. */
static void running_row(struct table *t, const Trimtab__V1__RunningResource *m,
                        bool by_instance)
{
    char version[24], running[24], rollout[24] = "";

    (void)snprintf(version, sizeof(version), "%" PRIu64, m->version);
    (void)snprintf(running, sizeof(running), m->running || !m->version ? "%" PRIu64 : "?",
                   m->running);
    if (m->rollout)
        (void)snprintf(rollout, sizeof(rollout), "%" PRIu64, m->rollout);
    table_row(t, by_instance ? m->id : m->instance, m->state, version, running, rollout,
              m->reason);
}

static int ask(struct cli *cli, Trimtab__V1__RunningRequest *q, struct table *t,
               struct err *err)
{
    Trimtab__V1__RunningResponse *m;
    bool by_instance = *q->instance != '\0';
    int r = call(cli, "Running", &q->base, &trimtab__v1__running_response__descriptor,
                 (ProtobufCMessage **)&m, 0, err);

    if (r)
        return r;
    q->after = m->next;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    for (size_t i = 0; i < m->n_resources; i++) {
        if (cli->output == OUTPUT_NAME)
            (void)printf("%s\n", by_instance ? m->resources[i]->id : m->resources[i]->instance);
        else
            running_row(t, m->resources[i], by_instance);
    }
    return 0;
}

static int run_running(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *heads[] = {"INSTANCE", "STATE", "VERSION", "RUNNING", "ROLLOUT", "REASON"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};
    Trimtab__V1__RunningRequest q = TRIMTAB__V1__RUNNING_REQUEST__INIT;
    const char *instance = "";
    bool offline = false;
    const struct flag flags[] = {
        {"--instance", 'i', "everything of one instance", &instance, NULL, NULL, NULL},
        {"--offline", 0, "offline instances, too", NULL, &offline, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_running, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n + (*instance != '\0') != 1)
        return usage(&cmd_running, err, "running takes the id of a resource, or --instance");
    q.instance = (char *)(uintptr_t)instance; /* protobuf-c has no const */
    q.resource = words.n ? words.at[0] : q.resource;
    q.offline = offline;
    heads[0] = *instance ? "RESOURCE" : "INSTANCE";
    do
        r = ask(cli, &q, &t, err);
    while (!r && *q.after);
    if (!r && cli->output == OUTPUT_TABLE)
        table_print(&t);
    return r;
}

const struct command cmd_running = {"running", "running ID | --instance INSTANCE [--offline]",
                                    "shows which version each instance says it runs",
                                    run_running};

/* ---- events ---- */

static void show_commit(const Trimtab__V1__CommitEvent *c)
{
    (void)printf("commit %" PRIu64, c->revision);
    for (size_t i = 0; i < c->n_resources; i++)
        (void)printf(" %s", c->resources[i]);
    if (c->resource_count > c->n_resources)
        (void)printf(" and %" PRIu64 " more", c->resource_count - c->n_resources);
    for (size_t i = 0; i < c->n_rollouts; i++)
        (void)printf(" (rollout %" PRIu64 ")", c->rollouts[i]);
    (void)printf("\n");
}

static void show_instance(struct arena *a, const Trimtab__V1__InstanceInfo *i)
{
    bool is_failing = i->health && i->health->failing;

    (void)printf("instance %s %s%s%s", i->instance->id, i->state, is_failing ? ",failing " : "",
                 is_failing ? one_line(a, i->health->reason) : "");
    if (i->n_refused)
        (void)printf(" %s %s: %s", i->refused[0]->key, i->refused[0]->code,
                     one_line(a, i->refused[0]->message));
    if (*i->taken_over)
        (void)printf(" taken over at %s by a program without its secret", i->taken_over);
    (void)printf("\n");
}

struct following {
    struct cli *cli;
    Trimtab__V1__EventsRequest request;
    uint64_t revision; /* newest that was told of */
    bool has_begun;
};

/* The first event of a stream. Nothing keeps events: what came while the server was away is not told any more. */
static void take_hello(struct following *f, const Trimtab__V1__Event *m)
{
    if (f->has_begun && m->revision > f->revision)
        say(f->cli,
            "revisions %" PRIu64 " to %" PRIu64 " came meanwhile and are not told: look anew\n",
            f->revision + 1, m->revision);
    else if (f->has_begun)
        say(f->cli, "what instances said meanwhile is not told: look anew\n");
    f->has_begun = true;
}

static void show_event(struct cli *cli, const Trimtab__V1__Event *m)
{
    if (m->commit)
        show_commit(m->commit);
    else if (m->rollout)
        (void)printf("%s\n", rollout_line(cli, m->rollout));
    else if (m->instance)
        show_instance(&cli->arena, m->instance);
    else if (strcmp(m->type, "lost") == 0)
        say(cli, "some events were lost: they came faster than they were read\n");
}

static void on_event(struct cli_stream *stream, void *ctx, struct str message)
{
    struct following *f = ctx;
    struct cli line = *f->cli; /* with an arena of its own */
    const Trimtab__V1__Event *m;
    struct err err = ERR_NULL;

    (void)stream;
    line.arena = ARENA_NULL;
    m = (const Trimtab__V1__Event *)answer_unpack(&line, &line.arena,
                                                  &trimtab__v1__event__descriptor, message);
    if (m && strcmp(m->type, "hello") == 0)
        take_hello(f, m);
    if (m)
        f->revision = m->revision;
    if (m && line.output == OUTPUT_JSON && print_json(&m->base, &err))
        say(&line, "%s\n", err.text);
    else if (m && line.output != OUTPUT_JSON)
        show_event(&line, m);
    (void)fflush(stdout);
    arena_deinit(&line.arena);
}

static void on_begin(struct cli_stream *stream, void *ctx)
{
    struct following *f = ctx;

    stream_send(stream, &f->request.base);
}

static int run_events(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct following f = {.cli = cli, .request = TRIMTAB__V1__EVENTS_REQUEST__INIT};
    struct texts types = {.n = 0};
    const char *prefix = "";
    const struct flag flags[] = {
        {"--type", 't', "commit, rollout or instance; may be repeated", NULL, NULL, NULL,
         &types},
        {"--prefix", 0, "only commits that change an id which begins so", &prefix, NULL, NULL,
         NULL},
        {"--rollout", 0, "of rollouts only this one", NULL, NULL, &f.request.rollout, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_events, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n)
        return usage(&cmd_events, err, "events takes flags only");
    f.request.types = (char **)(uintptr_t)types.at; /* protobuf-c has no const */
    f.request.n_types = types.n;
    f.request.prefix = (char *)(uintptr_t)prefix;
    return stream_run(cli,
                      &(struct stream_opts){.method = "/trimtab.v1.Admin/Events",
                                            .comes_back = true,
                                            .on_begin = on_begin,
                                            .on_message = on_event,
                                            .ctx = &f},
                      err);
}

const struct command cmd_events = {"events", "events [--type TYPE] [--prefix ID] [--rollout N]",
                                   "prints commits, rollouts and instances as they change",
                                   run_events};

/*
 * instances, status, info, watch: what every instance really runs, and what changes.
 */
#include "base/clock.h"
#include "base/text.h"
#include "cli/cmd.h"
#include "proto/convert.h"

#include <inttypes.h>
#include <unistd.h>

/* ---- instances ---- */

static bool is_failing(const Trimtab__V1__InstanceInfo *i)
{
    return i->health && i->health->failing;
}

static bool is_offline(const Trimtab__V1__InstanceInfo *i)
{
    return strcmp(i->state, "offline") == 0 || strcmp(i->state, "lost") == 0;
}

static const char *refusal_of(struct arena *a, const Trimtab__V1__InstanceInfo *i)
{
    char text[400];

    if (!i->n_refused && *i->unproven)
        return i->unproven;
    if (!i->n_refused)
        return strcmp(i->state, "pending") == 0 ? "has not acknowledged yet" : "";
    (void)snprintf(text, sizeof(text), "%s %s: %s%s", i->refused[0]->key, i->refused[0]->code,
                   i->refused[0]->message, i->n_refused > 1 ? " (and more)" : "");
    return arena_c(a, str_c(text));
}

/* What it refused, and what fails in what it runs. */
static const char *reason_of(struct arena *a, const Trimtab__V1__InstanceInfo *i)
{
    const char *refusal = refusal_of(a, i);
    const Trimtab__V1__Health *h = i->health;
    char text[2000];

    if (!is_failing(i))
        return refusal;
    (void)snprintf(text, sizeof(text), "%s%s%sfailing at revision %" PRIu64 "%s%s%s%s", refusal,
                   *refusal ? "; " : "", is_offline(i) ? "was " : "", h->revision,
                   *h->source ? " by " : "", h->source, *h->reason ? ": " : "", h->reason);
    return arena_c(a, str_c(text));
}

/* One word, for who reads columns: "ok,failing" has applied everything, and it does not do; "held,paused" holds it. */
static const char *state_of(struct arena *a, const Trimtab__V1__InstanceInfo *i)
{
    char text[32];

    if (is_offline(i) || (!is_failing(i) && !i->paused))
        return i->state;
    (void)snprintf(text, sizeof(text), "%s%s%s", i->state, is_failing(i) ? ",failing" : "",
                   i->paused ? ",paused" : "");
    return arena_c(a, str_c(text));
}

static void instance_row(struct table *t, const Trimtab__V1__InstanceInfo *i)
{
    char expected[24], serving[24], items[24];

    (void)snprintf(expected, sizeof(expected), "%" PRIu64, i->expected_revision);
    (void)snprintf(serving, sizeof(serving), "%" PRIu64, i->serving_revision);
    (void)snprintf(items, sizeof(items), "%" PRIu64, i->items);
    table_row(t, i->instance->id, i->instance->host, state_of(t->arena, i), expected, serving,
              items, i->instance->program, reason_of(t->arena, i));
}

static int forget(struct cli *cli, char *id, struct err *err)
{
    Trimtab__V1__ForgetInstanceRequest q = TRIMTAB__V1__FORGET_INSTANCE_REQUEST__INIT;
    ProtobufCMessage *m;
    int r;

    q.id = id;
    r = call(cli, "ForgetInstance", &q.base, &trimtab__v1__forget_instance_response__descriptor,
             &m, 0, err);
    if (!r)
        say(cli, "forgotten: whoever says hello as %s next has it\n",
            one_line(&cli->arena, id));
    return r;
}

static int run_instances(struct cli *cli, int argc, char **argv, struct err *err)
{
    static const char *const heads[] = {"INSTANCE", "HOST",  "STATE",   "EXPECTED",
                                        "SERVING",  "ITEMS", "PROGRAM", "REASON"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};
    Trimtab__V1__InstancesRequest q = TRIMTAB__V1__INSTANCES_REQUEST__INIT;
    Trimtab__V1__InstancesResponse *m;
    const char *resource = "";
    bool connected = false;
    const struct flag flags[] = {
        {"--connected", 0, "only those that are connected", NULL, &connected, NULL, NULL},
        {"--resource", 'r', "only those whose subscription takes this id", &resource, NULL,
         NULL, NULL},
    };
    struct words words;
    int r;

    if (argc > 1 && strcmp(argv[1], "retry") == 0)
        return instances_retry(cli, argc - 1, argv + 1, err);
    if (argc > 1 && strcmp(argv[1], "release") == 0)
        return instances_release(cli, argc - 1, argv + 1, err);
    r = take_flags(&cmd_instances, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n == 2 && strcmp(words.at[0], "forget") == 0)
        return forget(cli, words.at[1], err);
    if (words.n > 1)
        return usage(&cmd_instances, err, "instances takes the beginning of one id or host");
    q.prefix = words.n ? words.at[0] : q.prefix;
    q.connected_only = connected;
    q.resource = (char *)(uintptr_t)resource; /* protobuf-c has no const */
    r = call(cli, "Instances", &q.base, &trimtab__v1__instances_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (!r)
        r = call_rest(cli, "Instances", &q.base, "instances", 0, &m->base, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    for (size_t i = 0; i < m->n_instances; i++) {
        if (cli->output == OUTPUT_NAME)
            (void)printf("%s\n", m->instances[i]->instance->id);
        else
            instance_row(&t, m->instances[i]);
    }
    if (cli->output == OUTPUT_TABLE)
        table_print(&t);
    return 0;
}

const struct command cmd_instances = {
    "instances",
    "instances [PREFIX] [--connected] [--resource ID] | instances retry ID... [-m WHY] | "
    "instances forget ID",
    "lists instances and what each really runs; tells them to try again; forgets whose an id "
    "is",
    run_instances};

/* ---- status ---- */

static int run_status(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__StatusRequest q = TRIMTAB__V1__STATUS_REQUEST__INIT;
    Trimtab__V1__StatusResponse *m;
    bool wait = false;
    struct awaited what = {.timeout_s = 60};
    const struct flag flags[] = {
        {"--wait", 'w', "return when every instance concerned has applied it", NULL, &wait,
         NULL, NULL},
        {"--timeout", 0, "seconds to wait, 60", NULL, NULL, &what.timeout_s, NULL},
        {"--allow-none", 0, "with --wait: it is well when nobody is concerned", NULL,
         &what.allow_none, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_status, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n > 1 || (words.n && !str_u64(str_c(words.at[0]), &q.revision)))
        return usage(&cmd_status, err, "status takes a revision");
    what.revision = q.revision;
    if (wait)
        return wait_applied(cli, &what, err);
    r = call(cli, "Status", &q.base, &trimtab__v1__status_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    (void)printf("revision %" PRIu64 "\nconcerned %" PRIu64 "\napplied %" PRIu64
                 "\nrefused %" PRIu64 "\npending %" PRIu64 "\nunproven %" PRIu64 "\n",
                 m->revision, m->concerned, m->applied, m->refused, m->pending, m->unproven);
    for (size_t i = 0; i < m->n_waiting; i++)
        (void)printf("  %s: %s  %s\n", m->waiting[i]->instance->id,
                     state_of(&cli->arena, m->waiting[i]),
                     reason_of(&cli->arena, m->waiting[i]));
    return 0;
}

const struct command cmd_status = {"status", "status [REVISION] [--wait [--timeout S]]",
                                   "shows what became of a commit among the instances",
                                   run_status};

/* ---- info ---- */

static int run_info(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__InfoRequest q = TRIMTAB__V1__INFO_REQUEST__INIT;
    Trimtab__V1__InfoResponse *m;
    struct words words;
    int r = take_flags(&cmd_info, NULL, 0, argc, argv, &words, err);

    if (!r)
        r = call(cli, "Info", &q.base, &trimtab__v1__info_response__descriptor,
                 (ProtobufCMessage **)&m, 0, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    (void)printf("version    %s\nstore      %s %s\nhead       %" PRIu64 "\nresources  %" PRIu64
                 " (%" PRIu64 " bytes)\ninstances  %" PRIu64 " connected\nstarted    %s%s\n",
                 m->version, m->engine, m->store_id, m->head, m->resources, m->content_bytes,
                 m->instances, m->started, m->draining ? "\ndraining" : "");
    if (m->restored_revision)
        (void)printf("restored   at revision %" PRIu64 "\n", m->restored_revision);
    if (*m->damage)
        (void)printf("DAMAGED    %s\n", one_line(&cli->arena, m->damage));
    if (m->lost_revision)
        (void)printf("LOST       an instance proved to know revision %" PRIu64
                     " of this store: its log ends too early\n",
                     m->lost_revision);
    return 0;
}

const struct command cmd_info = {"info", "info", "shows the server", run_info};

/* ---- watch ---- */

enum { BATCH_TEXT_MAX = 512 << 20, STORE_ID_MAX = 64, MARK_MAX = 64, VALUE_SHOWN_MAX = 60 };

/* A subscriber without an id: it sees what everybody sees, and is not listed. */
struct watching {
    struct cli *cli;
    Trimtab__V1__Hello hello;
    Trimtab__V1__Cursor cursor; /* in the hello after the first batch */
    uint8_t store_id[STORE_ID_MAX], digest[DIGEST_BYTES], mark[MARK_MAX];
    struct buf batch; /* what is shown when it is whole */
    bool seen_all;    /* the first batch is what is, not what changes */
    bool show_all;
};

static void take_welcome(struct watching *w, const Trimtab__V1__Welcome *m)
{
    buf_clear(&w->batch); /* of a batch that the former stream did not end */
    if (w->hello.cursor && m->mode != TRIMTAB__V1__MODE__RESUME) {
        say(w->cli, "the server cannot tell what changed meanwhile%s%s\n",
            *m->reason ? ": " : "", one_line(&w->cli->arena, m->reason));
        w->seen_all = false;
    }
    w->cursor.store_id.len = MIN(m->store_id.len, sizeof(w->store_id));
    if (w->cursor.store_id.len)
        memcpy(w->store_id, m->store_id.data, w->cursor.store_id.len);
}

/* A short value is shown as it is, if it is a line of text. */
static void put_value(const Trimtab__V1__Item *item, struct buf *out)
{
    struct str value = proto_str(item->content);

    if (value.len && value.len <= VALUE_SHOWN_MAX && value.len == item->size &&
        text_is_plain(value, TEXT_LINE))
        buf_printf(out, ": %.*s", STR_ARG(value));
    buf_put_byte(out, '\n');
}

static void take_changes(struct watching *w, const Trimtab__V1__Changes *c)
{
    if (!w->seen_all && !w->show_all)
        return;
    for (size_t i = 0; i < c->n_put; i++) {
        buf_printf(&w->batch,
                   "put   %s version %" PRIu64 " revision %" PRIu64 " %" PRIu64 " bytes",
                   c->put[i]->id, c->put[i]->version, c->put[i]->revision, c->put[i]->size);
        put_value(c->put[i], &w->batch);
    }
    for (size_t i = 0; i < c->n_drop; i++)
        buf_printf(&w->batch, "drop  %s\n", c->drop[i]);
}

/* Where a stream after this one goes on. With its mark the cursor is evidence of how far the server's log went. */
static void keep_cursor(struct watching *w, uint64_t revision, uint64_t count,
                        ProtobufCBinaryData digest, ProtobufCBinaryData mark)
{
    if (digest.len != sizeof(w->digest))
        return;
    memcpy(w->digest, digest.data, digest.len);
    w->cursor.mark = (ProtobufCBinaryData){mark.len <= sizeof(w->mark) ? mark.len : 0, w->mark};
    if (w->cursor.mark.len)
        memcpy(w->mark, mark.data, mark.len);
    w->cursor.store_id.data = w->store_id;
    w->cursor.digest = (ProtobufCBinaryData){sizeof(w->digest), w->digest};
    w->cursor.revision = revision;
    w->cursor.count = count;
    w->hello.cursor = &w->cursor;
}

/* A batch is whole: it is shown. */
static void take_end(struct watching *w, struct cli_stream *stream, const Trimtab__V1__End *m)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;

    ack.stage = TRIMTAB__V1__STAGE__STORED;
    ack.revision = m->revision;
    frame.ack = &ack;
    stream_send(stream, &frame.base);
    if (buf_status(&w->batch))
        say(w->cli, "a change is too large to be shown\n");
    else
        (void)printf("%.*s", STR_ARG(buf_str(&w->batch)));
    (void)fflush(stdout);
    buf_clear(&w->batch);
    if (!w->seen_all)
        say(w->cli, "watching from revision %" PRIu64 ", %" PRIu64 " resources\n", m->revision,
            m->count);
    w->seen_all = true;
    keep_cursor(w, m->revision, m->count, m->digest, m->mark);
}

/* Nothing is kept here that could be compared: everything comes again. */
static void send_inventory(struct cli_stream *stream)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Inventory inventory = TRIMTAB__V1__INVENTORY__INIT;

    inventory.last = true;
    frame.inventory = &inventory;
    stream_send(stream, &frame.base);
}

static void on_begin(struct cli_stream *stream, void *ctx)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    struct watching *w = ctx;

    frame.hello = &w->hello;
    stream_send(stream, &frame.base);
}

static void on_message(struct cli_stream *stream, void *ctx, struct str message)
{
    struct watching *w = ctx;
    owned(arena) struct arena a = ARENA_NULL; /* a watch goes on and on */
    const Trimtab__V1__ServerFrame *m = (const Trimtab__V1__ServerFrame *)answer_unpack(
        w->cli, &a, &trimtab__v1__server_frame__descriptor, message);

    if (m && m->welcome)
        take_welcome(w, m->welcome);
    for (size_t i = 0; m && i < m->n_changes; i++)
        take_changes(w, m->changes[i]);
    if (m && m->end)
        take_end(w, stream, m->end);
    if (m && m->bookmark && w->seen_all)
        keep_cursor(w, m->bookmark->revision, m->bookmark->count, m->bookmark->digest,
                    m->bookmark->mark);
    if (m && m->ask_inventory)
        send_inventory(stream);
}

static int run_watch(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct watching w = {.cli = cli,
                         .hello = TRIMTAB__V1__HELLO__INIT,
                         .cursor = TRIMTAB__V1__CURSOR__INIT,
                         .batch = BUF_NULL(BATCH_TEXT_MAX)};
    const struct flag flags[] = {
        {"--all", 'a', "what is there first, then changes", NULL, &w.show_all, NULL, NULL},
    };
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    struct words words;
    int r = take_flags(&cmd_watch, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n == 0)
        return usage(&cmd_watch, err, "watch takes namespaces, the strongest first");
    scope.namespaces = words.at;
    scope.n_namespaces = words.n;
    w.hello.protocol = 1;
    w.hello.scopes = scopes;
    w.hello.n_scopes = 1;
    r = stream_run(cli,
                   &(struct stream_opts){.method = "/trimtab.v1.Sync/Subscribe",
                                         .comes_back = true,
                                         .on_begin = on_begin,
                                         .on_message = on_message,
                                         .ctx = &w},
                   err);
    buf_deinit(&w.batch);
    return r;
}

const struct command cmd_watch = {"watch", "watch NAMESPACE... [--all]",
                                  "prints changes as they are committed", run_watch};

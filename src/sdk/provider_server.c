/*
 * Values from a server: its stream, on a thread of the client's own, gives a new table for each batch. See client.h.
 *
 * What is received is kept in memory only: a restarted program asks for everything again.
 */
#include "sdk/client.h"

#include "base/file.h"
#include "proto/convert.h"
#include "sync/link.h"

#include <unistd.h>

enum {
    TOKEN_MAX = 4096,
    PROBLEM_MAX = 1024,
    SAY_AGAIN_MS = 1000 /* after there was no memory */
};

/* What the program said of itself. */
struct sdk_health {
    bool failing;
    uint64_t revision;
    char reason[SYNC_REASON_MAX + 1];
};

struct server {
    struct trimtab *client;
    struct arena arena; /* options and messages */
    struct channel_opts channel;
    struct tls *tls;
    Trimtab__V1__Instance instance;
    Trimtab__V1__Scope scope, *scopes[1];
    Trimtab__V1__Selector selector, *selectors[1];
    char *kinds[1];
    pthread_t thread;
    struct loop loop;
    struct sync *sync;
    struct sync_link *link;
    struct post stop, look, say;
    struct timer say_again;
    unsigned char boot_id[16];
    _Atomic bool is_connected;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    bool has_values;
    uint64_t revision;
    char
        problem[PROBLEM_MAX]; /* why it is not connected; "": it is, or that is not known yet */
    struct sdk_health *health; /* not yet told to sync; NULL: nothing */
    bool say_is_posted, look_is_posted;
};

/* A watch is new: it is told of what is there. */
static void on_look(struct post *p, void *ctx)
{
    struct server *s = ctx;
    const struct table *now;

    (void)p;
    (void)pthread_mutex_lock(&s->mutex);
    s->look_is_posted = false;
    (void)pthread_mutex_unlock(&s->mutex);
    now = values_enter(&s->client->values);
    if (!now)
        return;
    watches_tell(s->client, NULL, now);
    values_leave();
}

/* ---- what sync asks for ---- */

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct server *s = ctx;

    if (s->link)
        sync_link_send(s->link, frame);
}

static int op_store(void *ctx, const struct sync_batch *batch, struct err *err)
{
    (void)ctx;
    (void)batch;
    (void)err;
    return 0; /* in memory, and there it is already */
}

struct gathering {
    VEC(struct table_item) items;
};

static int gather(void *ctx, const struct sync_change *binding)
{
    struct gathering *g = ctx;
    struct str name = str_from(binding->key, str_index(binding->key, '\0') + 1);

    if (str_eq(binding->scope,
               SCOPE_REFERRED)) /* what items refer to elsewhere: none of our names */
        return 0;
    return VEC_PUSH(&g->items, (struct table_item){name, binding->item->content}) ? 0
                                                                                  : ERR_NOMEM;
}

static void op_apply(void *ctx, const struct sync_batch *batch)
{
    struct server *s = ctx;
    struct gathering g = {0};
    struct table *table = NULL;

    if (sync_each(s->sync, gather, &g) == 0)
        table = table_new(g.items.at, g.items.n, batch->cursor.revision);
    VEC_DEINIT(&g.items);
    if (!table) { /* what was served stays, and the server is not told otherwise: the next batch tries again */
        sync_link_reconnect(s->link, 1000, "out of memory");
        return;
    }
    watches_tell(s->client, values_publish(&s->client->values, table), table);
    (void)pthread_mutex_lock(&s->mutex);
    s->has_values = true;
    s->revision = batch->cursor.revision;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->mutex);
    if (sync_applied(s->sync, batch->cursor.revision, sync_wanted(s->sync), NULL, 0))
        sync_link_reconnect(s->link, 1000, "out of memory"); /* as above */
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    struct server *s = ctx;

    sync_link_reconnect(s->link, after_ms, reason);
}

/* The newest word that the program said and sync does not know; NULL: none. */
static struct sdk_health *take_health(struct server *s)
{
    struct sdk_health *health;

    (void)pthread_mutex_lock(&s->mutex);
    health = take(s->health);
    s->say_is_posted = false;
    (void)pthread_mutex_unlock(&s->mutex);
    return health;
}

/* Back to where it was, unless the program has said something since. */
static struct sdk_health *return_health(struct server *s, struct sdk_health *health)
{
    (void)pthread_mutex_lock(&s->mutex);
    if (!s->health)
        s->health = take(health);
    (void)pthread_mutex_unlock(&s->mutex);
    return health;
}

static void say(struct server *s)
{
    struct sdk_health *health = take_health(s);
    struct sync_judgement judgement = {.source = "libtrimtab"};

    if (!health)
        return;
    judgement.failing = health->failing;
    judgement.revision = health->revision;
    judgement.reason = health->reason;
    if (sync_health(s->sync, &judgement)) {
        health = return_health(s, health);
        timer_start(&s->say_again, &s->loop, SAY_AGAIN_MS, 0);
    }
    (void)mem_free(health);
}

static void on_say(struct post *p, void *ctx)
{
    (void)p;
    say(ctx);
}

static void on_say_again(struct timer *timer, void *ctx)
{
    (void)timer;
    say(ctx);
}

static const struct sync_ops ops = {
    .send = op_send, .store = op_store, .apply = op_apply, .reconnect = op_reconnect};

static void on_state(void *ctx, enum sync_link_state state, const char *address,
                     const struct err *story)
{
    struct server *s = ctx;

    atomic_store(&s->is_connected, state == SYNC_LINK_UP);
    (void)pthread_mutex_lock(&s->mutex);
    if (state == SYNC_LINK_UP)
        s->problem[0] = '\0';
    else if (story && story->text[0])
        text_format(s->problem, sizeof(s->problem), "%s: %s", address ? address : "server",
                    story->text);
    (void)pthread_mutex_unlock(&s->mutex);
}

/* ---- the thread ---- */

static void on_closed(void *ctx)
{
    struct server *s = ctx;

    loop_stop(&s->loop);
}

static void on_stop(struct post *p, void *ctx)
{
    struct server *s = ctx;

    (void)p;
    timer_stop(&s->say_again);
    sync_link_close(take(s->link), on_closed, s);
}

static void *run(void *arg)
{
    struct server *s = arg;

    loop_run(&s->loop);
    return NULL;
}

/* ---- opening ---- */

static int random_id(struct arena *a, char **ret)
{
    unsigned char bytes[16];
    char hex[33];
    int r = random_bytes(bytes, sizeof(bytes));

    if (r)
        return r;
    hex_encode(bytes, sizeof(bytes), hex);
    *ret = arena_c(a, str_c(hex));
    return 0;
}

static int describe(struct server *s, const struct trimtab_options *o, struct err *err)
{
    struct arena *a = &s->arena;
    char host[256] = "";

    trimtab__v1__instance__init(&s->instance);
    trimtab__v1__scope__init(&s->scope);
    trimtab__v1__selector__init(&s->selector);
    if (o->instance)
        s->instance.id = arena_c(a, str_c(o->instance));
    else if (random_id(a, &s->instance.id))
        return err_set(err, ERR_IO, "the system has no random numbers");
    (void)gethostname(host, sizeof(host) - 1);
    s->instance.host = arena_c(a, str_c(host));
    s->instance.program = arena_c(a, STR("libtrimtab"));
    s->instance.program_version = arena_c(a, str_c(TRIMTAB_VERSION));
    if (random_bytes(s->boot_id, sizeof(s->boot_id)))
        return err_set(err, ERR_IO, "the system has no random numbers");
    s->instance.boot_id = (ProtobufCBinaryData){sizeof(s->boot_id), s->boot_id};
    s->instance.labels = ARENA_ARRAY(a, Trimtab__V1__Instance__LabelsEntry *, o->n_labels);
    for (size_t i = 0; i < o->n_labels; i++) {
        Trimtab__V1__Instance__LabelsEntry *e =
            ARENA_NEW(a, Trimtab__V1__Instance__LabelsEntry);

        if (!e || arena_failed(a))
            return err_set(err, ERR_NOMEM, "out of memory");
        trimtab__v1__instance__labels_entry__init(e);
        e->key = arena_c(a, o->labels[i].key);
        e->value = arena_c(a, o->labels[i].value);
        s->instance.labels[s->instance.n_labels++] = e;
    }
    s->scope.namespaces = ARENA_ARRAY(a, char *, o->n_namespaces);
    for (size_t i = 0; !arena_failed(a) && i < o->n_namespaces; i++)
        s->scope.namespaces[s->scope.n_namespaces++] = arena_c(a, str_c(o->namespaces[i]));
    s->kinds[0] = arena_c(a, STR("item"));
    s->selector.kinds = s->kinds;
    s->selector.n_kinds = 1;
    s->selectors[0] = &s->selector;
    s->scope.selectors = s->selectors;
    s->scope.n_selectors = 1;
    s->scopes[0] = &s->scope;
    return arena_failed(a) ? err_set(err, ERR_NOMEM, "out of memory") : 0;
}

static int read_token(struct server *s, const struct trimtab_options *o, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(TOKEN_MAX);
    int r;

    if (o->token)
        s->channel.token = arena_c(&s->arena, str_c(o->token));
    if (o->token || !o->token_file)
        return 0;
    r = file_read(o->token_file, &text, err);
    if (!r)
        s->channel.token = arena_c(&s->arena, str_trim(buf_str(&text)));
    return r;
}

static int prepare_channel(struct server *s, const struct trimtab_options *o, struct err *err)
{
    size_t n = MAX(o->n_servers, (size_t)1);
    const char **addresses = ARENA_ARRAY(&s->arena, const char *, n);
    struct tls_client_opts tls = {.ca_file = o->ca, .cert_file = o->cert, .key_file = o->key};
    int r = read_token(s, o, err);

    if (r)
        return r;
    if (!addresses)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        addresses[i] =
            arena_c(&s->arena, str_c(o->n_servers ? o->servers[i] : "127.0.0.1:7700"));
    s->channel.addresses = addresses;
    s->channel.n_addresses = n;
    s->channel.user_agent = "libtrimtab/" TRIMTAB_VERSION;
    s->channel.seed = clock_now();
    if (o->ca)
        r = tls_client_open(&tls, &s->tls, err);
    s->channel.tls = s->tls;
    return r;
}

static void init_sync(struct server *s)
{
    pthread_condattr_t attributes;

    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&s->mutex, NULL);
}

static void server_free(struct server *s)
{
    (void)sync_free(s->sync);
    (void)mem_free(s->health);
    tls_close(s->tls);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->mutex);
    arena_deinit(&s->arena);
    (void)mem_free(s);
}

static int start(struct server *s, struct err *err)
{
    struct sync_link_opts link = {
        .loop = &s->loop, .channel = s->channel, .on_state = on_state, .ctx = s};
    struct sync_opts opts = {
        .instance = &s->instance, .scopes = s->scopes, .n_scopes = 1, .ops = &ops, .ctx = s};
    int r;

    s->sync = sync_new(&opts);
    if (!s->sync)
        return err_set(err, ERR_NOMEM, "out of memory");
    r = loop_open(&s->loop, err);
    if (r)
        return r;
    link.sync = s->sync;
    s->stop = (struct post){.fn = on_stop, .ctx = s};
    s->look = (struct post){.fn = on_look, .ctx = s};
    s->say = (struct post){.fn = on_say, .ctx = s};
    s->say_again = (struct timer){.fn = on_say_again, .ctx = s};
    r = sync_link_open(&link, &s->link, err);
    if (!r)
        r = client_thread(&s->thread, run, s, err);
    if (r) {
        if (s->link)
            sync_link_close(take(s->link), NULL, NULL);
        loop_close(&s->loop);
    }
    return r;
}

static const struct provider provider;

int server_open(struct trimtab *t, const struct trimtab_options *o, struct err *err)
{
    struct server *s = NEW(struct server);
    int r;

    if (!s)
        return err_set(err, ERR_NOMEM, "out of memory");
    s->client = t;
    init_sync(s);
    r = describe(s, o, err);
    if (!r)
        r = prepare_channel(s, o, err);
    t->server = s;
    t->provider = &provider;
    if (!r)
        r = start(s, err);
    if (r)
        server_free(s);
    return r;
}

/* In a forked process there is no such thread, and the connection is the parent's. */
static void server_close(struct trimtab *t)
{
    struct server *s = t->server;

    if (t->is_forked)
        return;
    loop_post(&s->loop, &s->stop);
    (void)pthread_join(s->thread, NULL);
    loop_close(&s->loop);
    server_free(s);
}

static void server_after_fork(struct trimtab *t)
{
    atomic_store(&t->server->is_connected, false);
    (void)pthread_mutex_init(&t->server->mutex, NULL); /* its holder may not be here */
}

/* ---- asking ---- */

static bool server_wait(struct trimtab *t, unsigned timeout_ms)
{
    struct server *s = t->server;
    struct timespec until;
    bool has_values;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_mutex_lock(&s->mutex);
    while (!s->has_values)
        if (pthread_cond_timedwait(&s->changed, &s->mutex, &until))
            break;
    has_values = s->has_values;
    (void)pthread_mutex_unlock(&s->mutex);
    return has_values;
}

static bool server_is_connected(struct trimtab *t)
{
    return atomic_load(&t->server->is_connected);
}

static uint64_t server_revision(struct trimtab *t)
{
    const struct table *table = values_enter(&t->values);
    uint64_t revision;

    if (!table)
        return 0;
    revision = table->revision;
    values_leave();
    return revision;
}

static size_t server_problem(struct trimtab *t, char *out, size_t size)
{
    struct server *s = t->server;
    size_t len;

    (void)pthread_mutex_lock(&s->mutex);
    len = copy_text(str_c(s->problem), out, size);
    (void)pthread_mutex_unlock(&s->mutex);
    return len;
}

/* ---- saying ---- */

static bool server_report_health(struct trimtab *t, bool failing, const char *reason)
{
    struct server *s = t->server;
    struct sdk_health *health = NEW(struct sdk_health), *older;
    struct str text = str_part(str_c(reason), 0, SYNC_REASON_MAX);
    bool is_idle;

    if (!health || t->is_forked) {
        (void)mem_free(health);
        return false;
    }
    text.len = str_utf8_prefix(text);
    if (text.len)
        memcpy(health->reason, text.data, text.len);
    health->failing = failing;
    health->revision =
        server_revision(t); /* what was judged, whatever comes until it is sent */
    (void)pthread_mutex_lock(&s->mutex);
    older = s->health;
    s->health = health;
    is_idle = !s->say_is_posted;
    s->say_is_posted = true;
    (void)pthread_mutex_unlock(&s->mutex);
    (void)mem_free(older);
    if (is_idle)
        loop_post(&s->loop, &s->say);
    return true;
}

static bool server_watched(struct trimtab *t)
{
    struct server *s = t->server;
    bool is_idle;

    if (t->is_forked)
        return false;
    (void)pthread_mutex_lock(&s->mutex);
    is_idle = !s->look_is_posted;
    s->look_is_posted = true;
    (void)pthread_mutex_unlock(&s->mutex);
    if (is_idle)
        loop_post(&s->loop, &s->look);
    return true;
}

static const struct provider provider = {
    .wait = server_wait,
    .is_connected = server_is_connected,
    .revision = server_revision,
    .problem = server_problem,
    .report_health = server_report_health,
    .watched = server_watched,
    .close = server_close,
    .after_fork = server_after_fork,
};

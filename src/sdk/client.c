/*
 * The client: options, the thread, the callbacks. See client.h and the public header.
 *
 * What is received is kept in memory only: a restarted program asks for everything again.
 */
#include "sdk/client.h"

#include "base/file.h"
#include "proto/convert.h"

#include <signal.h>
#include <unistd.h>

enum {
    TOKEN_MAX = 4096,
    ADDRESSES_MAX = 16,
    NAMESPACES_MAX = SCOPE_LAYERS_MAX,
    LABELS_MAX = 32,
    SAY_AGAIN_MS = 1000 /* after there was no memory */
};

struct trimtab_options {
    struct arena arena;
    const char *servers[ADDRESSES_MAX];
    size_t n_servers;
    const char *token, *token_file, *ca, *cert, *key, *instance;
    const char *namespaces[NAMESPACES_MAX];
    size_t n_namespaces;
    struct pair labels[LABELS_MAX];
    size_t n_labels;
    bool has_failed;
};

static _Thread_local struct err open_err;

const char *trimtab_version(void)
{
    return TRIMTAB_VERSION;
}

const char *trimtab_open_error(void)
{
    static _Thread_local char text[2048];

    return err_describe(&open_err, text, sizeof(text));
}

/* ---- options ---- */

struct trimtab_options *trimtab_options_new(void)
{
    return NEW(struct trimtab_options);
}

void trimtab_options_free(struct trimtab_options *o)
{
    if (o)
        arena_deinit(&o->arena);
    (void)mem_free(o);
}

static bool keep(struct trimtab_options *o, const char **field, const char *text)
{
    *field = text ? arena_c(&o->arena, str_c(text)) : NULL;
    o->has_failed |= arena_failed(&o->arena);
    return !o->has_failed;
}

static bool keep_one_more(struct trimtab_options *o, const char **list, size_t *n, size_t max,
                          const char *text)
{
    if (*n == max) {
        o->has_failed = true;
        return false;
    }
    return keep(o, &list[(*n)++], text);
}

bool trimtab_options_server(struct trimtab_options *o, const char *address)
{
    return keep_one_more(o, o->servers, &o->n_servers, ADDRESSES_MAX, address);
}

bool trimtab_options_token(struct trimtab_options *o, const char *token)
{
    return keep(o, &o->token, token);
}

bool trimtab_options_token_file(struct trimtab_options *o, const char *path)
{
    return keep(o, &o->token_file, path);
}

bool trimtab_options_tls(struct trimtab_options *o, const char *ca_file, const char *cert_file,
                         const char *key_file)
{
    return keep(o, &o->ca, ca_file) && keep(o, &o->cert, cert_file) &&
           keep(o, &o->key, key_file);
}

bool trimtab_options_namespace(struct trimtab_options *o, const char *name)
{
    return keep_one_more(o, o->namespaces, &o->n_namespaces, NAMESPACES_MAX, name);
}

bool trimtab_options_label(struct trimtab_options *o, const char *key, const char *value)
{
    if (o->n_labels == LABELS_MAX) {
        o->has_failed = true;
        return false;
    }
    o->labels[o->n_labels++] =
        (struct pair){arena_str(&o->arena, str_c(key)), arena_str(&o->arena, str_c(value))};
    o->has_failed |= arena_failed(&o->arena);
    return !o->has_failed;
}

bool trimtab_options_instance(struct trimtab_options *o, const char *id)
{
    return keep(o, &o->instance, id);
}

/* ---- telling changes, on the library's thread ---- */

static void tell(struct sdk_watch *w, const char *name, const struct value *before,
                 const struct value *after, uint64_t revision)
{
    struct trimtab_change change = {name, before ? before->json : NULL,
                                    after ? after->json : NULL, revision};

    if (!before && !after)
        return;
    if (before && after && strcmp(before->json, after->json) == 0)
        return;
    if (str_glob(str_c(w->pattern), str_c(name)))
        w->fn(w->ctx, &change);
}

/* What differs between two tables; a new watch is told of everything that is there. */
static void tell_watch(struct sdk_watch *w, const struct table *before,
                       const struct table *after)
{
    static const struct table_entry none[1];
    static const struct table empty = {.entries = (struct table_entry *)(uintptr_t)none};

    if (w->is_new)
        before = &empty;
    w->is_new = false;
    for (size_t i = 0; i <= after->mask; i++)
        if (after->entries[i].name)
            tell(w, after->entries[i].name, table_find(before, after->entries[i].name),
                 &after->entries[i].value, after->revision);
    for (size_t i = 0; i <= before->mask; i++)
        if (before->entries[i].name && !table_find(after, before->entries[i].name))
            tell(w, before->entries[i].name, &before->entries[i].value, NULL, after->revision);
}

static void tell_all(struct trimtab *t, const struct table *before, bool only_new)
{
    const struct table *after = values_enter(&t->values);

    if (!after)
        return;
    (void)pthread_mutex_lock(&t->calling);
    for (struct sdk_watch *w = t->watches; w; w = w->next)
        if (after->revision && (w->is_new || !only_new))
            tell_watch(w, before ? before : after, after);
    (void)pthread_mutex_unlock(&t->calling);
    values_leave();
}

static void on_look(struct post *p, void *ctx)
{
    struct trimtab *t = ctx;

    (void)p;
    (void)pthread_mutex_lock(&t->calling);
    t->look_is_posted = false;
    (void)pthread_mutex_unlock(&t->calling);
    tell_all(t, NULL, true);
}

/* ---- what sync asks for ---- */

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct trimtab *t = ctx;

    if (t->link)
        sync_link_send(t->link, frame);
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

    if (str_eq(binding->scope, SCOPE_REFERRED)) /* what items refer to elsewhere: none of our names */
        return 0;
    return VEC_PUSH(&g->items, (struct table_item){name, binding->item->content}) ? 0
                                                                                  : ERR_NOMEM;
}

static void op_apply(void *ctx, const struct sync_batch *batch)
{
    struct trimtab *t = ctx;
    struct gathering g = {0};
    struct table *table = NULL;

    if (sync_each(t->sync, gather, &g) == 0)
        table = table_new(g.items.at, g.items.n, batch->cursor.revision);
    VEC_DEINIT(&g.items);
    if (!table) { /* what was served stays, and the server is not told otherwise: the next batch tries again */
        sync_link_reconnect(t->link, 1000, "out of memory");
        return;
    }
    tell_all(t, values_publish(&t->values, table), false);
    (void)pthread_mutex_lock(&t->mutex);
    t->has_values = true;
    t->revision = batch->cursor.revision;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->mutex);
    if (sync_applied(t->sync, batch->cursor.revision, sync_wanted(t->sync), NULL, 0))
        sync_link_reconnect(t->link, 1000, "out of memory"); /* as above */
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    struct trimtab *t = ctx;

    sync_link_reconnect(t->link, after_ms, reason);
}

/* The newest word that the program said and sync does not know; NULL: none. */
static struct sdk_health *take_health(struct trimtab *t)
{
    struct sdk_health *health;

    (void)pthread_mutex_lock(&t->mutex);
    health = take(t->health);
    t->say_is_posted = false;
    (void)pthread_mutex_unlock(&t->mutex);
    return health;
}

/* Back to where it was, unless the program has said something since. */
static struct sdk_health *return_health(struct trimtab *t, struct sdk_health *health)
{
    (void)pthread_mutex_lock(&t->mutex);
    if (!t->health)
        t->health = take(health);
    (void)pthread_mutex_unlock(&t->mutex);
    return health;
}

static void say(struct trimtab *t)
{
    struct sdk_health *health = take_health(t);
    struct sync_judgement judgement = {.source = "libtrimtab"};

    if (!health)
        return;
    judgement.failing = health->failing;
    judgement.revision = health->revision;
    judgement.reason = health->reason;
    if (sync_health(t->sync, &judgement)) {
        health = return_health(t, health);
        timer_start(&t->say_again, &t->loop, SAY_AGAIN_MS, 0);
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
    struct trimtab *t = ctx;

    (void)address;
    (void)story;
    atomic_store(&t->is_connected, state == SYNC_LINK_UP);
}

/* ---- the thread ---- */

static void on_closed(void *ctx)
{
    struct trimtab *t = ctx;

    loop_stop(&t->loop);
}

static void on_stop(struct post *p, void *ctx)
{
    struct trimtab *t = ctx;

    (void)p;
    timer_stop(&t->say_again);
    sync_link_close(take(t->link), on_closed, t);
}

static void *run(void *arg)
{
    struct trimtab *t = arg;

    loop_run(&t->loop);
    return NULL;
}

/* The thread inherits a mask of everything, so that signals go to the program's own threads. */
static int start_thread(struct trimtab *t)
{
    sigset_t all, old;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&t->thread, NULL, run, t);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r ? err_set(&open_err, ERR_NOMEM, "cannot start a thread") : 0;
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

static int describe(struct trimtab *t, const struct trimtab_options *o)
{
    struct arena *a = &t->arena;
    char host[256] = "";

    trimtab__v1__instance__init(&t->instance);
    trimtab__v1__scope__init(&t->scope);
    trimtab__v1__selector__init(&t->selector);
    if (o->instance)
        t->instance.id = arena_c(a, str_c(o->instance));
    else if (random_id(a, &t->instance.id))
        return err_set(&open_err, ERR_IO, "the system has no random numbers");
    (void)gethostname(host, sizeof(host) - 1);
    t->instance.host = arena_c(a, str_c(host));
    t->instance.program = arena_c(a, STR("libtrimtab"));
    t->instance.program_version = arena_c(a, str_c(TRIMTAB_VERSION));
    if (random_bytes(t->boot_id, sizeof(t->boot_id)))
        return err_set(&open_err, ERR_IO, "the system has no random numbers");
    t->instance.boot_id = (ProtobufCBinaryData){sizeof(t->boot_id), t->boot_id};
    t->instance.labels = ARENA_ARRAY(a, Trimtab__V1__Instance__LabelsEntry *, o->n_labels);
    for (size_t i = 0; i < o->n_labels; i++) {
        Trimtab__V1__Instance__LabelsEntry *e =
            ARENA_NEW(a, Trimtab__V1__Instance__LabelsEntry);

        if (!e || arena_failed(a))
            return err_set(&open_err, ERR_NOMEM, "out of memory");
        trimtab__v1__instance__labels_entry__init(e);
        e->key = arena_c(a, o->labels[i].key);
        e->value = arena_c(a, o->labels[i].value);
        t->instance.labels[t->instance.n_labels++] = e;
    }
    t->scope.namespaces = ARENA_ARRAY(a, char *, o->n_namespaces);
    for (size_t i = 0; !arena_failed(a) && i < o->n_namespaces; i++)
        t->scope.namespaces[t->scope.n_namespaces++] = arena_c(a, str_c(o->namespaces[i]));
    t->kinds[0] = arena_c(a, STR("item"));
    t->selector.kinds = t->kinds;
    t->selector.n_kinds = 1;
    t->selectors[0] = &t->selector;
    t->scope.selectors = t->selectors;
    t->scope.n_selectors = 1;
    t->scopes[0] = &t->scope;
    return arena_failed(a) ? err_set(&open_err, ERR_NOMEM, "out of memory") : 0;
}

static int read_token(struct trimtab *t, const struct trimtab_options *o)
{
    owned(buf) struct buf text = BUF_NULL(TOKEN_MAX);
    int r;

    if (o->token)
        t->channel.token = arena_c(&t->arena, str_c(o->token));
    if (o->token || !o->token_file)
        return 0;
    r = file_read(o->token_file, &text, &open_err);
    if (!r)
        t->channel.token = arena_c(&t->arena, str_trim(buf_str(&text)));
    return r;
}

static int prepare_channel(struct trimtab *t, const struct trimtab_options *o)
{
    size_t n = MAX(o->n_servers, (size_t)1);
    const char **addresses = ARENA_ARRAY(&t->arena, const char *, n);
    struct tls_client_opts tls = {.ca_file = o->ca, .cert_file = o->cert, .key_file = o->key};
    int r = read_token(t, o);

    if (r)
        return r;
    if (!addresses)
        return err_set(&open_err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        addresses[i] =
            arena_c(&t->arena, str_c(o->n_servers ? o->servers[i] : "127.0.0.1:7700"));
    t->channel.addresses = addresses;
    t->channel.n_addresses = n;
    t->channel.user_agent = "libtrimtab/" TRIMTAB_VERSION;
    t->channel.seed = clock_now();
    if (o->ca)
        r = tls_client_open(&tls, &t->tls, &open_err);
    t->channel.tls = t->tls;
    return r;
}

static void seed_hash(void)
{
    uint64_t seed;

    if (random_bytes(&seed, sizeof(seed)) == 0)
        hash_seed(seed);
}

static void init_sync(struct trimtab *t)
{
    pthread_condattr_t attributes;

    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&t->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&t->mutex, NULL);
    (void)pthread_mutex_init(&t->calling, NULL);
}

static void client_free(struct trimtab *t)
{
    (void)sync_free(t->sync);
    (void)mem_free(t->health);
    tls_close(t->tls);
    values_deinit(&t->values);
    while (t->watches) {
        struct sdk_watch *next = t->watches->next;

        (void)mem_free(t->watches->pattern);
        (void)mem_free(t->watches);
        t->watches = next;
    }
    (void)pthread_cond_destroy(&t->changed);
    (void)pthread_mutex_destroy(&t->mutex);
    (void)pthread_mutex_destroy(&t->calling);
    arena_deinit(&t->arena);
    (void)mem_free(t);
}

static int start(struct trimtab *t)
{
    struct sync_link_opts link = {
        .loop = &t->loop, .channel = t->channel, .on_state = on_state, .ctx = t};
    struct sync_opts opts = {
        .instance = &t->instance, .scopes = t->scopes, .n_scopes = 1, .ops = &ops, .ctx = t};
    int r;

    t->sync = sync_new(&opts);
    if (!t->sync)
        return err_set(&open_err, ERR_NOMEM, "out of memory");
    r = loop_open(&t->loop, &open_err);
    if (r)
        return r;
    link.sync = t->sync;
    t->stop = (struct post){.fn = on_stop, .ctx = t};
    t->look = (struct post){.fn = on_look, .ctx = t};
    t->say = (struct post){.fn = on_say, .ctx = t};
    t->say_again = (struct timer){.fn = on_say_again, .ctx = t};
    r = sync_link_open(&link, &t->link, &open_err);
    if (!r)
        r = start_thread(t);
    if (r) {
        if (t->link)
            sync_link_close(take(t->link), NULL, NULL);
        loop_close(&t->loop);
    }
    return r;
}

struct trimtab *trimtab_open(const struct trimtab_options *o)
{
    static pthread_once_t seeded = PTHREAD_ONCE_INIT;
    struct trimtab *t;
    int r;

    open_err = ERR_NULL;
    if (o->has_failed || o->n_namespaces == 0) {
        (void)err_set(&open_err, ERR_INVALID, "%s",
                      o->has_failed ? "an option could not be kept" : "no namespace was given");
        return NULL;
    }
    (void)pthread_once(&seeded, seed_hash);
    t = NEW(struct trimtab);
    if (!t || values_init(&t->values)) {
        (void)mem_free(t);
        (void)err_set(&open_err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    init_sync(t);
    r = describe(t, o);
    if (!r)
        r = prepare_channel(t, o);
    if (!r)
        r = start(t);
    if (r) {
        client_free(t);
        return NULL;
    }
    return t;
}

void trimtab_close(struct trimtab *t)
{
    if (!t)
        return;
    loop_post(&t->loop, &t->stop);
    (void)pthread_join(t->thread, NULL);
    loop_close(&t->loop);
    client_free(t);
}

/* ---- asking ---- */

bool trimtab_wait(struct trimtab *t, unsigned timeout_ms)
{
    struct timespec until;
    bool has_values;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_mutex_lock(&t->mutex);
    while (!t->has_values)
        if (pthread_cond_timedwait(&t->changed, &t->mutex, &until))
            break;
    has_values = t->has_values;
    (void)pthread_mutex_unlock(&t->mutex);
    return has_values;
}

bool trimtab_is_connected(const struct trimtab *t)
{
    return atomic_load(&t->is_connected);
}

uint64_t trimtab_revision(const struct trimtab *t)
{
    struct trimtab *reader = (struct trimtab *)(uintptr_t)t; /* reading announces itself */
    const struct table *table = values_enter(&reader->values);
    uint64_t revision;

    if (!table)
        return 0;
    revision = table->revision;
    values_leave();
    return revision;
}

/* ---- saying ---- */

bool trimtab_report_health(struct trimtab *t, bool failing, const char *reason)
{
    struct sdk_health *health = NEW(struct sdk_health), *older;
    struct str text = str_part(str_c(reason), 0, SYNC_REASON_MAX);
    bool is_idle;

    if (!health)
        return false;
    text.len = str_utf8_prefix(text);
    if (text.len)
        memcpy(health->reason, text.data, text.len);
    health->failing = failing;
    health->revision =
        trimtab_revision(t); /* what was judged, whatever comes until it is sent */
    (void)pthread_mutex_lock(&t->mutex);
    older = t->health;
    t->health = health;
    is_idle = !t->say_is_posted;
    t->say_is_posted = true;
    (void)pthread_mutex_unlock(&t->mutex);
    (void)mem_free(older);
    if (is_idle)
        loop_post(&t->loop, &t->say);
    return true;
}

/* ---- watching ---- */

unsigned trimtab_watch(struct trimtab *t, const char *pattern,
                       void (*fn)(void *ctx, const struct trimtab_change *change), void *ctx)
{
    struct sdk_watch *w = NEW(struct sdk_watch);
    bool is_idle;

    if (w)
        w->pattern = mem_dup(pattern, strlen(pattern));
    if (!w || !w->pattern) {
        (void)mem_free(w);
        return 0;
    }
    w->fn = fn;
    w->ctx = ctx;
    w->is_new = true;
    (void)pthread_mutex_lock(&t->calling);
    w->id = ++t->next_watch;
    w->next = t->watches;
    t->watches = w;
    is_idle = !t->look_is_posted;
    t->look_is_posted = true;
    (void)pthread_mutex_unlock(&t->calling);
    if (is_idle)
        loop_post(&t->loop, &t->look);
    return w->id;
}

void trimtab_unwatch(struct trimtab *t, unsigned id)
{
    struct sdk_watch **at, *found = NULL;

    (void)pthread_mutex_lock(&t->calling);
    for (at = &t->watches; *at && !found; at = found ? at : &(*at)->next)
        if ((*at)->id == id) {
            found = *at;
            *at = found->next;
            break;
        }
    (void)pthread_mutex_unlock(&t->calling);
    if (found)
        (void)mem_free(found->pattern);
    (void)mem_free(found);
}

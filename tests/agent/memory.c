/*
 * The whole agent without memory, at each allocation between a batch and its report, against a server of the test's own.
 * That server believes a report as the real one does (presence/proof.h), and then looks at the files: lack of memory may
 * delay a report or add a true exception to it, but never makes the agent report files that are not there (I12). When
 * there is memory again the agent finishes the batch and reports it, without being asked.
 *
 * Both sides share one thread, and the test turns their loops. No case waits for a clock: while both sides have nothing
 * to do, the agent's timers are moved ahead to the next one that is due.
 */
#include "tap.h"

#include "agent/agent.h"
#include "base/file.h"
#include "base/log.h"
#include "net/grpc.h"
#include "net/http.h"
#include "presence/proof.h"
#include "proto/convert.h"
#include "sync/stage.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

enum {
    PATH_BYTES = 256,
    QUIET_TURNS = 8,  /* before time is skipped */
    TIMERS_SHORT = 6, /* they take more than a second together */
    SILENCE_MAX_S = 3600,
};

/* In place of the system's: no case looks at the disk after a power cut, and thousands of batches would wait for it. */
__attribute__((visibility("default"))) int fsync(int fd)
{
    (void)fd;
    return 0;
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

/* A file as the server publishes it. */
struct file {
    char name[16], content[32];
    struct sha256 hash; /* of the item */
};

/* What differs between the cases. */
struct shape {
    bool checks, reloads; /* the sink has such a command, which refuses bad content */
    const char *refusal;  /* its code */
    bool renames; /* each batch drops the file of the one before and puts one of another name */
    bool returns; /* each batch has the content of the last but one */
};

struct world {
    struct shape shape;
    /* the server */
    struct loop loop;
    struct http_server *server;
    struct grpc_service service;
    struct grpc_call *call; /* the stream that is open */
    struct announced announced;
    uint64_t revision;
    struct file now, before; /* of the newest batch and of the one before */
    struct file served;      /* of the newest batch that was reported without exceptions */
    bool is_applied;         /* the newest batch was reported so */
    char refused[24];        /* else the code of the exception from it */
    nsec_t silence;          /* time that was skipped since it was sent */
    /* the agent */
    struct agent agent;
    struct config config;
    struct arena arena;
    char target[PATH_BYTES];
    unsigned n_quiet;
    int log;
    struct sigaction on_term, on_int; /* of the test's runner */
};

static struct world world; /* its loops must not move */

/* ---- what is published ---- */

/* An item as it is sent. */
struct parcel {
    Trimtab__V1__Item item;
    char id[32];
    struct sha256 content_hash;
};

static void fill_parcel(struct parcel *p, struct file *f, uint64_t revision)
{
    static char type[] = "text/plain";

    trimtab__v1__item__init(&p->item);
    (void)snprintf(p->id, sizeof(p->id), "n/file/%s", f->name);
    p->content_hash = sha256_of(str_c(f->content));
    p->item.id = p->id;
    p->item.version = revision;
    p->item.revision = revision;
    p->item.content_type = type;
    p->item.size = strlen(f->content);
    p->item.content_hash = proto_bytes(str_of(p->content_hash.bytes, SHA256_BYTES));
    p->item.content = proto_bytes(str_c(f->content));
}

static struct digest digest_of(const struct file *f)
{
    return digest_add(DIGEST_NULL, binding_digest(STR("s"), &f->hash));
}

/* The next batch: one file whose content begins with this word. */
static void publish(struct world *w, const char *word)
{
    owned(version_unref) struct version *v = NULL;
    owned(shared_unref) struct shared *bytes = NULL;
    unsigned long long number = ++w->revision;
    struct parcel p;

    w->before = w->now;
    (void)snprintf(w->now.name, sizeof(w->now.name), "f%llu", w->shape.renames ? number : 0);
    (void)snprintf(w->now.content, sizeof(w->now.content), "%s %llu", word,
                   w->shape.returns ? number % 2 : number);
    fill_parcel(&p, &w->now, w->revision);
    bytes = shared_copy(str_c(w->now.content));
    REQUIRE(bytes && version_received(&p.item, bytes, &v, NULL) == 0);
    w->now.hash = v->item_hash;
    w->is_applied = false;
    w->refused[0] = '\0';
    w->silence = 0;
}

/* ---- the server speaks ---- */

static void server_send(struct world *w, const Trimtab__V1__ServerFrame *frame)
{
    struct shared *bytes = proto_pack(&frame->base, 0);
    struct segment s = segment_shared(bytes);

    CHECK(bytes && grpc_send(w->call, &s, 1) != ERR_NOMEM);
    (void)shared_unref(bytes);
}

/* The newest batch, for a client that has the one before, or nothing (0), or this one already. */
static void send_batch(struct world *w, uint64_t has)
{
    static char scope[] = "s";
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Changes changes = TRIMTAB__V1__CHANGES__INIT, *list[] = {&changes};
    Trimtab__V1__End end = TRIMTAB__V1__END__INIT;
    unsigned char digest[DIGEST_BYTES];
    struct parcel parcel;
    Trimtab__V1__Item *put[] = {&parcel.item};
    char drop[32], *drops[] = {drop};

    fill_parcel(&parcel, &w->now, w->revision);
    (void)snprintf(drop, sizeof(drop), "file/%s", w->before.name);
    changes.scope = scope;
    changes.put = put;
    changes.n_put = 1;
    changes.drop = drops;
    changes.n_drop = has && strcmp(w->before.name, w->now.name) != 0;
    frame.changes = list;
    frame.n_changes = has != w->revision;
    digest_put(digest_of(&w->now), digest);
    end.mode = has ? TRIMTAB__V1__MODE__RESUME : TRIMTAB__V1__MODE__FULL;
    end.revision = w->revision;
    end.digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    end.count = 1;
    frame.end = &end;
    announced_add(&w->announced, w->revision, digest_of(&w->now));
    server_send(w, &frame);
}

static void send_welcome(struct world *w, const Trimtab__V1__Cursor *cursor)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Welcome welcome = TRIMTAB__V1__WELCOME__INIT;
    unsigned char id[SYNC_STORE_ID_BYTES] = {1};

    welcome.store_id = proto_bytes(str_of(id, sizeof(id)));
    welcome.mode = cursor ? TRIMTAB__V1__MODE__RESUME : TRIMTAB__V1__MODE__FULL;
    welcome.head = w->revision;
    welcome.bookmark_ms = 600000;
    frame.welcome = &welcome;
    server_send(w, &frame);
    announced_deinit(&w->announced);
    send_batch(w, cursor ? cursor->revision : 0);
}

/* ---- the server judges a report ---- */

static bool is_named(const Trimtab__V1__Refusal *r, const char *name)
{
    return str_eq(str_c(r->scope), STR("s")) && str_starts(str_c(r->key), STR("file/")) &&
           strcmp(r->key + 5, name) == 0;
}

static const struct sha256 *wanted(void *ctx, struct str scope, struct str key,
                                   uint64_t revision, bool *ret_is_newer)
{
    const struct world *w = ctx;
    bool is_now = str_eq(scope, STR("s")) && str_starts(key, STR("file/")) &&
                  str_eq(str_from(key, 5), str_c(w->now.name));

    *ret_is_newer = revision < w->revision;
    return is_now ? &w->now.hash : NULL;
}

/* The content that is to be in the file of this name; "": there is to be no such file. */
static struct str to_be(const struct world *w, const char *name)
{
    return strcmp(name, w->now.name) == 0 ? str_c(w->now.content) : STR("");
}

/* The same, as the exception says that it is. */
static struct str excepted(const struct world *w, const Trimtab__V1__Refusal *r)
{
    const struct file *files[] = {&w->now, &w->before, &w->served};
    struct str serving = proto_str(r->serving_hash);

    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (str_eq(serving, str_of(files[i]->hash.bytes, SHA256_BYTES)))
            return str_c(files[i]->content);
    CHECK(!serving.len);
    return STR("");
}

/* An exception may have been made good since it was reported, or is being tried again: then it is in place for a reload. */
static void check_content(const struct world *w, const Trimtab__V1__Ack *ack, const char *name,
                          struct str content)
{
    struct str said = to_be(w, name);
    bool is_made_good = str_eq(content, said) &&
                        (!str_starts(content, STR("bad")) || job_is_busy(w->agent.job));

    for (size_t i = 0; i < ack->n_refused && !is_made_good; i++)
        if (is_named(ack->refused[i], name))
            said = excepted(w, ack->refused[i]);
    CHECK_STR(content, said);
}

static void check_file(const struct world *w, const Trimtab__V1__Ack *ack, const char *name)
{
    owned(buf) struct buf content = BUF_NULL(4096);
    char path[PATH_BYTES + 32];

    if (!*name)
        return;
    (void)snprintf(path, sizeof(path), "%s/%s", w->target, name);
    CHECK(access(path, F_OK) || file_read(path, &content, NULL) == 0);
    check_content(w, ack, name, buf_str(&content));
}

/* A report that proves something about the newest batch. */
static void take_claim(struct world *w, const Trimtab__V1__Ack *ack)
{
    CHECK(ack->n_refused || !str_starts(str_c(w->now.content), STR("bad")));
    check_file(w, ack, w->now.name);
    check_file(w, ack, w->before.name);
    check_file(w, ack, w->served.name);
    w->is_applied = ack->n_refused == 0;
    for (size_t i = 0; i < ack->n_refused; i++)
        if (is_named(ack->refused[i], w->now.name))
            (void)snprintf(w->refused, sizeof(w->refused), "%s", ack->refused[i]->code);
    if (w->is_applied)
        w->served = w->now;
}

/* A hello is a report, too. */
static void take_hello(struct world *w, const Trimtab__V1__Hello *hello)
{
    Trimtab__V1__Ack said = TRIMTAB__V1__ACK__INIT;
    struct digest serving;

    if (hello->serving && hello->serving->revision == w->revision &&
        digest_get(proto_str(hello->serving->digest), &serving) &&
        digest_eq(serving, digest_of(&w->now)))
        check_file(w, &said, w->now.name);
    send_welcome(w, hello->cursor);
}

static void take_report(struct world *w, const Trimtab__V1__Ack *ack)
{
    struct proof_view view = {.announced = &w->announced, .wanted = wanted, .ctx = w};
    uint64_t proved = 0;
    enum proof proof = proof_judge(&view, ack, &proved);

    if (ack->revision != w->revision)
        return;
    if (!CHECK_I64(proof, PROOF_HOLDS))
        tap_note("%zu exceptions from revision %llu", ack->n_refused,
                 (unsigned long long)ack->revision);
    else
        take_claim(w, ack);
}

/* ---- the server listens ---- */

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct world *w = ctx;
    Trimtab__V1__ClientFrame *f = trimtab__v1__client_frame__unpack(
        &proto_allocator, message.len, (const uint8_t *)message.data);

    REQUIRE(f != NULL);
    if (call == w->call && f->hello)
        take_hello(w, f->hello);
    if (call == w->call && f->ack) {
        CHECK(f->ack->stage != TRIMTAB__V1__STAGE__REJECTED);
        if (f->ack->stage == TRIMTAB__V1__STAGE__APPLIED)
            take_report(w, f->ack);
    }
    trimtab__v1__client_frame__free_unpacked(f, &proto_allocator);
}

static void on_call_close(struct grpc_call *call, void *ctx, int reason)
{
    struct world *w = ctx;

    (void)reason;
    if (w->call == call)
        w->call = NULL;
}

static void on_call(struct grpc_call *call, void *ctx, struct str message)
{
    static const struct grpc_ops ops = {.on_message = on_message, .on_close = on_call_close};
    struct world *w = ctx;

    (void)message;
    w->call = call;
    grpc_set_ops(call, &ops, w);
}

static const struct grpc_method methods[] = {
    {.path = "/trimtab.v1.Sync/Subscribe", .kind = GRPC_STREAM, .on_call = on_call}};

static void on_request(void *ctx, struct exchange *x)
{
    struct world *w = ctx;

    grpc_handle(&w->service, x);
}

/* ---- time ---- */

static void bring_forward(struct timer *t, nsec_t by)
{
    for (; t; t = t->next) {
        t->due -= by;
        bring_forward(t->child, by);
    }
}

/* Skips the time until the agent's next timer is due; the order of its timers stays. */
static void skip_time(struct world *w)
{
    struct loop *loop = &w->agent.loop;
    nsec_t now = loop_now(loop), by;

    if (!loop->timers || loop->timers->due <= now)
        return;
    by = loop->timers->due - now;
    bring_forward(loop->timers, by);
    w->silence += by;
    CHECK(w->silence < SILENCE_MAX_S * NSEC_PER_S);
}

/* A turn of both sides. Workers and commands take the time that they need: none is skipped while the agent has any. */
static void turn(struct world *w)
{
    bool is_busy = job_is_busy(w->agent.job);

    loop_turn(&w->agent.loop, is_busy ? LOOP_WAIT : LOOP_POLL);
    loop_turn(&w->loop, LOOP_POLL);
    w->n_quiet = is_busy ? 0 : w->n_quiet + 1;
    if (w->n_quiet % QUIET_TURNS == QUIET_TURNS - 1)
        skip_time(w);
}

/* Nothing more comes of a case that has failed. */
#define UNTIL(w, cond)                                                                         \
    while (!(cond) && !tap_failed())                                                           \
    turn(w)

/* What the server has said is on its way. */
static void flush(struct world *w)
{
    while (w->call && grpc_queued(w->call))
        loop_turn(&w->loop, LOOP_POLL);
    loop_turn(&w->loop, LOOP_POLL);
}

/* ---- the world ---- */

static bool load_config(struct world *w)
{
    owned(buf) struct buf text = BUF_NULL(4096);
    char dir[64], path[PATH_BYTES], flag[PATH_BYTES + 32], program[] = "agent";
    char *args[] = {program, flag, NULL};
    static unsigned n_agents;

    (void)snprintf(dir, sizeof(dir), "%s/%u", tap_tmpdir(), n_agents++);
    (void)snprintf(w->target, sizeof(w->target), "%s/target", dir);
    (void)snprintf(path, sizeof(path), "%s/agent.conf", dir);
    (void)snprintf(flag, sizeof(flag), "--config_file=%s", path);
    buf_printf(&text, "servers = %s\ndata_dir = %s/data\ninstance_id = me\n",
               http_server_address(w->server), dir);
    buf_printf(&text, "retry_interval = 10s\nverify_interval = 10000h\n");
    buf_printf(&text, "[scope \"s\"]\nnamespaces = n\n");
    buf_printf(&text, "[files \"t\"]\nscope = s\ntarget = %s\n", w->target);
    if (w->shape.checks)
        buf_printf(&text, "check = test \"$TRIMTAB_SINK\" = t && grep -q good {stage}/*\n");
    if (w->shape.reloads)
        buf_printf(&text, "reload = test \"$TRIMTAB_SINK\" = t && ! grep -q bad %s/*\n",
                   w->target);
    return CHECK(file_make_dirs(dir, 0700, NULL) == 0) &&
           CHECK(file_replace(path, buf_str(&text), 0600, NULL) == 0) &&
           CHECK(config_load(&w->config, 2, args, &w->arena, NULL) == 0);
}

/* The agent takes these signals; here they still end the case, with its name. */
static void keep_signals(const struct world *w)
{
    (void)sigaction(SIGTERM, &w->on_term, NULL);
    (void)sigaction(SIGINT, &w->on_int, NULL);
}

/* The agent has said hello, and the first batch is on its way. */
static bool world_open(struct world *w, const struct shape *shape)
{
    struct http_server_opts server = {
        .address = "127.0.0.1:0", .on_request = on_request, .ctx = w};
    struct err err = ERR_NULL;

    *w = (struct world){.shape = *shape};
    w->log = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_setup(w->log, LOG_ERROR, LOG_TEXT);
    w->service = (struct grpc_service){.methods = methods, .n = 1, .ctx = w};
    (void)sigaction(SIGTERM, NULL, &w->on_term);
    (void)sigaction(SIGINT, NULL, &w->on_int);
    if (!CHECK(loop_open(&w->loop, NULL) == 0) ||
        !CHECK(http_server_open(&w->loop, &server, &w->server, NULL) == 0) || !load_config(w))
        return false;
    publish(w, "good");
    if (!CHECK(agent_open(&w->agent, &w->config, &err) == 0)) {
        tap_note("%s", err.text);
        return false;
    }
    keep_signals(w);
    UNTIL(w, w->announced.n);
    flush(w);
    return true;
}

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

static void world_close(struct world *w)
{
    bool closed = false;

    agent_close(&w->agent);
    keep_signals(w);
    http_server_close(w->server, set_true, &closed);
    while (!closed)
        loop_turn(&w->loop, LOOP_WAIT);
    loop_turn(&w->loop, LOOP_POLL);
    loop_close(&w->loop);
    announced_deinit(&w->announced);
    config_deinit(&w->config);
    arena_deinit(&w->arena);
    log_setup(STDERR_FILENO, LOG_INFO, LOG_TEXT);
    (void)close(w->log);
}

/* ---- without memory ---- */

/* The next batch is on its way to an agent that has nothing else to do. */
static void offer(struct world *w, const char *word)
{
    UNTIL(w, w->call && sync_status(w->agent.sync).phase == SYNC_LIVE &&
                 !job_is_busy(w->agent.job));
    publish(w, word);
    send_batch(w, w->revision - 1);
    flush(w);
}

/* The agent has done with the batch what it can, or has lost its stream. */
static bool is_settled(struct world *w)
{
    if (job_is_busy(w->agent.job))
        return false;
    return !sync_link_is_up(w->agent.link) ||
           sync_status(w->agent.sync).cursor.revision == w->revision;
}

/* What fails after n allocations: all, while the agent works and also when it tries again; or the next one only. */
enum lack { LACK_LONG, LACK_ONCE };

static void settle(struct world *w)
{
    do
        loop_turn(&w->agent.loop, LOOP_WAIT);
    while (!is_settled(w));
}

/* The agent works on a batch. Returns whether an allocation failed. */
static bool settle_short(struct world *w, enum lack lack, uint64_t n)
{
    (void)(lack == LACK_ONCE ? mem_fail_once(n) : mem_fail_after(n));
    settle(w);
    for (int i = 0; lack == LACK_LONG && i < TIMERS_SHORT; i++) {
        skip_time(w);
        settle(w);
    }
    return mem_fail_after(UINT64_MAX);
}

/* One batch, or what else has to go with it, without memory somewhere. Returns whether an allocation failed. */
typedef bool try_fn(struct world *w, enum lack lack, uint64_t n);

/* The first batch of an agent that has nothing yet. */
static bool try_first(struct world *w, enum lack lack, uint64_t n)
{
    struct shape shape = w->shape;
    bool failed;

    world_close(w);
    if (!world_open(w, &shape))
        return false;
    failed = settle_short(w, lack, n);
    UNTIL(w, w->is_applied);
    return failed;
}

static bool try_good(struct world *w, enum lack lack, uint64_t n)
{
    bool failed;

    offer(w, "good");
    failed = settle_short(w, lack, n);
    UNTIL(w, w->is_applied);
    return failed;
}

static bool try_bad(struct world *w, enum lack lack, uint64_t n)
{
    bool failed;

    offer(w, "bad");
    failed = settle_short(w, lack, n);
    UNTIL(w, strcmp(w->refused, w->shape.refusal) == 0);
    offer(w, "good");
    UNTIL(w, w->is_applied);
    return failed;
}

/* A batch that comes while the one before is being applied. */
static bool try_overtaken(struct world *w, enum lack lack, uint64_t n)
{
    bool failed;

    offer(w, "good");
    while (sync_status(w->agent.sync).cursor.revision != w->revision)
        loop_turn(&w->agent.loop, LOOP_WAIT);
    publish(w, "good");
    send_batch(w, w->revision - 1);
    flush(w);
    failed = settle_short(w, lack, n);
    UNTIL(w, w->is_applied);
    return failed;
}

/* What was refused is made good. */
static bool try_mended(struct world *w, enum lack lack, uint64_t n)
{
    offer(w, "bad");
    UNTIL(w, strcmp(w->refused, w->shape.refusal) == 0);
    return try_good(w, lack, n);
}

/* Where every step is slow not every allocation is tried; scripts/soak tries all, in a release build. */
static uint64_t stride(void)
{
#if defined(__SANITIZE_THREAD__)
    return 16;
#elif defined(TRIMTAB_SANITIZED)
    return getenv("TRIMTAB_QUICK") ? 16 : 4;
#else
    return 1;
#endif
}

/* Each allocation of the way from a batch to its report is the first to fail. Returns how often one did. */
static int sweep(struct world *w, try_fn *try, enum lack lack)
{
    int n_failures = 0, n_passed = 0; /* in a row: the way is not the same each time */

    for (uint64_t n = 0; n_passed < 2 && !tap_failed(); n += stride()) {
        bool failed = try(w, lack, n);

        n_failures += failed;
        n_passed = failed ? 0 : n_passed + 1;
        if (tap_failed())
            tap_note("%s, after %d allocations", lack == LACK_ONCE ? "once" : "long", (int)n);
    }
    return n_failures;
}

static void sweep_all(const struct shape *shape, try_fn *try)
{
    struct world *w = &world;
    int n_long, n_once;

    REQUIRE(world_open(w, shape));
    UNTIL(w, w->is_applied);
    n_long = sweep(w, try, LACK_LONG);
    n_once = sweep(w, try, LACK_ONCE);
    tap_note("without memory %d times for long, %d times once", n_long, n_once);
    CHECK(tap_failed() ||
          ((uint64_t)n_long * stride() > 20 && (uint64_t)n_once * stride() > 20));
    world_close(w);
}

static const struct shape checked = {.checks = true, .refusal = "CHECK_FAILED"};
static const struct shape checked_names = {
    .checks = true, .refusal = "CHECK_FAILED", .renames = true};
static const struct shape reloaded = {.reloads = true, .refusal = "RELOAD_FAILED"};
static const struct shape all_at_once = {.checks = true, .reloads = true, .renames = true};
static const struct shape names = {.renames = true};
static const struct shape returning = {.returns = true};

/* Programs are started from a heap that grows with each case, so those that start many come first. */
TEST("without memory a change that the check refuses is reported with its exception")
{
    sweep_all(&checked, try_bad);
}

TEST("without memory a change is applied after one that the check refused")
{
    sweep_all(&checked, try_mended);
}

TEST("without memory a new name is applied after one that the check refused")
{
    sweep_all(&checked_names, try_mended);
}

TEST("without memory a change that the reload refuses is reported with its exception")
{
    sweep_all(&reloaded, try_bad);
}

TEST("without memory a new name is reported only when it has taken the place of the old one")
{
    sweep_all(&all_at_once, try_good);
}

TEST("without memory a change that comes while another is applied is reported when it is in "
     "place")
{
    sweep_all(&names, try_overtaken);
}

TEST("without memory a change, or a change back, is reported only when it is in place")
{
    sweep_all(&returning, try_good);
}

TEST("without memory the first file of an agent is reported only when it is in place")
{
    sweep_all(&returning, try_first);
}

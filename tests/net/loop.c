/*
 * The event loop: order and life of timers, posts and deferred work; and gRPC's pure parts.
 */
#include "net/loop.h"

#include "net/grpc_frame.h"
#include "net/grpc_status.h"
#include "net/grpc_text.h"
#include "net/pages.h"
#include "tap.h"

#include <pthread.h>
#include <signal.h>

static char trace[256];

static void note(const char *what)
{
    size_t len = strlen(trace);

    (void)snprintf(trace + len, sizeof(trace) - len, "%s ", what);
}

static void note_timer(struct timer *t, void *ctx)
{
    (void)t;
    note(ctx);
}

static void stop_timer(struct timer *t, void *ctx)
{
    (void)t;
    loop_stop(ctx);
}

TEST("timers run in the order of their due times, stopped ones never")
{
    struct loop loop;
    struct timer a = {.fn = note_timer, .ctx = "a"}, b = a, c = a,
                 end = {.fn = stop_timer, .ctx = &loop};

    trace[0] = '\0';
    REQUIRE(loop_open(&loop, NULL) == 0);
    b.ctx = "b";
    c.ctx = "c";
    timer_start(&c, &loop, 30, 0);
    timer_start(&a, &loop, 1, 0);
    timer_start(&b, &loop, 10, 0);
    timer_start(&end, &loop, 40, 0);
    timer_stop(&c);
    loop_run(&loop);
    CHECK_STR(str_c(trace), STR("a b "));
    CHECK(!timer_is_running(&a));
    loop_close(&loop);
}

enum { MANY = 2000 };

static void count_timer(struct timer *t, void *ctx)
{
    uint64_t *last = ctx;

    CHECK(t->due >= last[0]);
    last[0] = t->due;
    last[1]++;
}

TEST("two thousand timers, half of them stopped or moved, run in order")
{
    static struct timer timers[MANY];
    struct loop loop;
    struct timer end = {.fn = stop_timer, .ctx = &loop};
    struct rng rng = {7};
    uint64_t seen[2] = {0, 0}, expected = 0;

    REQUIRE(loop_open(&loop, NULL) == 0);
    for (size_t i = 0; i < MANY; i++) {
        timers[i] = (struct timer){.fn = count_timer, .ctx = seen};
        timer_start(&timers[i], &loop, 1 + rng_below(&rng, 60), 0);
    }
    for (size_t i = 0; i < MANY; i++) {
        uint64_t what = rng_below(&rng, 4);

        if (what == 0)
            timer_stop(&timers[i]);
        else if (what == 1)
            timer_start(&timers[i], &loop, 1 + rng_below(&rng, 60), 0);
        expected += what != 0;
    }
    timer_start(&end, &loop, 80, 0);
    loop_run(&loop);
    CHECK_U64(seen[1], expected);
    loop_close(&loop);
}

struct ticks {
    struct loop loop;
    struct timer timer;
    int n;
};

static void tick3(struct timer *t, void *ctx)
{
    struct ticks *ticks = ctx;

    if (++ticks->n == 3) {
        timer_stop(t);
        loop_stop(&ticks->loop);
    }
}

TEST("a repeating timer may stop itself")
{
    static struct ticks ticks;

    ticks = (struct ticks){.timer = {.fn = tick3, .ctx = &ticks}};
    REQUIRE(loop_open(&ticks.loop, NULL) == 0);
    timer_start(&ticks.timer, &ticks.loop, 1, 1);
    loop_run(&ticks.loop);
    CHECK_I64(ticks.n, 3);
    loop_close(&ticks.loop);
}

struct steps {
    struct loop loop;
    struct defer first, second;
};

static void defer_second(struct defer *d, void *ctx)
{
    (void)d;
    note("second");
    loop_stop(&((struct steps *)ctx)->loop);
}

static void defer_first(struct defer *d, void *ctx)
{
    struct steps *s = ctx;

    (void)d;
    note("first");
    loop_defer(&s->loop, &s->second);
    note("after");
}

TEST("deferred work runs once at the end of the turn, and what it defers after it")
{
    static struct steps s;

    trace[0] = '\0';
    s = (struct steps){.first = {.fn = defer_first, .ctx = &s},
                       .second = {.fn = defer_second, .ctx = &s}};
    REQUIRE(loop_open(&s.loop, NULL) == 0);
    loop_defer(&s.loop, &s.first);
    loop_defer(&s.loop, &s.first);
    loop_run(&s.loop);
    CHECK_STR(str_c(trace), STR("first after second "));
    loop_close(&s.loop);
}

enum { POSTERS = 4, POSTS = 500 };

struct message {
    struct post post;
    unsigned poster, number;
};

static struct {
    struct loop loop;
    struct message messages[POSTERS][POSTS];
    unsigned next[POSTERS], total;
} posts;

static void got_post(struct post *p, void *ctx)
{
    struct message *m = CONTAINER_OF(p, struct message, post);

    (void)ctx;
    CHECK_U64(m->number, posts.next[m->poster]);
    posts.next[m->poster]++;
    if (++posts.total == POSTERS * POSTS)
        loop_stop(&posts.loop);
}

static void *poster(void *arg)
{
    unsigned me = *(unsigned *)arg;

    for (unsigned i = 0; i < POSTS; i++) {
        posts.messages[me][i] = (struct message){{.fn = got_post}, me, i};
        loop_post(&posts.loop, &posts.messages[me][i].post);
    }
    return NULL;
}

/* Uses so much of the processor. */
static void burn(nsec_t ns)
{
    nsec_t begin = clock_thread_cpu();

    while (clock_thread_cpu() - begin < ns)
        continue;
}

struct slow {
    struct post post;
    unsigned *n_run;
};

static void run_slowly(struct post *p, void *ctx)
{
    (void)ctx;
    burn(5 * NSEC_PER_MS); /* more than the posts of a turn have */
    ++*CONTAINER_OF(p, struct slow, post)->n_run;
}

TEST("posts that take long leave the rest to the next turn, and a loop that closes runs them "
     "all")
{
    struct loop loop;
    struct slow slow[4];
    unsigned n_run = 0;

    REQUIRE(loop_open(&loop, NULL) == 0);
    for (unsigned i = 0; i < ARRAY_LEN(slow); i++) {
        slow[i] = (struct slow){{.fn = run_slowly}, &n_run};
        loop_post(&loop, &slow[i].post);
    }
    for (unsigned i = 1; i < ARRAY_LEN(slow); i++) {
        loop_turn(&loop, LOOP_POLL);
        CHECK_U64(n_run, i);
    }
    loop_close(&loop);
    CHECK_U64(n_run, ARRAY_LEN(slow));
}

TEST("posts of several threads all arrive, in the order of each thread")
{
    pthread_t threads[POSTERS];
    unsigned ids[POSTERS];

    memset(&posts, 0, sizeof(posts));
    REQUIRE(loop_open(&posts.loop, NULL) == 0);
    for (unsigned i = 0; i < POSTERS; i++) {
        ids[i] = i;
        REQUIRE(pthread_create(&threads[i], NULL, poster, &ids[i]) == 0);
    }
    loop_run(&posts.loop);
    for (unsigned i = 0; i < POSTERS; i++)
        (void)pthread_join(threads[i], NULL);
    CHECK_U64(posts.total, POSTERS * POSTS);
    loop_close(&posts.loop);
}

struct job {
    struct loop loop;
    struct work work;
    pthread_t on;
    bool is_done;
};

static void run_job(struct work *w, void *ctx)
{
    (void)w;
    ((struct job *)ctx)->on = pthread_self();
}

static void job_done(struct work *w, void *ctx)
{
    struct job *job = ctx;

    (void)w;
    job->is_done = true;
    loop_stop(&job->loop);
}

static void got_signal(struct signal_watch *s, void *ctx)
{
    (void)s;
    loop_stop(ctx);
}

TEST("work runs on another thread and ends on the loop")
{
    static struct job job;

    job = (struct job){.work = {.run = run_job, .done = job_done, .ctx = &job}};
    REQUIRE(loop_open(&job.loop, NULL) == 0);
    loop_work(&job.loop, &job.work);
    loop_run(&job.loop);
    CHECK(job.is_done);
    CHECK(!pthread_equal(job.on, pthread_self()));
    loop_close(&job.loop);
}

TEST("a watched signal reaches the loop")
{
    struct loop loop;
    struct signal_watch watch = {.fn = got_signal, .ctx = &loop, .number = SIGUSR1};

    REQUIRE(loop_open(&loop, NULL) == 0);
    REQUIRE(loop_watch_signal(&loop, &watch, NULL) == 0);
    (void)raise(SIGUSR1);
    loop_run(&loop);
    loop_close(&loop);
}

/* ---- framing ---- */

TEST("messages come out of the de-framer whole, however the bytes are cut")
{
    static const char wire[] = "\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\5hello";
    size_t len = sizeof(wire) - 1;

    for (size_t cut = 1; cut <= len; cut++) {
        struct grpc_deframer d;
        struct buf got = BUF_NULL(64);

        grpc_deframer_init(&d, 100);
        for (size_t at = 0; at < len; at += cut) {
            struct str input = str_of(wire + at, MIN(cut, len - at)), message;

            while (grpc_deframe(&d, &input, &message) == GRPC_MESSAGE) {
                buf_put_str(&got, message);
                buf_put_c(&got, "|");
            }
        }
        CHECK_STR(buf_str(&got), STR("abc||hello|"));
        buf_deinit(&got);
        CHECK(grpc_deframer_is_clean(&d));
        grpc_deframer_deinit(&d);
    }
}

static int deframe_once(struct str input, size_t max)
{
    struct grpc_deframer d;
    struct str message;
    int r;

    grpc_deframer_init(&d, max);
    r = grpc_deframe(&d, &input, &message);
    grpc_deframer_deinit(&d);
    return r;
}

TEST("compressed, oversized and malformed frames are told apart before anything is stored")
{
    CHECK_I64(deframe_once(STR("\1\0\0\0\1x"), 10), GRPC_COMPRESSED);
    CHECK_I64(deframe_once(STR("\7\0\0\0\1x"), 10), GRPC_BAD_FLAGS);
    CHECK_I64(deframe_once(STR("\0\xff\xff\xff\xff"), 10), GRPC_TOO_LARGE);
    CHECK_I64(deframe_once(STR("\0\0\0\0\x0b"), 10), GRPC_TOO_LARGE);
    CHECK_I64(deframe_once(STR("\0\0\0\0\x0a"), 10), GRPC_NEED_MORE);
}

TEST("a compressed message comes out as one when a compression was announced")
{
    struct grpc_deframer d;
    struct str message, input = STR("\1\0\0\0\1x\0\0\0\0\1y");

    grpc_deframer_init(&d, 1);
    d.takes_compressed = true;
    CHECK_I64(grpc_deframe(&d, &input, &message), GRPC_MESSAGE);
    CHECK_STR(message, STR("x"));
    CHECK(grpc_deframer_is_compressed(&d));
    CHECK_I64(grpc_deframe(&d, &input, &message), GRPC_MESSAGE);
    CHECK(!grpc_deframer_is_compressed(&d));
    input = STR("\1\0\0\0\2");
    CHECK_I64(grpc_deframe(&d, &input, &message), GRPC_TOO_LARGE);
    grpc_deframer_deinit(&d);
}

TEST("messages are percent-encoded and decoded without loss")
{
    struct buf out = BUF_NULL(1000);
    char back[100];

    grpc_percent_put(&out, STR("10% of \"caf\xc3\xa9\"\n"));
    CHECK_STR(buf_str(&out), STR("10%25 of \"caf%C3%A9\"%0A"));
    grpc_percent_get(buf_str(&out), back, sizeof(back));
    CHECK_STR(str_c(back), STR("10% of \"caf\xc3\xa9\"\n"));
    grpc_percent_get(STR("100%zz%4"), back, sizeof(back));
    CHECK_STR(str_c(back), STR("100%zz%4"));
    buf_deinit(&out);
}

TEST("details of a failure are put as google.rpc.Status has them, and lack of memory is told")
{
    static const struct grpc_story story = {
        .status = 5, .message = "no caf\xc3", .reason = "NOT_FOUND", .hint = "", .at = "1:2"};
    static const char want[] = "\x08\5\x12\6no caf"
                               "\x1aK\n(type.googleapis.com/google.rpc.ErrorInfo"
                               "\x12\x1f\n\tNOT_FOUND\x12\7trimtab\x1a\t\n\2at\x12\3"
                               "1:2";
    struct buf out = BUF_NULL(1000);

    CHECK_I64(grpc_status_put(&out, &story), 0);
    CHECK_STR(buf_str(&out), str_of(want, sizeof(want) - 1));
    buf_deinit(&out);
    ALLOC_SWEEP (n) {
        int r = grpc_status_put(&out, &story);

        CHECK(r == ERR_NOMEM || (r == 0 && out.len == sizeof(want) - 1));
        buf_deinit(&out);
    }
}

TEST("time-outs and binary headers are written as gRPC has them")
{
    nsec_t nsec = 0;
    char text[GRPC_TIMEOUT_MAX];
    struct buf out = BUF_NULL(100);

    CHECK(grpc_timeout_get(STR("150m"), &nsec) && nsec == 150 * NSEC_PER_MS);
    CHECK(grpc_timeout_get(STR("2H"), &nsec) && nsec == 7200 * NSEC_PER_S);
    CHECK(!grpc_timeout_get(STR("123456789m"), &nsec));
    CHECK(!grpc_timeout_get(STR("5x"), &nsec));
    CHECK(!grpc_timeout_get(STR("m"), &nsec));
    grpc_timeout_put(250, text);
    CHECK_STR(str_c(text), STR("250m"));
    grpc_timeout_put(100000001, text);
    CHECK_STR(str_c(text), STR("100001S"));
    grpc_base64_put(&out, STR("\xff\xfe\xfd\0"));
    CHECK_STR(buf_str(&out), STR("//79AA"));
    buf_deinit(&out);
}

/* ---- pages ---- */

TEST("blocks of pages do not overlap, are known as such, and come back whole after use")
{
    enum { N = 500 };
    static char *blocks[N];
    char other[64];
    struct rng rng = {5};

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++) {
            blocks[i] = pages_alloc();
            REQUIRE(blocks[i] != NULL && pages_own(blocks[i]));
            memset(blocks[i], (int)(i % 251), PAGES_BLOCK);
        }
        for (size_t i = 0; i < N; i++)
            CHECK(blocks[i][0] == (char)(i % 251) &&
                  blocks[i][PAGES_BLOCK - 1] == (char)(i % 251));
        for (size_t i = N; i > 0; i--) { /* in any order */
            size_t k = rng_below(&rng, i);

            CHECK(pages_free(blocks[k]));
            blocks[k] = blocks[i - 1];
        }
    }
    CHECK(!pages_own(NULL) && !pages_own(other) && !pages_free(other));
}

static void burn_post(struct post *p, void *ctx)
{
    (void)p;
    burn(*(nsec_t *)ctx);
}

static void burn_deferred(struct defer *d, void *ctx)
{
    (void)d;
    burn(*(nsec_t *)ctx);
}

TEST("posts get as much of a turn as all else had in the last one, up to a bound")
{
    static nsec_t others_ns[] = {7 * NSEC_PER_MS, 100 * NSEC_PER_MS};
    static const unsigned n_posts[] = {2, 2}; /* of 5 ms each */

    for (size_t i = 0; i < ARRAY_LEN(others_ns); i++) {
        struct loop loop;
        struct slow slow[8];
        struct defer others = {.fn = burn_deferred, .ctx = &others_ns[i]};
        unsigned n_run = 0;

        REQUIRE(loop_open(&loop, NULL) == 0);
        loop_turn(&loop, LOOP_POLL);
        loop_defer(&loop,
                   &others); /* runs at the end of the turn, before posts are looked for */
        for (unsigned k = 0; k < ARRAY_LEN(slow); k++) {
            slow[k] = (struct slow){{.fn = run_slowly}, &n_run};
            loop_post(&loop, &slow[k].post);
        }
        loop_turn(&loop, LOOP_POLL);
        CHECK_U64(n_run, n_posts[i]);
        loop_close(&loop);
        CHECK_U64(n_run, ARRAY_LEN(slow));
    }
}

struct again {
    struct loop *loop;
    struct defer defer;
    unsigned n_run;
};

static void burn_again(struct defer *d, void *ctx)
{
    struct again *a = ctx;

    burn(3 * NSEC_PER_MS);
    a->n_run++;
    if (a->n_run < 1000)
        loop_defer(a->loop, d);
}

TEST("work that keeps deferring itself and takes long leaves the rest to the next turn")
{
    struct loop loop;
    struct again a = {.loop = &loop, .defer = {.fn = burn_again, .ctx = &a}};

    REQUIRE(loop_open(&loop, NULL) == 0);
    loop_defer(&loop, &a.defer);
    for (unsigned turn = 1; turn <= 3; turn++) {
        loop_turn(&loop, LOOP_POLL);
        CHECK_U64(a.n_run,
                  turn * 4); /* before and after sockets are looked at, two rounds each */
    }
    defer_cancel(&a.defer);
    loop_close(&loop);
}

TEST("turns are counted by what they took of the processor")
{
    struct loop loop;
    nsec_t short_ns = 6 * NSEC_PER_MS, long_ns = 21 * NSEC_PER_MS;
    struct post one = {.fn = burn_post, .ctx = &short_ns},
                other = {.fn = burn_post, .ctx = &long_ns};

    REQUIRE(loop_open(&loop, NULL) == 0);
    loop_turn(&loop, LOOP_POLL); /* the first, whose beginning is not known */
    for (int i = 0; i < 2; i++) {
        loop_post(&loop, i ? &other : &one);
        loop_turn(&loop, LOOP_WAIT);
        loop_turn(&loop, LOOP_POLL); /* in which the one before is counted */
    }
    CHECK(loop.turns.n[2] + loop.turns.n[3] + loop.turns.n[4] + loop.turns.n[5] >= 2);
    CHECK(loop.turns.n[3] + loop.turns.n[4] + loop.turns.n[5] >= 1);
    CHECK(loop.turns.longest >= long_ns);
    CHECK(loop.turns.sum >= short_ns + long_ns);
    loop_close(&loop);
}

/*
 * A server and any subscriber: a sequence of frames into a session of the feed, between changes of the state. Each frame is
 * two bytes of length, least significant first, and a ClientFrame; a length of 0 publishes a change and lets time pass.
 * The session answers or ends the stream; what is pulled is always a whole frame that unpacks.
 */
#include "feed/feed.h"

#include "proto/convert.h"

enum { NAMES = 3 };

struct world {
    struct state *state;
    struct feed *feed;
    struct feed_session *session;
    nsec_t now;
    uint64_t ready;
};

static void on_ready(void *ctx)
{
    ((struct world *)ctx)->ready++;
}

/* Versions of the last name refer to the one before now and then, be it there or not. */
static struct version *make(uint64_t revision)
{
    static const char *const keys[NAMES] = {"a\0item\0x", "b\0item\0x", "a\0file\0y"};
    static struct {
        size_t n;
        struct str at[1];
    } refs = {1, {{"b\0item\0x", 8}}};
    bool deleted = revision % 5 == 4;
    struct version *v = version_with_wire(&(struct version_opts){
        .key = str_of(keys[revision % NAMES], 8),
        .content_type = STR("text/plain"),
        .references = !deleted && revision % NAMES == 2 && revision % 4 ? (void *)&refs : NULL,
        .content = str_part(STR("some content of this length"), 0, deleted ? 0 : revision % 20),
        .deleted = deleted,
        .number = revision,
        .revision = revision,
        .time_ms = 1,
    });

    ASSERT(v);
    return v;
}

static void publish(struct world *w)
{
    struct version *v = make(w->state->revision + 1);
    struct state *next = state_apply(w->state, &(struct effect){.versions = &v, .n_versions = 1}, v->revision);

    ASSERT(next);
    feed_publish(w->feed, next, &v, 1);
    (void)state_unref(w->state);
    w->state = next;
    (void)version_unref(v);
    w->now += NSEC_PER_S;
    (void)feed_tick(w->feed, w->now);
}

static void check_frame(const struct feed_frame *frame)
{
    static char bytes[1 << 20];
    Trimtab__V1__ServerFrame *message;
    size_t n = 0, skip = frame->is_framed ? 5 : 0;

    for (size_t i = 0; i < frame->n; i++) {
        struct str s = frame->segments[i].bytes;

        ASSERT(n + s.len <= sizeof(bytes));
        memcpy(bytes + n, s.data, s.len);
        n += s.len;
    }
    ASSERT(n >= skip);
    message = trimtab__v1__server_frame__unpack(&proto_allocator, n - skip, (uint8_t *)bytes + skip);
    ASSERT(message);
    trimtab__v1__server_frame__free_unpacked(message, &proto_allocator);
}

static void pull(struct world *w)
{
    int r = FEED_FRAME;

    for (int i = 0; i < 100 && r == FEED_FRAME; i++) {
        struct feed_frame frame;

        r = feed_session_pull(w->session, w->now, &frame);
        ASSERT(r == FEED_FRAME || r == FEED_NOTHING);
        if (r == FEED_FRAME) {
            check_frame(&frame);
            feed_frame_deinit(&frame);
        }
    }
    ASSERT(r == FEED_NOTHING); /* one batch and its company, never without end */
}

static void begin_session(struct world *w)
{
    w->session = feed_session_new(w->feed, FEED_CLIENT_ANSWERS, w);
    ASSERT(w->session);
}

static void take_frame(struct world *w, struct str bytes)
{
    struct err err = ERR_NULL;
    Trimtab__V1__ClientFrame *frame =
        trimtab__v1__client_frame__unpack(&proto_allocator, bytes.len, (const uint8_t *)bytes.data);
    int r = frame ? feed_session_frame(w->session, frame, w->now, &err) : ERR_INVALID;

    ASSERT(r <= 0 && (!frame || !r || err.code == r));
    if (frame)
        trimtab__v1__client_frame__free_unpacked(frame, &proto_allocator);
    if (r) { /* the stream ends; another one comes */
        w->session = feed_session_free(w->session);
        begin_session(w);
    } else {
        pull(w);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed_opts opts = {.store_id = "0123456789abcde", .bookmark_every = NSEC_PER_S, .ready = on_ready};
    struct world w = {.state = state_new(), .now = NSEC_PER_S};
    struct str input = str_of(data, size);

    w.feed = feed_new(&opts, w.state);
    ASSERT(w.feed);
    begin_session(&w);
    for (int i = 0; i < 7; i++)
        publish(&w);
    while (input.len >= 2) {
        size_t len = (size_t)(unsigned char)input.data[0] | (size_t)(unsigned char)input.data[1] << 8;

        if (len) {
            take_frame(&w, str_part(input, 2, 2 + len));
        } else {
            publish(&w);
            pull(&w);
        }
        input = str_from(input, 2 + len);
    }
    w.session = feed_session_free(w.session);
    w.feed = feed_free(w.feed);
    w.state = state_unref(w.state);
    return 0;
}

/*
 * Streams of server-sent events. See sse.h.
 */
#include "server/edge/sse.h"

enum {
    ALIVE_MS = 15000, /* less than proxies and readers wait: mostly 30 or 60 s */
    RETRY_MS = 1000,
};

static void put_text(struct sse *s, const char *text)
{
    struct segment segment = segment_copy(str_c(text));

    sse_put(s, &segment);
}

static void on_alive(struct timer *t, void *ctx)
{
    struct sse *s = ctx;

    (void)t;
    if (!exchange_queued(s->x)) /* else it is seen to live, or nobody reads */
        put_text(s, ": alive\n\n");
}

void sse_begin(struct sse *s, struct rest *r)
{
    static const struct http_header headers[] = {
        {STR("content-type"), STR("text/event-stream")},
        {STR("cache-control"), STR("no-cache")},
        {STR("x-accel-buffering"), STR("no")}}; /* nginx knows it */
    char retry[32];

    *s = (struct sse){.x = r->x};
    s->alive = (struct timer){.fn = on_alive, .ctx = s};
    (void)exchange_begin(r->x, 200, headers, ARRAY_LEN(headers)); /* on_close tells */
    if (str_eq(exchange_method(r->x), STR("HEAD"))) {
        sse_end(s, NULL);
        return;
    }
    (void)snprintf(retry, sizeof(retry), "retry: %d\n\n", RETRY_MS);
    put_text(s, retry);
    timer_start(&s->alive, r->front->lane->loop, ALIVE_MS, ALIVE_MS);
}

void sse_put(struct sse *s, const struct segment *events)
{
    if (!s->is_ended)
        (void)exchange_write(s->x, events, 1);
}

void sse_end(struct sse *s, const char *reason)
{
    char text[160];

    if (s->is_ended)
        return;
    if (reason) {
        (void)snprintf(text, sizeof(text), ": %.140s\n\n", reason);
        put_text(s, text);
    }
    s->is_ended = true;
    (void)exchange_finish(s->x, NULL, 0);
}

void sse_closed(struct sse *s)
{
    timer_stop(&s->alive);
}

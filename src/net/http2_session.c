/*
 * What both ends of HTTP/2 share. See http2_session.h.
 */
#include "net/http2_session.h"

#include "base/alloc.h"
#include "net/pages.h"

static void *get(size_t size, void *ctx)
{
    (void)ctx;
    return mem_alloc(size);
}

static void drop(void *p, void *ctx)
{
    (void)ctx;
    if (!pages_free(p))
        (void)mem_free(p);
}

static void *get_zeroed(size_t n, size_t size, void *ctx)
{
    (void)ctx;
    return mem_alloc_array(n, size); /* which clears */
}

/* The frame buffer of a session, and nothing else, is of this size; it is asked for by resizing nothing. */
static bool is_frame_buffer(size_t size)
{
    return size > FRAME_BYTES && size <= PAGES_BLOCK;
}

static void *resize(void *p, size_t size, void *ctx)
{
    void *grown;

    (void)ctx;
    if (!p && is_frame_buffer(size))
        return pages_alloc();
    if (!p || !pages_own(p))
        return mem_realloc_array(p, size, 1);
    if (size <= PAGES_BLOCK)
        return p;
    grown = mem_alloc(size);
    if (grown) {
        memcpy(grown, p, PAGES_BLOCK);
        (void)pages_free(p); /* it is one */
    }
    return grown;
}

nghttp2_mem *http2_memory(void)
{
    static nghttp2_mem memory = {NULL, get, drop, get_zeroed, resize};

    return &memory;
}

ssize_t http2_gather_frame(struct gather *g, const uint8_t *bytes, size_t len)
{
    size_t n = MIN(len, (size_t)FRAME_BYTES);

    if (!gather_has_room(g))
        return NGHTTP2_ERR_WOULDBLOCK;
    gather_copy(g, bytes, n);
    return (ssize_t)n;
}

int http2_announce(nghttp2_session *session, const struct http2_windows *w)
{
    nghttp2_settings_entry settings[5];
    size_t n = 0;
    int r;

    settings[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, w->stream};
    settings[n++] =
        (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, w->header_list};
    if (w->max_streams)
        settings[n++] =
            (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, w->max_streams};
    else
        settings[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    if (w->max_frame > FRAME_BYTES)
        settings[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_FRAME_SIZE, w->max_frame};
    r = nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, n);
    if (!r)
        r = nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                                  (int32_t)w->connection);
    return r ? http2_err(r) : 0;
}

nghttp2_nv http2_nv(struct str name, struct str value)
{
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name.data}, v = {.in = value.data ? value.data : ""};

    return (nghttp2_nv){n.out, v.out, name.len, value.len, NGHTTP2_NV_FLAG_NONE};
}

int http2_err(ssize_t nghttp2_error)
{
    return nghttp2_error == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : ERR_INVALID;
}

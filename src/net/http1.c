/*
 * The HTTP/1.1 engine: bodies, and the order of things. See http1.h.
 */
#include "net/http1.h"

#include "base/alloc.h"
#include "net/http1_head.h"

/* Chunk extensions and trailers between two pieces of body: what an honest client never needs. */
enum { OVERHEAD_MAX = 16 * 1024 };

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct http1 *h = parser->data;

    h->body_end = at + len;
    if (len)
        h->on_data(h->ctx, str_of(at, len));
    return 0;
}

static int on_complete(llhttp_t *parser)
{
    struct http1 *h = parser->data;

    h->is_complete = true;
    return HPE_PAUSED; /* one message at a time */
}

static const llhttp_settings_t *settings(void)
{
    static const llhttp_settings_t s = {.on_body = on_body, .on_message_complete = on_complete};

    return &s;
}

void http1_head_deinit(struct http1_head *head)
{
    (void)mem_free(head->block);
    VEC_DEINIT(&head->headers);
    *head = HTTP1_HEAD_NULL;
}

void http1_init(struct http1 *h, const struct http1_limits *limits,
                void (*on_data)(void *, struct str), void *ctx)
{
    *h = (struct http1){.limits = *limits, .on_data = on_data, .ctx = ctx};
    h->block = BUF_NULL((size_t)limits->request_line + limits->header_list + 8);
    http1_next(h);
}

void http1_deinit(struct http1 *h)
{
    buf_deinit(&h->block);
    http1_head_deinit(&h->head);
}

void http1_next(struct http1 *h)
{
    union {
        const llhttp_settings_t *in;
        llhttp_settings_t *out;
    } cast = {.in = settings()};

    llhttp_init(&h->parser, HTTP_REQUEST, cast.out); /* reads them only */
    h->parser.data = h;
    h->state = HTTP1_IN_HEAD;
    buf_clear(&h->block);
    http1_head_deinit(&h->head);
    h->scanned = h->line = h->n_lines = h->headers_at = h->overhead = 0;
    h->is_complete = false;
    h->chunks = (struct chunk_scan){.at = CHUNK_SIZE};
}

struct http1_head http1_take_head(struct http1 *h)
{
    struct http1_head head = h->head;

    h->head = HTTP1_HEAD_NULL;
    return head;
}

/* Bytes that were not body since the last byte that was. */
static bool has_too_much_overhead(struct http1 *h, struct str input)
{
    if (h->body_end)
        h->overhead = (size_t)(input.data + input.len - h->body_end);
    else
        h->overhead += input.len;
    return h->overhead > OVERHEAD_MAX;
}

/* ---- chunks ---- */

static uint64_t hex_value(char c) /* what is none the parser refuses */
{
    return (uint64_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10) & 15;
}

/* One byte of the framing. False: an extension begins here. */
static bool scan_framing(struct chunk_scan *c, char byte)
{
    switch (c->at) {
    case CHUNK_SIZE:
        if (byte == ';' || byte == ' ' || byte == '\t') {
            c->at = CHUNK_EXTENSION;
            return false;
        }
        if (byte == '\r')
            c->at = CHUNK_SIZE_END;
        else
            c->left = c->left * 16 + hex_value(byte);
        return true;
    case CHUNK_SIZE_END: c->at = c->left ? CHUNK_DATA : CHUNK_TRAILERS; return true;
    case CHUNK_DATA_END:
        if (++c->line_bytes == 2)
            *c = (struct chunk_scan){.at = CHUNK_SIZE};
        return true;
    case CHUNK_EXTENSION:
    case CHUNK_DATA:
    case CHUNK_TRAILERS: break;
    }
    return false;
}

/* How many bytes the parser is to see now: all up to an extension. */
static size_t scan_chunks(struct chunk_scan *c, struct str input)
{
    size_t n = 0;

    while (n < input.len && c->at != CHUNK_TRAILERS) {
        if (c->at == CHUNK_DATA) {
            size_t piece = (size_t)MIN(c->left, (uint64_t)(input.len - n));

            n += piece;
            c->left -= piece;
            if (!c->left)
                c->at = CHUNK_DATA_END;
        } else if (scan_framing(c, input.data[n])) {
            n++;
        } else {
            return n;
        }
    }
    return c->at == CHUNK_TRAILERS ? input.len : n;
}

/* Leaves out what there is of an extension. False: it has a byte that no header may have either. */
static bool skip_extension(struct http1 *h, struct str *input)
{
    struct str part = str_part(*input, 0, str_index(*input, '\r'));

    if (!http_is_value(part))
        return false;
    h->overhead += part.len;
    *input = str_from(*input, part.len);
    if (input->len)
        h->chunks.at = CHUNK_SIZE; /* its line end follows */
    return h->overhead <= OVERHEAD_MAX;
}

static int refuse_chunks(struct http1 *h)
{
    h->state = HTTP1_BROKEN;
    h->refusal = (struct http1_refusal){400, "INVALID", "the body's chunks are malformed"};
    return HTTP1_REFUSED;
}

/* One run of bytes between two extensions. */
static int feed_run(struct http1 *h, struct str *input)
{
    bool is_chunked = h->parser.flags & F_CHUNKED;
    llhttp_errno_t why;
    struct str run;

    if (is_chunked && h->chunks.at == CHUNK_EXTENSION)
        return skip_extension(h, input) ? HTTP1_NEED_MORE : refuse_chunks(h);
    run = str_part(*input, 0, is_chunked ? scan_chunks(&h->chunks, *input) : input->len);
    if (!run.len)
        return HTTP1_NEED_MORE;
    h->body_end = NULL;
    why = llhttp_execute(&h->parser, run.data, run.len);
    if (h->is_complete) {
        size_t used = (size_t)(llhttp_get_error_pos(&h->parser) - run.data);

        *input = str_from(*input, used);
        h->state = HTTP1_AT_END;
        return HTTP1_END;
    }
    if (why != HPE_OK || has_too_much_overhead(h, run))
        return refuse_chunks(h);
    *input = str_from(*input, run.len);
    return HTTP1_NEED_MORE;
}

static int feed_body(struct http1 *h, struct str *input)
{
    int r = HTTP1_NEED_MORE;

    if (h->is_complete) {
        h->state = HTTP1_AT_END;
        return HTTP1_END;
    }
    while (r == HTTP1_NEED_MORE && input->len)
        r = feed_run(h, input);
    return r;
}

int http1_feed(struct http1 *h, struct str *input)
{
    int r;

    switch (h->state) {
    case HTTP1_IN_HEAD:
        r = http1_collect_head(h, input);
        if (r == HTTP1_HEAD) {
            h->state = HTTP1_IN_BODY;
            h->overhead = 0;
        }
        return r;
    case HTTP1_IN_BODY: return feed_body(h, input);
    case HTTP1_AT_END: return HTTP1_END;
    case HTTP1_BROKEN: return HTTP1_REFUSED;
    }
    return ERR_BUG;
}

/* ---- answers ---- */

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } table[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {423, "Locked"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].status == status)
            return table[i].reason;
    return "Unknown";
}

void http1_put_head(struct buf *out, int status, const struct http_header *headers, size_t n,
                    struct str extra)
{
    buf_printf(out, "HTTP/1.1 %d %s\r\n", status, http_reason(status));
    for (size_t i = 0; i < n; i++) {
        buf_put_str(out, headers[i].name);
        buf_put(out, ": ", 2);
        buf_put_str(out, headers[i].value);
        buf_put(out, "\r\n", 2);
    }
    buf_put_str(out, extra);
    buf_put(out, "\r\n", 2);
}

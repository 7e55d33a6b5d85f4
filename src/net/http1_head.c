/*
 * The head of an HTTP/1.1 request: line by line, with every check that needs whole lines. See http1.h.
 */
#include "net/http1_head.h"

#include "base/alloc.h"

static int refuse(struct http1 *h, int status, const char *code, const char *message)
{
    h->state = HTTP1_BROKEN;
    h->refusal = (struct http1_refusal){status, code, message};
    return HTTP1_REFUSED;
}

static int bad(struct http1 *h, const char *message)
{
    return refuse(h, 400, "INVALID", message);
}

bool http_is_token(struct str s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr(others, c))))
            return false;
    }
    return s.len > 0;
}

bool http_is_value(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.data[i] < ' ' && s.data[i] != '\t') || s.data[i] == 0x7f)
            return false;
    return true;
}

/* ---- the request line ---- */

static int check_version(struct http1 *h, struct str version)
{
    if (str_eq(version, STR("HTTP/1.1")))
        h->head.version = 11;
    else if (str_eq(version, STR("HTTP/1.0")))
        h->head.version = 10;
    else if (str_starts(version, STR("HTTP/")))
        return refuse(h, 505, "UNSUPPORTED",
                      "this server speaks HTTP/1.0, HTTP/1.1 and HTTP/2");
    else
        return bad(h, "the request line does not end in an HTTP version");
    return 0;
}

/* origin-form, absolute-form, or "*" for OPTIONS (RFC 9112 3.2). */
static int split_target(struct http1 *h, struct str target)
{
    struct http1_head *head = &h->head;
    size_t mark;

    for (size_t i = 0; i < target.len; i++)
        if ((unsigned char)target.data[i] <= ' ' || (unsigned char)target.data[i] >= 0x7f ||
            target.data[i] == '#')
            return bad(h, "the request target has a byte that must be percent-encoded");
    if (str_starts(target, STR("http://")) || str_starts(target, STR("https://"))) {
        target = str_from(target, str_index(target, '/') + 2);
        mark = MIN(str_index(target, '/'), str_index(target, '?'));
        head->authority = str_part(target, 0, mark);
        target = str_from(target, mark);
        if (!head->authority.len)
            return bad(h, "the request target names no host");
    } else if (!str_starts(target, STR("/")) &&
               !(str_eq(target, STR("*")) && str_eq(head->method, STR("OPTIONS")))) {
        return bad(h, "the request target must be a path");
    }
    mark = str_index(target, '?');
    head->path = mark ? str_part(target, 0, mark) : STR("/");
    head->query = str_from(target, mark + 1);
    return 0;
}

static int read_request_line(struct http1 *h, struct str line)
{
    size_t first = str_index(line, ' ');
    struct str rest = str_from(line, first + 1);
    size_t second = str_index(rest, ' ');
    int r;

    h->head.method = str_part(line, 0, first);
    if (!http_is_token(h->head.method) || second >= rest.len || !second)
        return bad(h, "the request line is not \"METHOD target HTTP/1.1\"");
    r = check_version(h, str_from(rest, second + 1));
    if (r)
        return r;
    if (str_eq(h->head.method, STR("CONNECT")))
        return refuse(h, 501, "UNSUPPORTED", "this server is not a proxy");
    return split_target(h, str_part(rest, 0, second));
}

/* ---- header lines ---- */

/* at: where the line begins, as the name is brought into lower case in place. */
static int read_header_line(struct http1 *h, char *at, struct str line)
{
    struct str name = str_part(line, 0, str_index(line, ':'));
    struct str value = str_trim(str_from(line, name.len + 1));

    if (line.data[0] == ' ' || line.data[0] == '\t')
        return bad(h, "a folded header line");
    if (name.len == line.len)
        return bad(h, "a header line without a colon");
    if (!http_is_token(name))
        return bad(h, "a header name with a space or another byte that is not allowed");
    if (!http_is_value(value))
        return bad(h, "a header value with a control byte");
    if (h->head.headers.n >= h->limits.header_count)
        return refuse(h, 431, "LIMIT", "too many headers");
    for (size_t i = 0; i < name.len; i++)
        if (at[i] >= 'A' && at[i] <= 'Z')
            at[i] = (char)(at[i] + ('a' - 'A'));
    return VEC_PUSH(&h->head.headers, (struct http_header){name, value}) ? 0 : ERR_NOMEM;
}

static bool is_host(struct str value)
{
    static const char allowed[] = "-._~%!$&'()*+;=:[]";

    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr(allowed, c))))
            return false;
    }
    return true;
}

static int check_host(struct http1 *h, struct http_header *header, size_t *n_hosts)
{
    if (++*n_hosts > 1)
        return bad(h, "more than one Host");
    if (!is_host(header->value))
        return bad(h, "Host is not a host name");
    /* RFC 9112 3.2.2: an absolute target replaces it. */
    if (!h->head.authority.data)
        h->head.authority = header->value;
    return 0;
}

static int check_header(struct http1 *h, struct http_header *header, size_t *n_hosts)
{
    if (str_eq(header->name, STR("host")))
        return check_host(h, header, n_hosts);
    if (str_eq(header->name, STR("transfer-encoding"))) {
        if (h->head.version == 10)
            return bad(h, "Transfer-Encoding in an HTTP/1.0 request");
        if (!str_eq_nocase(header->value, STR("chunked")))
            return refuse(h, 501, "UNSUPPORTED", "the only transfer coding is chunked");
    }
    if (str_eq(header->name, STR("expect"))) {
        if (!str_eq_nocase(header->value, STR("100-continue")))
            return refuse(h, 417, "UNSUPPORTED", "the only expectation is 100-continue");
        h->head.expects_continue = h->head.version == 11;
    }
    return 0;
}

static int read_lines(struct http1 *h, struct str block)
{
    size_t at = str_index(block, '\r');
    int r = read_request_line(h, str_part(block, 0, at));

    for (at += 2; !r && block.data[at] != '\r';) {
        struct str line = str_from(block, at);

        line = str_part(line, 0, str_index(line, '\r'));
        r = read_header_line(h, h->head.block + at, line);
        at += line.len + 2;
    }
    return r;
}

/* llhttp's reasons, for what is wrong with the framing. */
static int refuse_framing(struct http1 *h, llhttp_errno_t why)
{
    if (why == HPE_INVALID_CONTENT_LENGTH || why == HPE_UNEXPECTED_CONTENT_LENGTH)
        return bad(h, "Content-Length is malformed, repeated, or beside Transfer-Encoding");
    if (why == HPE_INVALID_TRANSFER_ENCODING)
        return bad(h, "Transfer-Encoding is malformed, or beside Content-Length");
    return bad(h, "the head of the request is malformed");
}

static int check_headers(struct http1 *h)
{
    size_t n_hosts = 0;
    int r = 0;

    for (size_t i = 0; !r && i < h->head.headers.n; i++)
        r = check_header(h, &h->head.headers.at[i], &n_hosts);
    if (!r && h->head.version == 11 && !n_hosts)
        r = bad(h, "an HTTP/1.1 request without Host");
    return r;
}

int http1_read_head(struct http1 *h)
{
    struct http1_head *head = &h->head;
    struct str block;
    llhttp_errno_t why;
    int r;

    /* The block moves to its last place first: all slices point into it. */
    head->block = buf_take(&h->block, &block.len);
    if (!head->block)
        return ERR_NOMEM;
    block.data = head->block;
    r = read_lines(h, block);
    if (!r)
        r = check_headers(h);
    if (r)
        return r;
    /* It reads the framing only, which is the same for all methods; which of them there are is for the routes. */
    why = llhttp_execute(&h->parser, "POST", 4);
    if (why == HPE_OK)
        why = llhttp_execute(&h->parser, block.data + head->method.len,
                             block.len - head->method.len);
    if (why != HPE_OK && why != HPE_PAUSED && why != HPE_PAUSED_UPGRADE)
        return refuse_framing(h, why);
    if (why == HPE_PAUSED_UPGRADE)
        h->is_complete = true; /* an upgrade we do not know is an ordinary request */
    head->is_chunked = (h->parser.flags & F_CHUNKED) != 0;
    head->content_length = head->is_chunked ? 0 : h->parser.content_length;
    head->keep_alive = llhttp_should_keep_alive(&h->parser) != 0;
    return HTTP1_HEAD;
}

/* ---- collecting ---- */

static int limit_reached(struct http1 *h)
{
    if (h->n_lines == 0)
        return refuse(h, 414, "LIMIT", "the request line is too long");
    return refuse(h, 431, "LIMIT", "the headers are too long");
}

/* Looks at the line that ends at i (a line feed). 1: it was the empty one, the head is complete. */
static int end_line(struct http1 *h, size_t i)
{
    size_t len = i - h->line;

    if (len == 0 || h->block.data[i - 1] != '\r')
        return bad(h, "a line that does not end in CR LF");
    if (len == 1)
        return HTTP1_HEAD;
    if (h->n_lines++ == 0)
        h->headers_at = i + 1;
    h->line = i + 1;
    return 0;
}

static int check_byte(struct http1 *h, size_t i)
{
    unsigned char c = (unsigned char)h->block.data[i];

    if (i > h->line && h->block.data[i - 1] == '\r' && c != '\n')
        return bad(h, "a CR that is not part of a line end");
    if (c == '\n')
        return end_line(h, i);
    if (c == 0)
        return bad(h, "a NUL byte in the head of the request");
    /* The first byte tells other protocols (TLS, say) apart before they wait for an answer. */
    if (i == 0 && !http_is_token(str_of(&h->block.data[0], 1)))
        return bad(h, "this is not an HTTP request");
    if (h->n_lines == 0 ? i >= h->limits.request_line
                        : i - h->headers_at >= h->limits.header_list)
        return limit_reached(h);
    return 0;
}

/* RFC 9112 2.2: an empty line in front of a request is ignored; of them we take as many as a line may have bytes. */
static struct str skip_empty_lines(struct http1 *h, struct str input)
{
    while (h->block.len == 0 && h->overhead < h->limits.request_line && input.len &&
           (input.data[0] == '\r' || input.data[0] == '\n')) {
        input = str_from(input, 1);
        h->overhead++;
    }
    return input;
}

int http1_collect_head(struct http1 *h, struct str *input)
{
    size_t before, max = (size_t)h->limits.request_line + h->limits.header_list + 4;

    *input = skip_empty_lines(h, *input);
    before = h->block.len;
    buf_put(&h->block, input->data, MIN(input->len, max - MIN(max, before)));
    if (buf_status(&h->block))
        return ERR_NOMEM;
    for (; h->scanned < h->block.len; h->scanned++) {
        int r = check_byte(h, h->scanned);

        if (r == HTTP1_HEAD) {
            h->scanned++;
            *input = str_from(*input, h->scanned - before);
            h->block.len = h->scanned;
            return http1_read_head(h);
        }
        if (r)
            return r;
    }
    if (h->block.len >= max)
        return limit_reached(h);
    *input = str_from(*input, input->len);
    return HTTP1_NEED_MORE;
}

/*
 * The HTTP/1.1 engine on any bytes in any cut. The first byte seeds the cutting. Beside not failing, it must keep its
 * word: input is taken or refused, heads are good, the same bytes in one piece give the same events.
 */
#include "net/http1.h"
#include "net/http1_head.h"

#include "base/clock.h"

struct seen {
    size_t heads, ends, body;
    int last, status;
};

static void on_data(void *ctx, struct str bytes)
{
    ((struct seen *)ctx)->body += bytes.len;
}

static void check_head(struct http1 *h)
{
    struct http1_head head = http1_take_head(h);

    ASSERT(http_is_token(head.method));
    ASSERT(head.path.len && (head.path.data[0] == '/' || str_eq(head.path, STR("*"))));
    ASSERT(head.headers.n <= h->limits.header_count);
    for (size_t i = 0; i < head.headers.n; i++)
        ASSERT(http_is_token(head.headers.at[i].name) &&
               http_is_value(head.headers.at[i].value));
    ASSERT(!(head.is_chunked && head.content_length));
    http1_head_deinit(&head);
}

/* One event; false when nothing more comes of this piece. */
static bool step(struct http1 *h, struct str *piece, struct seen *seen)
{
    seen->last = http1_feed(h, piece);
    switch (seen->last) {
    case HTTP1_HEAD:
        seen->heads++;
        check_head(h);
        return true;
    case HTTP1_END:
        seen->ends++;
        http1_next(h);
        return piece->len > 0;
    case HTTP1_REFUSED:
        ASSERT(h->refusal.status >= 400 && h->refusal.status < 600);
        seen->status = h->refusal.status;
        return false;
    default: ASSERT(piece->len == 0); return false;
    }
}

static struct seen run(struct str input, uint64_t seed)
{
    static const struct http1_limits limits = {512, 1024, 20};
    struct seen seen = {0};
    struct rng rng = {seed};
    struct http1 h;

    http1_init(&h, &limits, on_data, &seen);
    while (input.len && !seen.status) {
        size_t n = seed ? 1 + rng_below(&rng, 40) : input.len;
        struct str piece = str_part(input, 0, n);

        input = str_from(input, piece.len);
        while (step(&h, &piece, &seen))
            ;
    }
    http1_deinit(&h);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen cut, whole;
    struct str input;

    if (!size)
        return 0;
    input = str_of(data + 1, size - 1);
    cut = run(input, (uint64_t)data[0] + 1);
    whole = run(input, 0);
    ASSERT(cut.heads == whole.heads);
    ASSERT(cut.status == whole.status);
    ASSERT(cut.status || (cut.body == whole.body && cut.ends == whole.ends));
    return 0;
}

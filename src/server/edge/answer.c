/*
 * Answers of REST. See answer.h.
 */
#include "server/edge/answer.h"

#include "net/gzip.h"
#include "server/edge/coding.h"

bool answer_is_known(const struct rest *r, struct str etag)
{
    struct str method = exchange_method(r->x), none = exchange_header(r->x, "if-none-match");

    return etag.len && none.data &&
           (str_eq(method, STR("GET")) || str_eq(method, STR("HEAD"))) &&
           etags_match(none, etag);
}

static bool wants_gzip(const struct exchange *x)
{
    struct coding_wish wish = CODING_WISH_NONE;

    for (size_t i = 0; i < exchange_header_count(x); i++) {
        struct http_header h = exchange_header_at(x, i);

        if (str_eq(h.name, STR("accept-encoding")))
            coding_read(&wish, h.value);
    }
    return coding_wants_gzip(&wish);
}

/* ---- sending ---- */

/* Whether the bytes depend on what the client takes, and which it gets. */
enum form { FORM_ONLY, FORM_PLAIN, FORM_GZIP };

/* What differs by its coding is not the same byte for byte, so its tag is weak. */
static struct http_header tag_of(struct str etag, enum form form, char weak[ETAG_MAX + 2])
{
    if (form == FORM_GZIP) {
        (void)snprintf(weak, ETAG_MAX + 2, "W/%.*s", STR_ARG(etag));
        etag = str_c(weak);
    }
    return (struct http_header){STR("etag"), etag};
}

static void send_as(struct rest *r, const struct answer *a, enum form form,
                    const struct segment *body)
{
    struct http_header headers[4 + ANSWER_HEADERS_MAX];
    char weak[ETAG_MAX + 2];
    size_t n = 0;

    ASSERT(a->n_headers <= ANSWER_HEADERS_MAX);
    headers[n++] = (struct http_header){STR("content-type"), a->type};
    if (form != FORM_ONLY)
        headers[n++] = (struct http_header){STR("vary"), STR("accept-encoding")};
    if (form == FORM_GZIP && body)
        headers[n++] = (struct http_header){STR("content-encoding"), STR("gzip")};
    if (a->etag.len)
        headers[n++] = tag_of(a->etag, form, weak);
    for (size_t i = 0; i < a->n_headers; i++)
        headers[n++] = a->headers[i];
    (void)exchange_respond(r->x, body ? a->status : 304, headers, n, body, body ? 1 : 0);
    rest_free(r);
}

static void send_packed(struct rest *r, const struct answer *a, int packed_r,
                        const struct buf *packed)
{
    struct segment body = segment_copy(buf_str(packed));

    if (packed_r) /* no gain, or no memory */
        send_as(r, a, FORM_PLAIN, &a->body);
    else
        send_as(r, a, FORM_GZIP, &body);
}

static void pack_here(struct rest *r, const struct answer *a)
{
    owned(buf) struct buf packed = BUF_NULL(ANSWER_PACK_ON_LOOP);
    int rc = gzip_pack(a->body.bytes, &packed);

    send_packed(r, a, rc, &packed);
}

/* ---- by a worker ---- */

/* On the arena of its request. */
struct packing {
    struct rest *rest;
    struct answer answer; /* with copies of all that it had borrowed */
    struct buf packed;
    int r; /* of gzip_pack */
    struct work work;
};

static void run(struct work *w, void *ctx)
{
    struct packing *p = ctx;

    (void)w;
    p->r = gzip_pack(p->answer.body.bytes, &p->packed);
}

static void done(struct work *w, void *ctx)
{
    struct packing *p = ctx;
    struct shared *text = p->answer.body.owner;
    struct buf packed = p->packed;

    (void)w;
    p->rest->front->packing -= text->len;
    send_packed(p->rest, &p->answer, p->r, &packed); /* p goes with the request */
    buf_deinit(&packed);
    (void)shared_unref(text);
}

/* A packing that has nothing borrowed; NULL: no memory. */
static struct packing *packing_new(struct rest *r, const struct answer *a)
{
    struct packing *p = ARENA_NEW(&r->arena, struct packing);
    struct http_header *headers = ARENA_ARRAY(&r->arena, struct http_header, a->n_headers + 1);
    struct shared *text;

    for (size_t i = 0; headers && i < a->n_headers; i++)
        headers[i] = (struct http_header){arena_str(&r->arena, a->headers[i].name),
                                          arena_str(&r->arena, a->headers[i].value)};
    if (!p || !headers)
        return NULL;
    p->rest = r;
    p->answer = *a;
    p->answer.headers = headers;
    p->answer.type = arena_str(&r->arena, a->type);
    p->answer.etag = arena_str(&r->arena, a->etag);
    if (arena_failed(&r->arena))
        return NULL;
    text = a->body.owner ? shared_ref(a->body.owner) : shared_copy(a->body.bytes);
    if (!text)
        return NULL;
    p->answer.body = (struct segment){text, a->body.owner ? a->body.bytes : shared_str(text)};
    p->packed = BUF_NULL(ANSWER_PACK_MAX);
    p->work = (struct work){.run = run, .done = done, .ctx = p};
    return p;
}

static void pack_elsewhere(struct rest *r, const struct answer *a)
{
    struct packing *p = packing_new(r, a);

    if (!p) {
        send_as(r, a, FORM_PLAIN, &a->body);
        return;
    }
    r->front->packing += p->answer.body.owner->len;
    loop_work(r->front->lane->loop, &p->work);
}

/* Whether workers may have one more of this size: what they have is memory that no limit of connections counts. */
static bool has_room(const struct rest *r, const struct answer *a)
{
    size_t size = a->body.owner ? a->body.owner->len : a->body.bytes.len;

    return size_add(r->front->packing, size) <= ANSWER_PACK_MAX;
}

/* ---- */

void answer_send(struct rest *r, const struct answer *a)
{
    bool is_text = coding_is_text(a->type), is_wanted = is_text && wants_gzip(r->x);
    size_t size = a->body.bytes.len;

    if (a->status == 200 && answer_is_known(r, a->etag))
        send_as(r, a, is_wanted ? FORM_GZIP : is_text ? FORM_PLAIN : FORM_ONLY, NULL);
    else if (!is_text)
        send_as(r, a, FORM_ONLY, &a->body);
    else if (!is_wanted || size < ANSWER_PACK_MIN || !exchange_is_live(r->x))
        send_as(r, a, FORM_PLAIN, &a->body);
    else if (size <= ANSWER_PACK_ON_LOOP)
        pack_here(r, a);
    else if (has_room(r, a))
        pack_elsewhere(r, a);
    else
        send_as(r, a, FORM_PLAIN, &a->body);
}

void answer_text(struct rest *r, int status, const char *type, struct str text)
{
    answer_send(
        r, &(struct answer){.status = status, .type = str_c(type), .body = segment_copy(text)});
}

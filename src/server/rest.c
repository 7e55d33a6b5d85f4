/*
 * The REST front end: routes, parameters, documents. See rest.h.
 */
#include "server/rest.h"

#include "proto/convert.h"
#include "proto/inbound.h"
#include "proto/json.h"
#include "server/api.h"
#include "server/embedded.h"
#include "server/events_stream.h"
#include "server/precondition.h"

enum { PUT_BODY_MAX = CONTENT_BYTES_MAX, DOCUMENT_BODY_MAX = 96 << 20, FRAME_BODY_MAX = 4 << 20, ANSWER_MAX = 256 << 20 };

/* How a route gets at its request message. */
enum body_use {
    BODY_NONE,
    BODY_DOCUMENT, /* of people and their tools: a commit of 64 MiB as JSON */
    BODY_FRAME,    /* of a subscriber, as large as by gRPC */
    BODY_RAW,
};

struct route {
    const char *method;
    const char
        *path; /* ends in "**" when the rest of the path is an id, or a number for `param` */
    const char *api;   /* name of the use case; NULL: run is called itself */
    const char *param; /* field of the request that the rest of the path fills */
    enum body_use body;
    enum right right;  /* of routes without a use case */
    const char *query; /* likewise: the parameters that there are, a blank around each */
    void (*run)(struct rest *r);
};

#define QUERY_COMMIT " message request_id dry_run override based_on "
#define QUERY_VIEW   " namespaces kinds names scope labels instance host "
#define QUERY_CURSOR QUERY_VIEW "revision store_id digest "

static void run_put(struct rest *r);
static void run_delete(struct rest *r);
static void run_contents(struct rest *r);
static void run_health(struct rest *r);
static void run_ready(struct rest *r);
static void run_openapi(struct rest *r);

static const struct route routes[] = {
    {"GET", "/v1/resources", "List", NULL, BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/resources/**", "Get", "id", BODY_NONE, 0, NULL, NULL},
    {"PUT", "/v1/resources/**", NULL, NULL, BODY_RAW, RIGHT_WRITE, QUERY_COMMIT, run_put},
    {"DELETE", "/v1/resources/**", NULL, NULL, BODY_NONE, RIGHT_WRITE, QUERY_COMMIT, run_delete},
    {"GET", "/v1/contents/**", NULL, NULL, BODY_NONE, RIGHT_READ, " version min_revision ", run_contents},
    {"POST", "/v1/commits", "Commit", NULL, BODY_DOCUMENT, 0, NULL, NULL},
    {"GET", "/v1/commits", "Commits", NULL, BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/commits/**", "Commits", "revision", BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/history/**", "History", "id", BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/diff", "Diff", NULL, BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/diff/**", "Diff", "id", BODY_NONE, 0, NULL, NULL},
    {"POST", "/v1/rollback", "Rollback", NULL, BODY_DOCUMENT, 0, NULL, NULL},
    {"POST", "/v1/rollouts", "StartRollout", NULL, BODY_DOCUMENT, 0, NULL, NULL},
    {"GET", "/v1/rollouts", "ListRollouts", NULL, BODY_NONE, 0, NULL, NULL},
    {"POST", "/v1/rollouts/preview", "PreviewRollout", NULL, BODY_DOCUMENT, 0, NULL, NULL},
    {"GET", "/v1/rollouts/**", "GetRollout", "id", BODY_NONE, 0, NULL, NULL},
    {"POST", "/v1/rollouts/**", "MoveRollout", "id", BODY_DOCUMENT, 0, NULL, NULL},
    {"POST", "/v1/orders", "Order", NULL, BODY_DOCUMENT, 0, NULL, NULL},
    {"POST", "/v1/restore/release", "ReleaseRestore", NULL, BODY_DOCUMENT, 0, NULL, NULL},
    {"GET", "/v1/orders", "Orders", NULL, BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/instances", "Instances", NULL, BODY_NONE, 0, NULL, NULL},
    {"DELETE", "/v1/instances/**", "ForgetInstance", "id", BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/running", "Running", NULL, BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/events", NULL, NULL, BODY_NONE, RIGHT_READ, " types prefix rollout ", events_http},
    {"GET", "/v1/status", "Status", NULL, BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/info", "Info", NULL, BODY_NONE, 0, NULL, NULL},
    {"GET", "/v1/subscribe/snapshot", NULL, NULL, BODY_NONE, RIGHT_SUBSCRIBE,
     QUERY_VIEW "min_revision ", subscribe_http_snapshot},
    {"GET", "/v1/subscribe/poll", NULL, NULL, BODY_NONE, RIGHT_SUBSCRIBE, QUERY_CURSOR "wait_ms ", subscribe_http_poll},
    {"POST", "/v1/subscribe/poll", NULL, NULL, BODY_FRAME, RIGHT_SUBSCRIBE,
     " wait_ms ", subscribe_http_poll},
    {"GET", "/v1/subscribe/events", NULL, NULL, BODY_NONE, RIGHT_SUBSCRIBE,
     QUERY_CURSOR, subscribe_http_events},
    {"POST", "/v1/subscribe/ack", NULL, NULL, BODY_FRAME, RIGHT_SUBSCRIBE, " ", subscribe_http_ack},
    {"GET", "/metrics", NULL, NULL, BODY_NONE, RIGHT_OPERATE, " ", metrics_answer},
    {"GET", "/healthz", NULL, NULL, BODY_NONE, RIGHT_NONE, " ", run_health},
    {"GET", "/readyz", NULL, NULL, BODY_NONE, RIGHT_NONE, " ", run_ready},
    {"GET", "/openapi.json", NULL, NULL, BODY_NONE, RIGHT_NONE, " ", run_openapi},
};

/* ---- life ---- */

void rest_free(struct rest *r)
{
    arena_deinit(&r->arena);
    (void)mem_free(r);
}

enum { HEADERS_MAX = 4, METHODS_TEXT_MAX = 64 };

static void list_methods(struct str path, char out[METHODS_TEXT_MAX]);

/* What belongs to a status besides its document (RFC 9110: 15.5.2, 15.5.6, 10.2.3). */
static size_t status_headers(const struct rest *r, int status, char allow[METHODS_TEXT_MAX],
                             struct http_header *headers)
{
    size_t n = 0;

    if (status == 401)
        headers[n++] = (struct http_header){STR("www-authenticate"), STR("Bearer realm=\"trimtab\"")};
    if (status == 405) {
        list_methods(exchange_path(r->x), allow);
        headers[n++] = (struct http_header){STR("allow"), str_c(allow)};
    }
    if (status == 429 || status == 503)
        headers[n++] = (struct http_header){STR("retry-after"), STR("1")};
    if (*r->etag)
        headers[n++] = (struct http_header){STR("etag"), str_c(r->etag)};
    return n;
}

static bool is_known_already(const struct rest *r)
{
    struct str method = exchange_method(r->x), none = exchange_header(r->x, "if-none-match");

    return *r->etag && none.data && (str_eq(method, STR("GET")) || str_eq(method, STR("HEAD"))) &&
           etags_match(none, str_c(r->etag));
}

static void respond(struct rest *r, int status, const ProtobufCMessage *message)
{
    owned(buf) struct buf text = BUF_NULL(ANSWER_MAX);
    struct http_header headers[HEADERS_MAX + 1] = {
        {STR("content-type"), STR("application/json")}};
    char allow[METHODS_TEXT_MAX];
    bool is_known = status == 200 && is_known_already(r);
    int rc = is_known ? 0 : proto_to_json_text(message, PROTO_JSON_FULL, &text);
    struct segment body;
    size_t n;

    buf_put_byte(&text, '\n');
    if (rc || buf_status(&text)) {
        buf_clear(&text);
        buf_put_c(&text, "{\"code\":\"OUT_OF_MEMORY\"}\n");
        status = 503;
    }
    n = 1 + status_headers(r, status, allow, headers + 1);
    body = segment_copy(buf_str(&text));
    (void)exchange_respond(r->x, is_known ? 304 : status, headers, n, &body, is_known ? 0 : 1);
}

void rest_answer(struct rest *r, int status, const ProtobufCMessage *message)
{
    respond(r, status, message);
    rest_free(r);
}

static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c has no const; it is only read */
}

void rest_fail(struct rest *r, const struct err *err)
{
    Trimtab__V1__Error e = TRIMTAB__V1__ERROR__INIT;

    e.code = unconst(err_info(err->code)->name);
    e.message = unconst(err->text);
    e.place = unconst(err->place);
    e.hint = unconst(err->hint);
    e.line = err->line;
    e.column = err->column;
    respond(r, r->status ? r->status : err_info(err->code)->http, &e.base);
    rest_free(r);
}

/* ---- parameters ---- */

/* Percent-decoding (RFC 3986 section 2.1); false for a broken escape or a NUL. */
static bool decode(struct str s, char *out, size_t *ret_len)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char byte = (unsigned char)s.data[i];

        if (s.data[i] == '%') {
            if (i + 3 > s.len || !hex_decode(str_part(s, i + 1, i + 3), &byte, 1))
                return false;
            i += 2;
        }
        if (byte == 0)
            return false;
        out[n++] = (char)byte;
    }
    *ret_len = n;
    return true;
}

static struct str decoded(struct rest *r, struct str s)
{
    char *out = arena_alloc(&r->arena, s.len + 1);
    size_t n;

    return out && decode(s, out, &n) ? str_of(out, n) : STR_NULL;
}

/* Whether a part of the address, decoded, is text. */
static int check_text(struct rest *r, struct str part, const char *what, struct err *err)
{
    struct str text = decoded(r, part);

    if (arena_failed(&r->arena))
        return ERR_NOMEM;
    if (!text.data)
        return err_set(err, ERR_INVALID, "the %s has a broken escape", what);
    return str_is_utf8(text) ? 0 : err_set(err, ERR_INVALID, "the %s is not UTF-8", what);
}

static int check_address(struct rest *r, struct err *err)
{
    struct str rest = exchange_query(r->x), pair, part;
    int rc = check_text(r, exchange_path(r->x), "path", err);

    while (!rc && rest.len && str_next(&rest, '&', &pair))
        while (!rc && str_next(&pair, '=', &part))
            rc = check_text(r, part, "query", err);
    return rc;
}

struct str rest_query(struct rest *r, const char *name)
{
    struct str rest = exchange_query(r->x), pair;

    while (rest.len && str_next(&rest, '&', &pair)) {
        size_t equals = str_index(pair, '=');

        if (str_eq(str_part(pair, 0, equals), str_c(name)))
            return decoded(r, str_from(pair, equals + 1));
    }
    return STR_NULL;
}

/* A truth value, as 0 or 1; a name alone is true. -1: it is none. */
static int flag_of(struct str value)
{
    if (str_eq(value, STR("true")) || str_eq(value, STR("1")) || value.len == 0)
        return 1;
    return str_eq(value, STR("false")) || str_eq(value, STR("0")) ? 0 : -1;
}

static json_t *typed(const ProtobufCFieldDescriptor *f, struct str value)
{
    uint64_t number;
    int flag;

    /* parameters are texts, numbers and truth values only */
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return json_stringn(value.data ? value.data : "", value.len);
    if (f->type == PROTOBUF_C_TYPE_UINT32 || f->type == PROTOBUF_C_TYPE_UINT64)
        return str_u64(value, &number) && number <= INT64_MAX ? json_integer((json_int_t)number)
                                                              : NULL;
    if (f->type != PROTOBUF_C_TYPE_BOOL)
        return NULL;
    flag = flag_of(value);
    return flag < 0 ? NULL : json_boolean(flag);
}

static int set_param(json_t *object, const ProtobufCMessageDescriptor *type, struct str name,
                     struct str value, struct err *err)
{
    char field[64];
    const ProtobufCFieldDescriptor *f;
    json_t *v;

    (void)snprintf(field, sizeof(field), "%.*s", STR_ARG(name));
    f = protobuf_c_message_descriptor_get_field_by_name(type, field);
    if (!f || f->label == PROTOBUF_C_LABEL_REPEATED || f->type == PROTOBUF_C_TYPE_MESSAGE) {
        (void)err_set(err, ERR_INVALID, "unknown parameter \"%s\"", field);
        err_place(err, "%s", field);
        return ERR_INVALID;
    }
    v = typed(f, value);
    if (!v || json_object_set_new_nocheck(object, f->name, v)) {
        (void)err_set(err, ERR_INVALID, "parameter \"%s\" cannot be \"%.*s\"", field,
                      STR_ARG(str_part(value, 0, 100)));
        err_place(err, "%s", field);
        return ERR_INVALID;
    }
    return 0;
}

int rest_query_json(struct rest *r, const ProtobufCMessageDescriptor *type, json_t *object,
                    struct err *err)
{
    struct str rest = exchange_query(r->x), pair;
    int rc = 0;

    while (!rc && rest.len && str_next(&rest, '&', &pair)) {
        size_t equals = str_index(pair, '=');
        struct str value = decoded(r, str_from(pair, equals + 1));

        if (pair.len == 0)
            continue;
        if (!value.data)
            rc = ERR_NOMEM;
        else
            rc = set_param(object, type, str_part(pair, 0, equals), value, err);
    }
    return rc;
}

/* ---- use cases ---- */

static const struct api_method *find_api(const char *name)
{
    for (size_t i = 0; i < api_methods_n; i++)
        if (strcmp(api_methods[i].name, name) == 0)
            return &api_methods[i];
    return NULL;
}

static int make_request(struct rest *r, const struct api_method *method, ProtobufCMessage **ret,
                        struct err *err)
{
    const struct route *route = r->route;
    json_t *object;
    int rc = inbound_document(r->body, method->request, &object, err);

    if (rc)
        return rc;
    if (route->param)
        rc = set_param(object, method->request, str_c(route->param), r->rest_of_path, err);
    if (!rc)
        rc = rest_query_json(r, method->request, object, err);
    if (!rc)
        rc = proto_from_json(object, method->request, &r->arena, ret, err);
    json_decref(object);
    return rc;
}

/* A tag for what is one resource. */
static void note_etag(struct rest *r, const ProtobufCMessage *response)
{
    const Trimtab__V1__Resource *res = (const Trimtab__V1__Resource *)response;
    unsigned char hash[SHA256_BYTES];

    if (response->descriptor == &trimtab__v1__resource__descriptor &&
        hex_decode(str_c(res->content_hash), hash, sizeof(hash)))
        etag_of_resource(res->version, str_of(hash, sizeof(hash)), r->etag);
}

static void api_done(void *ctx, const ProtobufCMessage *response, const struct err *err)
{
    struct rest *r = ctx;

    if (!err) {
        note_etag(r, response);
        rest_answer(r, 200, response);
        return;
    }
    if (r->has_precondition && (err->code == ERR_CONFLICT || err->code == ERR_EXISTS))
        r->status = 412; /* somebody was faster */
    rest_fail(r, err);
}

static void call_api(struct rest *r, const struct api_method *method,
                     ProtobufCMessage *request, api_done_fn *done)
{
    struct err err = ERR_NULL;
    struct api_call *call = NULL;
    int rc = arena_failed(&r->arena) ? ERR_NOMEM : inbound_check(request, &r->arena, &err);

    if (!rc) {
        call = api_call_new(r->app, method);
        rc = call ? 0 : ERR_NOMEM;
    }
    if (rc) {
        if (!err.code)
            (void)err_set(&err, rc, "out of memory");
        rest_fail(r, &err);
        return;
    }
    call->who = r->who;
    (void)snprintf(call->origin, sizeof(call->origin), "rest %.*s",
                   STR_ARG(exchange_peer(r->x)));
    call->request = request;
    call->done = done;
    call->ctx = r;
    api_run(call);
}

static void run_api(struct rest *r)
{
    const struct api_method *method = find_api(r->route->api);
    ProtobufCMessage *request;
    struct err err = ERR_NULL;
    int rc = make_request(r, method, &request, &err);

    if (rc) {
        if (!err.code)
            (void)err_set(&err, rc, "out of memory");
        rest_fail(r, &err);
        return;
    }
    call_api(r, method, request, api_done);
}

/* ---- put and delete: one resource, one commit ---- */

static int preconditions(struct rest *r, Trimtab__V1__Change *c, struct err *err)
{
    struct str match = exchange_header(r->x, "if-match");
    struct str none = exchange_header(r->x, "if-none-match");
    struct str based_on = rest_query(r, "based_on");
    int rc = precondition_judge(r->app->state, match, none, c, err);

    r->has_precondition = match.data || none.data;
    if (rc)
        return rc;
    if (based_on.data && (!str_u64(based_on, &c->based_on) || !c->based_on)) /* 0 would ask for nothing */
        return err_set(err, ERR_INVALID, "based_on must be a version number");
    return 0;
}

/* A truth value of the query; absent is false. */
static int query_flag(struct rest *r, const char *name, protobuf_c_boolean *ret, struct err *err)
{
    struct str text = rest_query(r, name);
    int value = text.data ? flag_of(text) : 0;

    if (value < 0) {
        (void)err_set(err, ERR_INVALID, "parameter \"%s\" cannot be \"%.*s\"", name,
                      STR_ARG(str_part(text, 0, 100)));
        err_place(err, "%s", name);
        return ERR_INVALID;
    }
    *ret = value;
    return 0;
}

static void commit_one(struct rest *r, Trimtab__V1__Change *c)
{
    Trimtab__V1__CommitRequest *q = ARENA_NEW(&r->arena, Trimtab__V1__CommitRequest);
    Trimtab__V1__Change **list = ARENA_NEW(&r->arena, Trimtab__V1__Change *);
    struct err err = ERR_NULL;
    int rc = c && q && list ? preconditions(r, c, &err) : ERR_NOMEM;

    if (q)
        trimtab__v1__commit_request__init(q);
    if (!rc)
        rc = query_flag(r, "dry_run", &q->dry_run, &err);
    if (rc) {
        if (!err.code)
            (void)err_set(&err, rc, "out of memory");
        if (rc == ERR_CONFLICT)
            r->status = 412;
        rest_fail(r, &err);
        return;
    }
    list[0] = c;
    q->changes = list;
    q->n_changes = 1;
    q->message = arena_c(&r->arena, rest_query(r, "message"));
    q->request_id = arena_c(&r->arena, rest_query(r, "request_id"));
    q->override = arena_c(&r->arena, rest_query(r, "override"));
    call_api(r, find_api("Commit"), &q->base, api_done);
}

static Trimtab__V1__Change *change_new(struct rest *r)
{
    Trimtab__V1__Change *c = ARENA_NEW(&r->arena, Trimtab__V1__Change);

    if (!c)
        return NULL;
    trimtab__v1__change__init(c);
    c->id = arena_c(&r->arena, r->rest_of_path);
    return c;
}

static void run_put(struct rest *r)
{
    Trimtab__V1__Change *c = change_new(r);
    struct str type = exchange_header(r->x, "content-type");

    if (c) {
        /* what curl says when it says nothing */
        if (type.data && !str_eq(type, STR("application/x-www-form-urlencoded")))
            c->content_type = arena_c(&r->arena, type);
        c->content = proto_bytes(r->body);
    }
    commit_one(r, c);
}

static void run_delete(struct rest *r)
{
    Trimtab__V1__Change *c = change_new(r);

    if (c)
        c->delete_ = true;
    commit_one(r, c);
}

/* ---- contents: the bytes themselves ---- */

static void contents_done(void *ctx, const ProtobufCMessage *response, const struct err *err)
{
    struct rest *r = ctx;
    const Trimtab__V1__Resource *res = (const Trimtab__V1__Resource *)response;
    char etag[SHA256_HEX_BYTES + 3], version[24], revision[24];
    struct http_header headers[4];
    struct segment body;
    struct str none;
    bool same;

    if (err) {
        rest_fail(r, err);
        return;
    }
    (void)snprintf(etag, sizeof(etag), "\"%s\"", res->content_hash);
    (void)snprintf(version, sizeof(version), "%llu", (unsigned long long)res->version);
    (void)snprintf(revision, sizeof(revision), "%llu", (unsigned long long)res->revision);
    headers[0] = (struct http_header){STR("content-type"), str_c(res->content_type)};
    headers[1] = (struct http_header){STR("etag"), str_c(etag)};
    headers[2] = (struct http_header){STR("trimtab-version"), str_c(version)};
    headers[3] = (struct http_header){STR("trimtab-revision"), str_c(revision)};
    none = exchange_header(r->x, "if-none-match");
    same = none.data && etags_match(none, str_c(etag));
    body = segment_copy(res->content.len ? proto_str(res->content) : str_c(res->text));
    (void)exchange_respond(r->x, same ? 304 : 200, headers, 4, &body, same ? 0 : 1);
    rest_free(r);
}

static void run_contents(struct rest *r)
{
    Trimtab__V1__GetRequest *q = ARENA_NEW(&r->arena, Trimtab__V1__GetRequest);
    struct str version = rest_query(r, "version"), min = rest_query(r, "min_revision");
    struct err err = ERR_NULL;

    if (!q) {
        (void)err_set(&err, ERR_NOMEM, "out of memory");
        rest_fail(r, &err);
        return;
    }
    trimtab__v1__get_request__init(q);
    q->id = arena_c(&r->arena, r->rest_of_path);
    if ((version.data && !str_u64(version, &q->version)) ||
        (min.data && !str_u64(min, &q->min_revision))) {
        (void)err_set(&err, ERR_INVALID, "version and min_revision are numbers");
        rest_fail(r, &err);
        return;
    }
    call_api(r, find_api("Get"), &q->base, contents_done);
}

/* ---- the server itself ---- */

static void run_health(struct rest *r)
{
    (void)exchange_respond_text(r->x, 200, "text/plain", STR("ok\n"));
    rest_free(r);
}

static void run_ready(struct rest *r)
{
    bool ready = !r->app->is_draining;

    (void)exchange_respond_text(r->x, ready ? 200 : 503, "text/plain",
                                ready ? STR("ready\n") : STR("draining\n"));
    rest_free(r);
}

/* One copy for all that are on their way. */
static void run_openapi(struct rest *r)
{
    static const struct http_header type = {STR("content-type"), STR("application/json")};
    struct app *app = r->app;
    struct segment body;

    if (!app->openapi)
        app->openapi = shared_copy(embedded_openapi());
    if (app->openapi) {
        body = segment_shared(app->openapi);
        (void)exchange_respond(r->x, 200, &type, 1, &body, 1);
    } else {
        (void)exchange_respond_text(r->x, 503, "text/plain", STR("out of memory\n"));
    }
    rest_free(r);
}

/* ---- routing ---- */

static bool path_fits(const struct route *route, struct str path, struct str *ret_rest)
{
    struct str pattern = str_c(route->path);

    if (!str_ends(pattern, STR("**")))
        return str_eq(pattern, path);
    pattern.len -= 2;
    if (!str_starts(path, pattern) || path.len == pattern.len)
        return false;
    *ret_rest = str_from(path, pattern.len);
    return true;
}

/* The route, or NULL with ERR_NOT_FOUND, or ERR_UNSUPPORTED when the path exists with another method. */
static const struct route *find_route(struct rest *r, struct str *ret_rest, struct err *err)
{
    struct str method = exchange_method(r->x), path = exchange_path(r->x);
    bool path_exists = false;

    if (str_eq(method, STR("HEAD")))
        method = STR("GET");
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (!path_fits(&routes[i], path, ret_rest))
            continue;
        if (str_eq(method, str_c(routes[i].method)))
            return &routes[i];
        path_exists = true;
    }
    r->status = path_exists ? 405 : 404;
    (void)err_set(err, path_exists ? ERR_UNSUPPORTED : ERR_NOT_FOUND, "there is no %.*s %.*s",
                  STR_ARG(method), STR_ARG(str_part(path, 0, 200)));
    err_hint(err, "GET /openapi.json lists what there is");
    return NULL;
}

/* The methods that a path has, for the header Allow. */
static void list_methods(struct str path, char out[METHODS_TEXT_MAX])
{
    struct str ignored;
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const char *method = routes[i].method;

        if (path_fits(&routes[i], path, &ignored))
            n += (size_t)snprintf(out + n, METHODS_TEXT_MAX - n, "%s%s%s", n ? ", " : "", method,
                                  strcmp(method, "GET") == 0 ? ", HEAD" : "");
    }
}

/* Routes without a use case say which parameters they have; a word that is none of them is a mistake. */
static int check_parameters(const struct rest *r, struct err *err)
{
    struct str rest = exchange_query(r->x), pair;

    while (r->route->query && rest.len && str_next(&rest, '&', &pair)) {
        char word[64];

        if (!pair.len)
            continue;
        (void)snprintf(word, sizeof(word), " %.*s ", STR_ARG(str_part(pair, 0, str_index(pair, '='))));
        if (strstr(r->route->query, word) && word[1] != ' ')
            continue;
        word[strlen(word) - 1] = '\0';
        (void)err_set(err, ERR_INVALID, "unknown parameter \"%s\"", word + 1);
        err_place(err, "%s", word + 1);
        if (strlen(r->route->query) > 1)
            err_hint(err, "there are:%s", r->route->query);
        return ERR_INVALID;
    }
    return 0;
}

static void run_route(struct rest *r)
{
    if (r->route->api)
        run_api(r);
    else
        r->route->run(r);
}

static void on_body(struct exchange *x, void *ctx, int rc, struct str body)
{
    struct rest *r = ctx;

    (void)x;
    if (rc) { /* answered already */
        rest_free(r);
        return;
    }
    r->body = body;
    run_route(r);
}

static int prepare(struct rest *r, struct err *err)
{
    struct str rest = STR_NULL;
    struct err address = ERR_NULL;
    enum right right;
    int rc, bad = check_address(r, &address);

    r->route = find_route(r, &rest, err);
    right = !r->route       ? RIGHT_READ
            : r->route->api ? find_api(r->route->api)->right
                            : r->route->right;
    rc = app_authorize(r->app, r->x, right, &r->who, r->route ? err : NULL);
    if (!r->route && rc) { /* who is not known is not told what there is */
        r->status = 0;
        return err_set(err, rc, "a known token is needed");
    }
    if (!rc && bad) {
        r->status = 0;
        *err = address;
        return bad;
    }
    if (!r->route)
        return err->code;
    if (!rc)
        rc = check_parameters(r, err);
    if (!rc && rest.data)
        r->rest_of_path = decoded(r, rest);
    return !rc && arena_failed(&r->arena) ? ERR_NOMEM : rc;
}

/* What a document becomes in memory is many times its size: nobody sends more than their part needs. */
static size_t body_max(enum body_use use)
{
    if (use == BODY_RAW)
        return PUT_BODY_MAX;
    return use == BODY_FRAME ? FRAME_BODY_MAX : DOCUMENT_BODY_MAX;
}

void rest_handle(struct app *app, struct exchange *x)
{
    struct rest *r = NEW(struct rest);
    struct err err = ERR_NULL;
    int rc;

    app->n_rest++;
    if (!r) {
        (void)err_set(&err, ERR_NOMEM, "out of memory");
        (void)exchange_respond_err(x, &err);
        return;
    }
    r->app = app;
    r->x = x;
    rc = prepare(r, &err);
    if (rc) {
        if (!err.code)
            (void)err_set(&err, rc, "out of memory");
        rest_fail(r, &err);
        return;
    }
    if (r->route->body == BODY_NONE)
        run_route(r);
    else
        exchange_read_body(x, body_max(r->route->body), on_body, r);
}

/*
 * The REST front end: the table of its routes (api/openapi.json says the same to others), and the way of a request to one.
 */
#include "server/edge/rest_routes.h"

#include "base/segment.h"
#include "proto/inbound.h"
#include "proto/json.h"
#include "server/edge/answer.h"
#include "server/edge/coding.h"
#include "server/edge/embedded.h"
#include "server/edge/events_stream.h"
#include "server/edge/metrics.h"
#include "server/edge/rest.h"
#include "server/edge/rest_resources.h"
#include "server/edge/subscribe_http.h"

enum {
    PUT_BODY_MAX = CONTENT_BYTES_MAX,
    DOCUMENT_BODY_MAX = 96 << 20, /* of people and their tools: a commit of 64 MiB as JSON */
    FRAME_BODY_MAX = 4 << 20,     /* of a subscriber, as large as by gRPC */
    DOCUMENT_ON_LOOP = 32 << 10,  /* larger ones are parsed by a worker */
};

/* How a route is answered. */
struct how {
    const char
        *api; /* name of the use case, which says the right, too; NULL: run is called itself */
    const char *param; /* field of the request that the rest of the path fills */
    void (*run)(struct rest *r);
};

#define USE(name, field)                                                                       \
    &(const struct how)                                                                        \
    {                                                                                          \
        .api = name, .param = field                                                            \
    }
#define OWN(fn)                                                                                \
    &(const struct how)                                                                        \
    {                                                                                          \
        .run = fn                                                                              \
    }

#define QUERY_COMMIT " message request_id dry_run override based_on "
#define QUERY_VIEW   " namespaces kinds names scope labels instance host "
#define QUERY_CURSOR QUERY_VIEW "revision store_id digest "

/* ---- the server itself ---- */

static void run_health(struct rest *r)
{
    answer_text(r, 200, "text/plain", STR("ok\n"));
}

static void run_ready(struct rest *r)
{
    bool ready = !r->front->lane->is_draining;

    answer_text(r, ready ? 200 : 503, "text/plain", ready ? STR("ready\n") : STR("draining\n"));
}

/* One copy for all that are on their way. */
static void run_openapi(struct rest *r)
{
    struct front *front = r->front;

    if (!front->openapi)
        front->openapi = shared_copy(embedded_openapi());
    if (front->openapi)
        answer_send(r, &(struct answer){.status = 200,
                                        .type = STR("application/json"),
                                        .body = segment_shared(front->openapi)});
    else
        answer_text(r, 503, "text/plain", STR("out of memory\n"));
}

/* ---- use cases ---- */

static int make_request(struct rest *r, const struct api_method *method, ProtobufCMessage **ret,
                        struct err *err)
{
    const char *param = ((const struct how *)r->route->ctx)->param;
    json_t *object;
    int rc = inbound_document(r->body, method->request, &object, err);

    if (rc)
        return rc;
    if (param)
        rc = rest_set_param(object, method->request, str_c(param), r->rest_of_path, err);
    if (!rc)
        rc = rest_query_json(r, method->request, object, err);
    if (!rc)
        rc = proto_from_json(object, method->request, &r->arena, ret, err);
    json_decref(object);
    return rc;
}

/* A request that becomes a message, on its arena. Body and head stay until it is answered, so a worker may read them. */
struct making {
    struct rest *rest;
    const struct api_method *method;
    ProtobufCMessage *request;
    struct err err;
    int r;
    struct work work;
};

static void make(struct work *w, void *ctx)
{
    struct making *m = ctx;

    (void)w;
    m->r = make_request(m->rest, m->method, &m->request, &m->err);
}

static void made(struct work *w, void *ctx)
{
    struct making *m = ctx;

    (void)w;
    if (m->r)
        rest_fail_with(m->rest, m->r, &m->err);
    else
        rest_call(m->rest, m->method, m->request, API_TEXT, rest_api_done);
}

static void run_api(struct rest *r)
{
    struct making *m = ARENA_NEW(&r->arena, struct making);
    struct err err = ERR_NULL;

    if (!m) {
        rest_fail_with(r, ERR_NOMEM, &err);
        return;
    }
    m->rest = r;
    m->method = rest_method(((const struct how *)r->route->ctx)->api);
    m->work = (struct work){.run = make, .done = made, .ctx = m};
    if (r->body.len > DOCUMENT_ON_LOOP) {
        loop_work(r->front->lane->loop, &m->work);
    } else {
        make(&m->work, m);
        made(&m->work, m);
    }
}

/* ---- the table ---- */

/* clang-format off */
static const struct route routes[] = {
    {"GET", "/v1/resources", "listResources", RIGHTS_NONE, 0, NULL, USE("List", NULL)},
    {"GET", "/v1/resources/**", "getResource", RIGHTS_NONE, 0, NULL, USE("Get", "id")},
    {"PUT", "/v1/resources/**", "putResource", RIGHT_TO_EDIT, PUT_BODY_MAX, QUERY_COMMIT, OWN(rest_put)},
    {"DELETE", "/v1/resources/**", "deleteResource", RIGHT_TO_EDIT, 0, QUERY_COMMIT, OWN(rest_delete)},
    {"GET", "/v1/contents/**", "getContent", RIGHT_TO_VIEW, 0, " version min_revision ", OWN(rest_contents)},
    {"POST", "/v1/commits", "commit", RIGHTS_NONE, DOCUMENT_BODY_MAX, NULL, USE("Commit", NULL)},
    {"GET", "/v1/commits", "listCommits", RIGHTS_NONE, 0, NULL, USE("Commits", NULL)},
    {"GET", "/v1/commits/**", "getCommit", RIGHTS_NONE, 0, NULL, USE("Commits", "revision")},
    {"GET", "/v1/history/**", "listVersions", RIGHTS_NONE, 0, NULL, USE("History", "id")},
    {"GET", "/v1/diff", "diffCommit", RIGHTS_NONE, 0, NULL, USE("Diff", NULL)},
    {"GET", "/v1/diff/**", "diffVersions", RIGHTS_NONE, 0, NULL, USE("Diff", "id")},
    {"POST", "/v1/rollback", "rollBack", RIGHTS_NONE, DOCUMENT_BODY_MAX, NULL, USE("Rollback", NULL)},
    {"POST", "/v1/rollouts", "startRollout", RIGHTS_NONE, DOCUMENT_BODY_MAX, NULL, USE("StartRollout", NULL)},
    {"GET", "/v1/rollouts", "listRollouts", RIGHTS_NONE, 0, NULL, USE("ListRollouts", NULL)},
    {"POST", "/v1/rollouts/preview", "previewRollout", RIGHTS_NONE, DOCUMENT_BODY_MAX, NULL, USE("PreviewRollout", NULL)},
    {"GET", "/v1/rollouts/**", "getRollout", RIGHTS_NONE, 0, NULL, USE("GetRollout", "id")},
    {"POST", "/v1/rollouts/**", "moveRollout", RIGHTS_NONE, DOCUMENT_BODY_MAX, NULL, USE("MoveRollout", "id")},
    {"POST", "/v1/orders", "giveOrder", RIGHTS_NONE, DOCUMENT_BODY_MAX, NULL, USE("Order", NULL)},
    {"POST", "/v1/restore/release", "releaseRestore", RIGHTS_NONE, DOCUMENT_BODY_MAX, NULL, USE("ReleaseRestore", NULL)},
    {"GET", "/v1/orders", "listOrders", RIGHTS_NONE, 0, NULL, USE("Orders", NULL)},
    {"GET", "/v1/instances", "listInstances", RIGHTS_NONE, 0, NULL, USE("Instances", NULL)},
    {"DELETE", "/v1/instances/**", "forgetInstance", RIGHTS_NONE, 0, NULL, USE("ForgetInstance", "id")},
    {"GET", "/v1/running", "getRunning", RIGHTS_NONE, 0, NULL, USE("Running", NULL)},
    {"GET", "/v1/events", "watchEvents", RIGHT_TO_VIEW, 0, " types prefix rollout ", OWN(events_http)},
    {"GET", "/v1/status", "getStatus", RIGHTS_NONE, 0, NULL, USE("Status", NULL)},
    {"GET", "/v1/rights/who", "whoCan", RIGHTS_NONE, 0, NULL, USE("WhoCan", NULL)},
    {"GET", "/v1/grants", "listGrants", RIGHTS_NONE, 0, NULL, USE("Grants", NULL)},
    {"GET", "/v1/tokens", "listTokens", RIGHTS_NONE, 0, NULL, USE("Tokens", NULL)},
    {"GET", "/v1/info", "getInfo", RIGHTS_NONE, 0, NULL, USE("Info", NULL)},
    {"GET", "/v1/subscribe/snapshot", "getSnapshot", RIGHT_TO_SUBSCRIBE, 0, QUERY_VIEW "min_revision ", OWN(subscribe_http_snapshot)},
    {"GET", "/v1/subscribe/poll", "poll", RIGHT_TO_SUBSCRIBE, 0, QUERY_CURSOR "wait_ms ", OWN(subscribe_http_poll)},
    {"POST", "/v1/subscribe/poll", "pollWithHello", RIGHT_TO_SUBSCRIBE, FRAME_BODY_MAX, " wait_ms ", OWN(subscribe_http_poll)},
    {"GET", "/v1/subscribe/events", "subscribe", RIGHT_TO_SUBSCRIBE, 0, QUERY_CURSOR, OWN(subscribe_http_events)},
    {"POST", "/v1/subscribe/ack", "acknowledge", RIGHT_TO_SUBSCRIBE, FRAME_BODY_MAX, " ", OWN(subscribe_http_ack)},
    {"GET", "/metrics", "getMetrics", RIGHT_TO_METRICS, 0, " ", OWN(metrics_answer)},
    {"GET", "/healthz", "getHealth", RIGHTS_NONE, 0, " ", OWN(run_health)},
    {"GET", "/readyz", "getReadiness", RIGHTS_NONE, 0, " ", OWN(run_ready)},
    {"GET", "/openapi.json", "getOpenapi", RIGHTS_NONE, 0, " ", OWN(run_openapi)},
};
/* clang-format on */

const struct router rest_router = {routes, ARRAY_LEN(routes)};

/* ---- routing ---- */

static void run_route(struct rest *r)
{
    const struct how *how = r->route->ctx;

    if (how->api)
        run_api(r);
    else
        how->run(r);
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

static unsigned right_of(const struct route *route)
{
    const struct how *how = route->ctx;

    return how->api ? rest_method(how->api)->right : route->right;
}

static int authorize(struct rest *r, unsigned right, struct err *err)
{
    struct lane *lane = r->front->lane;

    return right ? lane_authorize(lane, r->x, (enum right_to)right, &r->who, err)
                 : lane_admit_browser(lane, r->x, err);
}

/* There is nothing to answer it: says so, with what there is. */
static int no_route(struct rest *r, int status, struct err *err)
{
    struct str path = exchange_path(r->x);
    bool has_path = status == 405;

    r->status = status;
    router_methods(&rest_router, path, r->allow);
    (void)err_set(err, has_path ? ERR_UNSUPPORTED : ERR_NOT_FOUND, "there is no %.*s %.*s",
                  STR_ARG(exchange_method(r->x)), STR_ARG(str_part(path, 0, 200)));
    err_hint(err, "GET /openapi.json lists what there is");
    return err->code;
}

/* Who is not known is not told what there is. */
static int prepare_nothing(struct rest *r, int status, struct err *err)
{
    int rc = lane_identify(r->front->lane, r->x, &r->who, NULL);

    return rc ? err_set(err, rc, "a known token is needed") : no_route(r, status, err);
}

/* A body is taken as it is meant: packed ones would be kept packed. */
static int check_coding(struct rest *r, struct err *err)
{
    for (size_t i = 0; i < exchange_header_count(r->x); i++) {
        struct http_header h = exchange_header_at(r->x, i);

        if (!str_eq(h.name, STR("content-encoding")) || coding_is_identity(h.value))
            continue;
        r->status = 415;
        (void)err_set(err, ERR_UNSUPPORTED, "a body with the coding \"%.*s\" is not taken",
                      STR_ARG(str_part(h.value, 0, 100)));
        err_place(err, "content-encoding");
        err_hint(err, "send it as it is");
        return ERR_UNSUPPORTED;
    }
    return 0;
}

static int prepare(struct rest *r, struct err *err)
{
    struct err address = ERR_NULL;
    struct str rest;
    int status, rc, bad = rest_check_address(r, &address);

    r->route =
        router_find(&rest_router, exchange_method(r->x), exchange_path(r->x), &rest, &status);
    if (!r->route && !bad)
        return prepare_nothing(r, status, err);
    rc = authorize(r, r->route ? right_of(r->route) : RIGHT_TO_VIEW, err);
    if (!rc && bad) {
        *err = address;
        return bad;
    }
    if (!rc)
        rc = route_check_query(r->route, exchange_query(r->x), err);
    if (!rc && r->route->body_max)
        rc = check_coding(r, err);
    if (!rc && rest.data)
        r->rest_of_path = rest_decoded(r, rest);
    return !rc && arena_failed(&r->arena) ? ERR_NOMEM : rc;
}

void rest_handle(struct front *front, struct exchange *x)
{
    struct rest *r = NEW(struct rest);
    struct err err = ERR_NULL;
    int rc;

    front->n_rest++;
    if (!r) {
        (void)err_set(&err, ERR_NOMEM, "out of memory");
        (void)exchange_respond_err(x, &err);
        return;
    }
    r->front = front;
    r->x = x;
    rc = prepare(r, &err);
    if (rc) {
        rest_fail_with(r, rc, &err);
        return;
    }
    if (r->route->body_max)
        exchange_read_body(x, r->route->body_max, on_body, r);
    else
        run_route(r);
}

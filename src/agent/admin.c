/*
 * The admin listener: /healthz, /status, /metrics and /v1/health, for the host itself. Only the last takes a word, and
 * only with the token.
 */
#include "agent/admin.h"

#include "net/router.h"

#include "base/file.h"

#include <inttypes.h>

/* ---- status ---- */

static json_t *text(struct str s)
{
    json_t *j = json_stringn(s.data ? s.data : "", s.len);

    return j ? j : json_string("(not UTF-8)");
}

static json_t *hex_digest(struct digest d)
{
    unsigned char bytes[DIGEST_BYTES];
    char hex[2 * DIGEST_BYTES + 1];

    digest_put(d, bytes);
    hex_encode(bytes, sizeof(bytes), hex);
    return json_string(hex);
}

static json_t *refusal(const struct pending *p)
{
    struct str key = str_of(p->key, p->len);
    json_t *j = json_object();

    (void)json_object_set_new(j, "scope", text(key_scope(key)));
    (void)json_object_set_new(j, "kind", text(key_kind(key)));
    (void)json_object_set_new(j, "name", text(key_path(key)));
    (void)json_object_set_new(j, "code", json_string(p->is_refused ? p->code : "PENDING"));
    (void)json_object_set_new(j, "message", text(str_c(p->is_refused ? p->message : NULL)));
    (void)json_object_set_new(j, "held_by", text(str_c(p->is_refused ? p->held_by : NULL)));
    return j;
}

static json_t *refusals(const struct agent *a)
{
    json_t *list = json_array();
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&a->ledger.pending, &at)))
        (void)json_array_append_new(
            list, refusal(slot->value)); /* what does not fit into memory is left out */
    return list;
}

static int add_held(void *list, const struct sync_held *h)
{
    json_t *j = json_object();

    (void)json_object_set_new(j, "scope", text(h->scope));
    (void)json_object_set_new(j, "kind", text(key_name(h->item->key).kind));
    (void)json_object_set_new(j, "name", text(key_name(h->item->key).name));
    (void)json_object_set_new(j, "namespace", text(key_name(h->item->key).space));
    (void)json_object_set_new(j, "version", json_integer((json_int_t)h->item->number));
    (void)json_object_set_new(j, "since", json_integer((json_int_t)h->since));
    (void)json_object_set_new(j, "needed", json_boolean(h->is_needed));
    (void)json_array_append_new(list, j); /* what does not fit into memory is left out */
    return 0;
}

/* What is served though it is received no more. */
static json_t *held(const struct agent *a)
{
    json_t *list = json_array();

    (void)sync_each_held(a->sync, add_held, list); /* never fails */
    return list;
}

static const char *phase_name(enum sync_phase p)
{
    static const char *const names[] = {"offline", "hello", "syncing", "live"};

    return names[p];
}

static json_t *status(const struct agent *a)
{
    struct sync_status s = sync_status(a->sync);
    json_t *j = json_object();

    (void)json_object_set_new(j, "instance", json_string(a->instance->id));
    (void)json_object_set_new(j, "version", json_string(TRIMTAB_VERSION));
    (void)json_object_set_new(j, "connected", json_boolean(a->is_connected));
    (void)json_object_set_new(j, "server", json_string(sync_link_address(a->link)));
    (void)json_object_set_new(j, "link", json_string(a->is_connected ? "" : a->link_story));
    (void)json_object_set_new(j, "phase", json_string(phase_name(s.phase)));
    (void)json_object_set_new(j, "revision", json_integer((json_int_t)s.cursor.revision));
    (void)json_object_set_new(j, "items", json_integer((json_int_t)s.cursor.count));
    (void)json_object_set_new(j, "received_digest", hex_digest(s.cursor.digest));
    (void)json_object_set_new(j, "serving_digest", hex_digest(a->ledger.digest));
    (void)json_object_set_new(j, "serving_items",
                              json_integer((json_int_t)a->ledger.serving.n));
    (void)json_object_set_new(j, "rejected", json_integer((json_int_t)s.rejected));
    (void)json_object_set_new(j, "rejected_because", json_string(s.rejected_because));
    (void)json_object_set_new(j, "busy", json_boolean(job_is_busy(a->job)));
    (void)json_object_set_new(
        j, "watching",
        json_string(*watch_blindness(a->watch) ? watch_blindness(a->watch) : "events"));
    (void)json_object_set_new(j, "paused", json_boolean(a->orders.is_paused));
    (void)json_object_set_new(j, "paused_because",
                              json_string(a->orders.is_paused ? a->orders.reason : ""));
    (void)json_object_set_new(j, "refusals", refusals(a));
    (void)json_object_set_new(j, "held", held(a));
    (void)json_object_set_new(j, "health", admin_health_json(a));
    return j;
}

/* ---- metrics ---- */

struct metric {
    const char *name, *type, *help;
    uint64_t value;
};

static uint64_t probes(const struct agent *a, bool only_failed)
{
    uint64_t n = 0;

    for (size_t i = 0; i < prober_count(a->prober); i++) {
        struct probe_state s = prober_at(a->prober, i);

        n += only_failed ? s.n_failed : s.n_probes;
    }
    return n;
}

static void answer_metrics(struct agent *a, struct exchange *x)
{
    struct sync_status s = sync_status(a->sync);
    struct job_stats p = job_stats(a->job);
    struct sync_judgement health;
    bool is_judged = prober_sum(a->prober, &health);
    const struct metric metrics[] = {
        {"connected", "gauge", "Whether a server is connected.", a->is_connected},
        {"streams_total", "counter", "Streams begun.", sync_link_streams(a->link)},
        {"revision", "gauge", "Revision of what was received.", s.cursor.revision},
        {"items", "gauge", "Items received.", s.cursor.count},
        {"serving_items", "gauge", "Items served.", a->ledger.serving.n},
        {"not_served", "gauge", "Names whose served item is not the received one.",
         a->ledger.pending.n},
        {"held", "gauge", "Items served on because nothing explains that they went.",
         sync_n_held(a->sync)},
        {"batches_total", "counter", "Batches stored.", s.batches},
        {"batches_rejected_total", "counter", "Batches rejected.", s.rejected},
        {"items_received_total", "counter", "Items in them.", s.items},
        {"drops_received_total", "counter", "Drops in them.", s.drops},
        {"repairs_total", "counter", "Times that drift was found.", s.repairs},
        {"verified_total", "counter", "Times that what is held was proved anew.",
         a->n_verified},
        {"jobs_total", "counter", "Jobs of applying.", p.jobs},
        {"checks_total", "counter", "Check commands run.", p.checks},
        {"checks_failed_total", "counter", "Check commands that failed.", p.checks_failed},
        {"reloads_total", "counter", "Reloads.", p.reloads},
        {"reloads_failed_total", "counter", "Reloads that failed.", p.reloads_failed},
        {"files_written_total", "counter", "Files put in place.", p.files_written},
        {"files_removed_total", "counter", "Files removed.", p.files_removed},
        {"files_restored_total", "counter", "Local edits put right.", p.files_restored},
        {"judged", "gauge", "Whether there is a verdict on what is served.", is_judged},
        {"failing", "gauge", "Whether what is served fails.", health.failing},
        {"probes_total", "counter", "Probes of what is served.", probes(a, false)},
        {"probes_failed_total", "counter", "Probes that failed.", probes(a, true)},
        {"start_seconds", "gauge", "When the agent started, since 1970.",
         (uint64_t)(a->started_ms / 1000)},
    };
    owned(buf) struct buf out = BUF_NULL(1 * MIB);

    for (size_t i = 0; i < ARRAY_LEN(metrics); i++)
        buf_printf(
            &out,
            "# HELP trimtab_agent_%s %s\n# TYPE trimtab_agent_%s %s\ntrimtab_agent_%s %" PRIu64
            "\n",
            metrics[i].name, metrics[i].help, metrics[i].name, metrics[i].type, metrics[i].name,
            metrics[i].value);
    (void)exchange_respond_text(x, 200, "text/plain; version=0.0.4", buf_str(&out));
}

/* ---- the listener ---- */

typedef void answer_fn(struct agent *a, struct exchange *x);

static void answer_alive(struct agent *a, struct exchange *x)
{
    (void)a;
    (void)exchange_respond_text(x, 200, "text/plain", STR("ok\n"));
}

/* Whether it has something to serve. */
static void answer_ready(struct agent *a, struct exchange *x)
{
    (void)exchange_respond_text(x, a->knows_nothing ? 503 : 200, "text/plain",
                                a->knows_nothing ? STR("nothing received yet\n") : STR("ok\n"));
}

static void answer_status(struct agent *a, struct exchange *x)
{
    admin_answer_json(x, status(a));
}

static void answer_health(struct agent *a, struct exchange *x)
{
    admin_answer_json(x, admin_health_json(a));
}

/* How a route is answered. */
struct how {
    answer_fn *answer;
};
#define HOW(fn) &(const struct how){fn}

static const struct route routes[] = {
    {.method = "GET", .path = "/healthz", .operation = "getHealthz", .query = " ", .ctx = HOW(answer_alive)},
    {.method = "GET", .path = "/readyz", .operation = "getReadiness", .query = " ", .ctx = HOW(answer_ready)},
    {.method = "GET", .path = "/status", .operation = "getStatus", .query = " ", .ctx = HOW(answer_status)},
    {.method = "GET", .path = "/metrics", .operation = "getMetrics", .query = " ", .ctx = HOW(answer_metrics)},
    {.method = "GET", .path = "/v1/health", .operation = "getHealth", .query = " ", .ctx = HOW(answer_health)},
    {.method = "POST", .path = "/v1/health", .operation = "sayHealth", .query = " ", .ctx = HOW(admin_health_post)},
};

static const struct router router = {routes, ARRAY_LEN(routes)};

static void answer_nothing(struct exchange *x, int status)
{
    char methods[ROUTER_METHODS_MAX];
    struct http_header allow = {STR("allow"), STR_NULL};
    struct err err = ERR_NULL;

    router_methods(&router, exchange_path(x), methods);
    allow.value = str_c(methods);
    if (status == 405)
        (void)err_set(&err, ERR_UNSUPPORTED, "only %s is taken here", methods);
    else
        (void)err_set(&err, ERR_NOT_FOUND,
                      "there are /healthz, /readyz, /status, /metrics and /v1/health");
    (void)exchange_refuse(x, status, status == 405 ? &allow : NULL, &err);
}

static void on_request(void *ctx, struct exchange *x)
{
    const struct route *route;
    struct err err = ERR_NULL;
    struct str rest;
    int status;

    route = router_find(&router, exchange_method(x), exchange_path(x), &rest, &status);
    if (!route)
        answer_nothing(x, status);
    else if (route_check_query(route, exchange_query(x), &err))
        (void)exchange_respond_err(x, &err);
    else
        ((const struct how *)route->ctx)->answer(ctx, x);
}

int admin_open(struct agent *a, struct err *err)
{
    struct http_server_opts opts = {
        .address = a->config.admin_listen, .on_request = on_request, .ctx = a};
    int r = admin_open_token(a, err);

    if (!r)
        r = http_server_open(&a->loop, &opts, &a->admin, err);
    if (!r && *a->config.admin_address_file)
        r = file_replace(a->config.admin_address_file, str_c(http_server_address(a->admin)),
                         0644, err);
    return r;
}

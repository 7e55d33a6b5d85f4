/*
 * Metrics in the text format of Prometheus: one table of names, help and values, which are gathered from the hub and from every
 * lane, each on its own thread.
 */
#include "server/edge/metrics.h"

#include "base/file.h"
#include "server/edge/answer.h"
#include "server/hub/errand.h"

#include <inttypes.h>

struct metric {
    const char *name, *type, *help;
    uint64_t value;
};

static void put(struct buf *out, const struct metric *m)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", m->name, m->help, m->name, m->type,
               m->name, m->value);
}

static uint64_t resident_bytes(void)
{
    owned(buf) struct buf statm = BUF_NULL(4096); /* total, resident, ... in pages */
    uint64_t pages = 0;
    struct str rest;

    if (file_read("/proc/self/statm", &statm, NULL))
        return 0;
    rest = str_from(buf_str(&statm), str_index(buf_str(&statm), ' ') + 1);
    return str_u64(str_part(rest, 0, str_index(rest, ' ')), &pages) ? pages * 4096 : 0;
}

/* What the hub counts. */
struct hub_numbers {
    uint64_t revision, resources, content_bytes, connected, lag_s, kept, complete, lost;
    int64_t started_ms;
    struct committer_stats committer;
    struct roster_counts counts;
};

/* What the lanes count, all together. */
struct lane_numbers {
    uint64_t n_rest, n_rpc, n_denied, n_writes, write_bytes;
    struct http_stats http;
    struct loop_turns turns;
};

/* On its way over the hub and all lanes; on the arena of rest. */
struct gathering {
    struct errand errand;
    struct rest *rest;
    size_t next; /* lane */
    struct hub_numbers hub;
    struct lane_numbers lanes;
};

/* ---- gathering ---- */

static void add_http(struct http_stats *sum, const struct http_stats *h)
{
    sum->connections += h->connections;
    sum->accepted += h->accepted;
    sum->refused += h->refused;
    sum->evicted += h->evicted;
    sum->protocol_errors += h->protocol_errors;
    sum->timeouts += h->timeouts;
    sum->unsent += h->unsent;
    sum->held += h->held;
    sum->unheld += h->unheld;
    sum->overdrawn += h->overdrawn;
    sum->shed += h->shed;
}

static void add_turns(struct loop_turns *sum, const struct loop_turns *t)
{
    for (size_t i = 0; i < ARRAY_LEN(sum->n); i++)
        sum->n[i] += t->n[i];
    sum->sum += t->sum;
    sum->longest = MAX(sum->longest, t->longest);
}

static void visit_next(struct gathering *g);

static void visit_lane(struct post *post, void *ctx)
{
    struct gathering *g = CONTAINER_OF(ctx, struct gathering, errand);
    const struct front *front = g->rest->front->all->at[g->next++];
    const struct lane *lane = front->lane;
    struct http_stats http = http_server_stats(lane->http);
    struct lane_numbers *sum = &g->lanes;

    (void)post;
    sum->n_rest += front->n_rest;
    sum->n_rpc += front->n_rpc;
    sum->n_denied += lane->n_denied;
    sum->n_writes += lane->loop->n_writes;
    sum->write_bytes += lane->loop->write_bytes;
    add_http(&sum->http, &http);
    add_turns(&sum->turns, &lane->loop->turns);
    visit_next(g);
}

static void visit_next(struct gathering *g)
{
    const struct fronts *all = g->rest->front->all;

    if (g->next < all->n)
        errand_go_on(&g->errand, all->at[g->next]->lane->loop, visit_lane);
    else
        errand_return(&g->errand);
}

static void visit_hub(struct errand *e)
{
    struct gathering *g = CONTAINER_OF(e, struct gathering, errand);
    const struct keeper *keeper = g->rest->front->all->keeper;
    struct hub *hub = e->hub;
    struct moment at = hub_moment(hub);

    g->hub = (struct hub_numbers){.revision = hub->state->revision,
                                  .resources = hub->state->n_resources,
                                  .content_bytes = hub->state->content_bytes,
                                  .connected = hub->roster.n_connected,
                                  .lag_s = keeper_lag(keeper, clock_now()) / NSEC_PER_S,
                                  .kept = keeper->n_written,
                                  .complete = hub->roster.complete,
                                  .lost = hub->n_lost,
                                  .started_ms = hub->started_ms,
                                  .committer = committer_stats(hub->committer)};
    roster_count(&hub->roster, &at, &g->hub.counts);
    visit_next(g);
}

/* ---- the answer ---- */

static void put_states(struct buf *out, const struct roster_counts *n)
{
    buf_put_c(out, "# HELP trimtab_instances Known instances by what they have proved.\n"
                   "# TYPE trimtab_instances gauge\n");
    for (int i = 0; i < PRESENCE_STATES; i++)
        buf_printf(out, "trimtab_instances{state=\"%s\"} %" PRIu64 "\n",
                   presence_state_name((enum presence_state)i), n->states[i]);
    put(out, &(struct metric){"trimtab_instances_failing", "gauge",
                              "Connected instances that report a failing health.", n->failing});
}

/* Time is of the processor: what others do on the machine is not the server's. */
static void put_turns(struct buf *out, const struct loop_turns *t)
{
    static const nsec_t steps[LOOP_TURN_STEPS_N] = LOOP_TURN_STEPS;
    uint64_t n = 0;

    buf_put_c(out, "# HELP trimtab_loop_turn_seconds Processor time of one turn of a loop, in "
                   "which it serves nobody else.\n"
                   "# TYPE trimtab_loop_turn_seconds histogram\n");
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        n += t->n[i];
        buf_printf(out, "trimtab_loop_turn_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
                   (double)steps[i] / NSEC_PER_S, n);
    }
    n += t->n[LOOP_TURN_STEPS_N];
    buf_printf(out,
               "trimtab_loop_turn_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n"
               "trimtab_loop_turn_seconds_sum %.6f\ntrimtab_loop_turn_seconds_count %" PRIu64
               "\n"
               "# HELP trimtab_loop_turn_longest_seconds The longest of them since the start.\n"
               "# TYPE trimtab_loop_turn_longest_seconds "
               "gauge\ntrimtab_loop_turn_longest_seconds %.6f\n",
               n, (double)t->sum / NSEC_PER_S, n, (double)t->longest / NSEC_PER_S);
}

static void put_all(struct buf *out, const struct hub_numbers *n, const struct lane_numbers *l,
                    size_t n_lanes)
{
    const struct metric metrics[] = {
        {"trimtab_revision", "gauge", "Newest revision that is served.", n->revision},
        {"trimtab_resources", "gauge", "Resources that exist.", n->resources},
        {"trimtab_content_bytes", "gauge", "Bytes of their contents.", n->content_bytes},
        {"trimtab_subscriptions", "gauge", "Instances that are connected.", n->connected},
        {"trimtab_presence_lag_seconds", "gauge",
         "How long the oldest unwritten record of an instance waits.", n->lag_s},
        {"trimtab_presence_kept_total", "counter", "Records of instances that were written.",
         n->kept},
        {"trimtab_presence_revision", "gauge",
         "Revision up to which the instances' records are complete.", n->complete},
        {"trimtab_commits_total", "counter", "Commits since the start.", n->committer.commits},
        {"trimtab_commits_refused_total", "counter", "Commits that were refused.",
         n->committer.refused},
        {"trimtab_commit_groups_total", "counter", "Groups that were appended.",
         n->committer.groups},
        {"trimtab_snapshots_total", "counter", "Snapshots that were written.",
         n->committer.snapshots},
        {"trimtab_store_syncs_total", "counter", "Times that the store waited for the disk.",
         n->committer.store.syncs},
        {"trimtab_store_bytes_total", "counter", "Bytes appended to the log.",
         n->committer.store.bytes},
        {"trimtab_scrub_rounds_total", "counter",
         "Times that the whole log was read and verified.", n->committer.scrub_rounds},
        {"trimtab_scrub_records_total", "counter", "Records that were read for that.",
         n->committer.scrub_records},
        {"trimtab_records_damaged", "gauge", "Records of the log that are damaged on disk.",
         n->committer.damaged},
        {"trimtab_items_damaged_total", "counter",
         "Leases and ephemeral items that were damaged on disk and count as ended.",
         n->committer.store.damaged_items},
        {"trimtab_records_lost_total", "counter",
         "Subscribers that proved to know revisions of this store beyond its log.", n->lost},
        {"trimtab_store_append_nanoseconds", "gauge", "Duration of the last append.",
         n->committer.store.append_last},
        {"trimtab_requests_rest_total", "counter", "Requests to REST.", l->n_rest},
        {"trimtab_requests_rpc_total", "counter", "Unary gRPC calls.", l->n_rpc},
        {"trimtab_requests_denied_total", "counter", "Requests without the right.",
         l->n_denied},
        {"trimtab_connections", "gauge", "Open connections.", l->http.connections},
        {"trimtab_connections_accepted_total", "counter", "Connections accepted.",
         l->http.accepted},
        {"trimtab_connections_refused_total", "counter", "Connections over the limit.",
         l->http.refused},
        {"trimtab_connections_evicted_total", "counter",
         "Idle connections that made room for new ones.", l->http.evicted},
        {"trimtab_protocol_errors_total", "counter", "Malformed requests and floods.",
         l->http.protocol_errors},
        {"trimtab_timeouts_total", "counter", "Slow or dead peers.", l->http.timeouts},
        {"trimtab_unsent_bytes", "gauge",
         "Bytes of answers that wait for their clients to read.", l->http.unsent},
        {"trimtab_request_bytes", "gauge",
         "Bytes of requests that are still coming, or not answered.", l->http.held},
        {"trimtab_requests_unheld_total", "counter",
         "Large requests that were refused for want of room.", l->http.unheld},
        {"trimtab_requests_overdrawn_total", "counter",
         "Requests of connections that had too many of them waiting.", l->http.overdrawn},
        {"trimtab_connections_shed_total", "counter",
         "Connections that held most of too many of them, and went.", l->http.shed},
        {"trimtab_loop_writes_total", "counter", "Write calls of the loop.", l->n_writes},
        {"trimtab_loop_write_bytes_total", "counter", "Bytes that they wrote.", l->write_bytes},
        {"trimtab_lanes", "gauge", "Event loops that serve connections.", n_lanes},
        {"trimtab_resident_bytes", "gauge", "Resident memory of the process.",
         resident_bytes()},
        {"trimtab_start_seconds", "gauge", "When the server started, since 1970.",
         (uint64_t)(n->started_ms / 1000)},
    };

    for (size_t i = 0; i < ARRAY_LEN(metrics); i++)
        put(out, &metrics[i]);
    put_states(out, &n->counts);
    put_turns(out, &l->turns);
}

static void answer(struct errand *e)
{
    struct gathering *g = CONTAINER_OF(e, struct gathering, errand);
    owned(buf) struct buf out = BUF_NULL(1 * MIB);
    struct rest *r = g->rest;

    put_all(&out, &g->hub, &g->lanes, r->front->all->n);
    answer_text(r, 200, "text/plain; version=0.0.4", buf_str(&out));
}

void metrics_answer(struct rest *r)
{
    struct gathering *g = ARENA_NEW(&r->arena, struct gathering);
    struct err err = ERR_NULL;

    if (!g) {
        rest_fail_with(r, ERR_NOMEM, &err);
        return;
    }
    g->rest = r;
    g->errand.run = visit_hub;
    g->errand.done = answer;
    errand_send(&g->errand, r->front->lane->hub, r->front->lane->loop);
}

/*
 * Metrics in the text format of Prometheus: one table of names, help and values.
 */
#include "server/edge/metrics.h"

#include "base/file.h"

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

static void put_states(struct buf *out, const struct hub *hub)
{
    struct moment at = hub_moment(hub);
    struct roster_counts n;

    roster_count(&hub->roster, &at, &n);
    buf_put_c(out, "# HELP trimtab_instances Known instances by what they have proved.\n"
                   "# TYPE trimtab_instances gauge\n");
    for (int i = 0; i < PRESENCE_STATES; i++)
        buf_printf(out, "trimtab_instances{state=\"%s\"} %" PRIu64 "\n",
                   presence_state_name((enum presence_state)i), n.states[i]);
    put(out, &(struct metric){"trimtab_instances_failing", "gauge",
                              "Connected instances that report a failing health.", n.failing});
}

void metrics_answer(struct rest *r)
{
    const struct front *front = r->front;
    const struct lane *lane = front->lane;
    const struct hub *hub = lane->hub;
    struct committer_stats c = committer_stats(hub->committer);
    struct http_stats h = http_server_stats(lane->http);
    const struct metric metrics[] = {
        {"trimtab_revision", "gauge", "Newest revision that is served.", hub->state->revision},
        {"trimtab_resources", "gauge", "Resources that exist.", hub->state->n_resources},
        {"trimtab_content_bytes", "gauge", "Bytes of their contents.", hub->state->content_bytes},
        {"trimtab_subscriptions", "gauge", "Instances that are connected.", hub->roster.n_connected},
        {"trimtab_presence_lag_seconds", "gauge", "How long the oldest unwritten record of an instance waits.",
         keeper_lag(front->keeper, clock_now()) / NSEC_PER_S},
        {"trimtab_presence_kept_total", "counter", "Records of instances that were written.",
         front->keeper->n_written},
        {"trimtab_presence_revision", "gauge", "Revision up to which the instances' records are complete.",
         hub->roster.complete},
        {"trimtab_commits_total", "counter", "Commits since the start.", c.commits},
        {"trimtab_commits_refused_total", "counter", "Commits that were refused.", c.refused},
        {"trimtab_commit_groups_total", "counter", "Groups that were appended.", c.groups},
        {"trimtab_snapshots_total", "counter", "Snapshots that were written.", c.snapshots},
        {"trimtab_store_syncs_total", "counter", "Times that the store waited for the disk.", c.store.syncs},
        {"trimtab_store_bytes_total", "counter", "Bytes appended to the log.", c.store.bytes},
        {"trimtab_scrub_rounds_total", "counter", "Times that the whole log was read and verified.",
         c.scrub_rounds},
        {"trimtab_scrub_records_total", "counter", "Records that were read for that.",
         c.scrub_records},
        {"trimtab_records_damaged", "gauge", "Records of the log that are damaged on disk.",
         c.damaged},
        {"trimtab_items_damaged_total", "counter",
         "Leases and ephemeral items that were damaged on disk and count as ended.",
         c.store.damaged_items},
        {"trimtab_records_lost_total", "counter",
         "Subscribers that proved to know revisions of this store beyond its log.", hub->n_lost},
        {"trimtab_store_append_nanoseconds", "gauge", "Duration of the last append.", c.store.append_last},
        {"trimtab_requests_rest_total", "counter", "Requests to REST.", front->n_rest},
        {"trimtab_requests_rpc_total", "counter", "Unary gRPC calls.", front->n_rpc},
        {"trimtab_requests_denied_total", "counter", "Requests without the right.", lane->n_denied},
        {"trimtab_connections", "gauge", "Open connections.", h.connections},
        {"trimtab_connections_accepted_total", "counter", "Connections accepted.", h.accepted},
        {"trimtab_connections_refused_total", "counter", "Connections over the limit.", h.refused},
        {"trimtab_connections_evicted_total", "counter", "Idle connections that made room for new ones.",
         h.evicted},
        {"trimtab_protocol_errors_total", "counter", "Malformed requests and floods.", h.protocol_errors},
        {"trimtab_timeouts_total", "counter", "Slow or dead peers.", h.timeouts},
        {"trimtab_loop_writes_total", "counter", "Write calls of the loop.", lane->loop->n_writes},
        {"trimtab_loop_write_bytes_total", "counter", "Bytes that they wrote.", lane->loop->write_bytes},
        {"trimtab_resident_bytes", "gauge", "Resident memory of the process.", resident_bytes()},
        {"trimtab_start_seconds", "gauge", "When the server started, since 1970.",
         (uint64_t)(hub->started_ms / 1000)},
    };
    owned(buf) struct buf out = BUF_NULL(1 * MIB);

    for (size_t i = 0; i < ARRAY_LEN(metrics); i++)
        put(&out, &metrics[i]);
    put_states(&out, hub);
    (void)exchange_respond_text(r->x, 200, "text/plain; version=0.0.4", buf_str(&out));
    rest_free(r);
}

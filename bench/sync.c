/*
 * Cold sync: one subscriber that has nothing gets everything, hashes every content and proves the digest, with the code
 * that agent and SDK use.
 *
 *   bench_sync HOST:PORT TOKEN NAMESPACE REPS
 */
#include "base/clock.h"
#include "sync/link.h"

#include <stdio.h>
#include <stdlib.h>

enum { REPS_MAX = 1000 };

static struct {
    struct loop loop;
    struct sync *sync;
    struct sync_link *link;
    uint64_t items, bytes;
    bool done;
} b;

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    (void)ctx;
    sync_link_send(b.link, frame);
}

static int op_store(void *ctx, const struct sync_batch *batch, struct err *err)
{
    (void)ctx;
    (void)err;
    b.items = batch->n;
    b.bytes = 0;
    for (size_t i = 0; i < batch->n; i++)
        b.bytes += batch->changes[i].item ? batch->changes[i].item->content.len : 0;
    return 0;
}

static void op_apply(void *ctx, const struct sync_batch *batch)
{
    (void)ctx;
    ASSERT(!sync_applied(b.sync, batch->cursor.revision, batch->cursor.digest, NULL, 0));
    b.done = true;
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    (void)ctx;
    sync_link_reconnect(b.link, after_ms, reason);
}

static const struct sync_ops ops = {
    .send = op_send, .store = op_store, .apply = op_apply, .reconnect = op_reconnect};

static double once(const char *address, const char *token, char *space)
{
    const char *addresses[] = {address};
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    struct sync_opts opts = {
        .instance = &instance, .scopes = scopes, .n_scopes = 1, .ops = &ops};
    struct sync_link_opts link = {
        .loop = &b.loop, .channel = {.addresses = addresses, .n_addresses = 1, .token = token}};
    nsec_t begin = clock_now();
    double ms;

    scope.namespaces = &space;
    scope.n_namespaces = 1;
    b.done = false;
    b.sync = sync_new(&opts);
    link.sync = b.sync;
    if (!b.sync || loop_open(&b.loop, NULL) || sync_link_open(&link, &b.link, NULL))
        exit(1);
    while (!b.done)
        loop_turn(&b.loop, LOOP_WAIT);
    ms = (double)(clock_now() - begin) / 1e6;
    sync_link_close(b.link, NULL, NULL);
    loop_close(&b.loop);
    b.sync = sync_free(b.sync);
    return ms;
}

static int by_double(const void *a, const void *c)
{
    double x = *(const double *)a, y = *(const double *)c;

    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    double rates[REPS_MAX];
    uint64_t reps = 0;

    if (argc != 5 || !str_u64(str_c(argv[4]), &reps) || !reps)
        return 2;
    for (uint64_t i = 0; i < reps && i < REPS_MAX; i++) {
        double ms = once(argv[1], argv[2], argv[3]);

        rates[i] = (double)b.bytes / 1e3 / ms;
    }
    reps = MIN(reps, REPS_MAX);
    qsort(rates, reps, sizeof(*rates), by_double);
    printf("trimtab\t%.0f\t%.0f\t%.0f\n", rates[reps / 2], rates[0], rates[reps - 1]);
    return 0;
}

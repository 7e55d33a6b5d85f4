/*
 * Attempts without a token or a right, in the log. See denial.h.
 */
#include "server/edge/denial.h"

#include "base/log.h"

enum { WRITTEN_PER_SECOND = 10, PATH_SHOWN_MAX = 200 };

static bool is_denial(const struct err *err)
{
    return err->code == ERR_DENIED || err->code == ERR_UNAUTHENTICATED;
}

void denial_tick(struct lane *lane)
{
    struct denials *d = &lane->denials;

    if (loop_now(lane->loop) < d->since + NSEC_PER_S)
        return;
    if (d->n_unwritten)
        LOG(WARN, "denied_more", LOG_U64("requests", d->n_unwritten));
    *d = (struct denials){.since = loop_now(lane->loop)};
}

void denial_note(struct lane *lane, const struct exchange *x, const struct err *err)
{
    struct denials *d = &lane->denials;

    if (!is_denial(err))
        return;
    lane->n_denied++;
    denial_tick(lane);
    if (d->n_written == WRITTEN_PER_SECOND) {
        d->n_unwritten++;
        return;
    }
    d->n_written++;
    if (x) /* NULL: the peer has gone */
        LOG(WARN, "denied", LOG_STR("peer", exchange_peer(x)),
            LOG_STR("method", exchange_method(x)),
            LOG_STR("path", str_part(exchange_path(x), 0, PATH_SHOWN_MAX)),
            LOG_C("error", err->text));
}

void denial_fail_call(struct lane *lane, struct grpc_call *call, const struct err *err)
{
    denial_note(lane, grpc_exchange(call), err);
    grpc_fail_err(call, err);
}

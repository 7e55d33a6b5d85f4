/*
 * Head counts. See headcount.h.
 */
#include "presence/headcount.h"

void headcount_deinit(struct headcount *h)
{
    applied_deinit(&h->applied);
}

void headcount_begin(struct headcount *h, nsec_t now, uint64_t lost_ms)
{
    memset(h->counts, 0, sizeof(h->counts));
    h->example[0] = '\0';
    applied_begin(&h->applied, now, lost_ms ? lost_ms : UINT64_MAX);
}

static void count(struct headcount *h, enum target_state state, const char *why)
{
    h->counts[state]++;
    if ((state == TARGET_REFUSED || state == TARGET_FAILING || state == TARGET_LOST) &&
        !*h->example)
        text_format(h->example, sizeof(h->example), "%s", why);
}

int headcount_take(struct headcount *h, const struct target_look *look,
                   enum target_state *ret_state)
{
    struct str id = str_c(presence_id(look->presence));
    char why[TARGET_WHY_MAX];
    enum target_state state = target_state(look, why);
    bool has_left = applied_find(&h->applied, id) == APPLIED_NEVER && target_left_applied(look);

    if ((target_has_applied(state) || has_left) && applied_here(&h->applied, id) == ERR_NOMEM)
        return ERR_NOMEM;
    if (target_is_gone(look, state))
        (void)applied_gone(&h->applied, id);
    else if (!target_has_applied(state))
        applied_back(&h->applied, id);
    *ret_state = target_recall(look, &h->applied, state, why);
    count(h, *ret_state, why);
    return 0;
}

/* applied_rest has one context for both of its functions. */
struct rest {
    struct headcount *heads;
    bool (*keeps)(void *ctx, struct str id);
    void *ctx;
};

static bool rest_keeps(void *ctx, struct str id)
{
    struct rest *r = ctx;

    return r->keeps(r->ctx, id);
}

static void rest_missed(void *ctx, struct str id, enum applied_is is)
{
    struct rest *r = ctx;
    char why[TARGET_WHY_MAX];

    text_format(why, sizeof(why), "%.*s: had applied it, and is not known any more",
                STR_ARG(id));
    count(r->heads, is == APPLIED_LOST ? TARGET_LOST : TARGET_AWAY, why);
}

void headcount_end(struct headcount *h, bool others_heard,
                   bool (*keeps)(void *ctx, struct str id), void *ctx)
{
    struct rest rest = {h, keeps, ctx};

    applied_end(&h->applied, others_heard,
                &(struct applied_rest){rest_keeps, rest_missed, &rest});
}

struct tally headcount_tally(const struct headcount *h)
{
    return (struct tally){.refused = h->counts[TARGET_REFUSED],
                          .failing = h->counts[TARGET_FAILING],
                          .applied = h->counts[TARGET_APPLIED],
                          .unjudged = h->counts[TARGET_UNJUDGED],
                          .unproven = h->counts[TARGET_UNPROVEN],
                          .silent = h->counts[TARGET_SILENT],
                          .pending = h->counts[TARGET_PENDING],
                          .away = h->counts[TARGET_AWAY],
                          .lost = h->counts[TARGET_LOST],
                          .hidden = h->counts[TARGET_HIDDEN],
                          .example = str_c(h->example)};
}

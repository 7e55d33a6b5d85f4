/*
 * Rollouts in the feed. A session that a rollout takes differs from its scopes; what that comes to in digest and count is
 * computed when it says hello and when something that may change it is published. Who is in no rollout before and after
 * costs one look at the targets and not a byte (I4).
 */
#include "feed/internal.h"

void session_gray(struct feed_session *s)
{
    struct gray g = {.digest = DIGEST_NULL};

    for (size_t i = 0; i < s->n_members && s->subject; i++) {
        struct viewing v = {s->members[i].scope->scope, s->feed->state, s->subject};
        struct digest digest;
        int64_t count;

        if (!scope_gray(&v, &digest, &count))
            continue;
        g.is_in = true;
        g.digest = digest_add(g.digest, digest);
        g.count += count;
    }
    s->gray = g;
    if (g.is_in) {
        uint64_t count;

        s->gray.last = session_digest(s, &count);
    }
}

/* Whether a rollout that moved has this session before or after, with something that it wants. */
static bool is_moved(const struct feed_session *s, const struct rollout *before,
                     const struct rollout *after)
{
    if (!rollout_takes(after, s->subject) && !(before && rollout_takes(before, s->subject)))
        return false;
    for (size_t i = 0; i < after->n_candidates; i++)
        if (feed_session_wants(s, key_name(after->candidates[i]->key)))
            return true;
    return false;
}

static bool is_concerned(const struct feed_session *s, const struct state *before)
{
    struct tree_walk walk;
    const struct rollout *r;

    if (!s->subject)
        return false;
    if (s->gray.is_in)
        return true;
    tree_walk_from(&walk, s->feed->state->rollouts, STR(""), before->revision);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (is_moved(s, state_rollout(before, r->id), r))
            return true;
    return false;
}

/* Memory failed while a scope was brought up to date: nothing can be told by its digest. */
static bool is_uncertain(const struct feed_session *s)
{
    for (size_t i = 0; i < s->n_members; i++)
        if (s->members[i].scope->digest_is_stale)
            return true;
    return false;
}

/* What is owed is found when a batch is cut: here it is only told that something is. */
static void publish_to(struct feed_session *s, const struct state *before)
{
    bool was_in = s->gray.is_in;
    struct digest last = s->gray.last;
    uint64_t count;

    session_gray(s);
    if (was_in && !is_uncertain(s) && digest_eq(session_digest(s, &count), last))
        return; /* confirmed, or something that it does not see */
    if (s->status.phase == FEED_STEADY && !s->pending && s->status.changed <= s->status.sent)
        s->status.sent = MAX(s->status.sent, before->revision); /* owed nothing until now */
    s->pending = shared_unref(s->pending); /* superseded before it was pulled */
    s->status.changed = s->feed->state->revision;
    s->feed->opts.ready(s->ctx);
}

void feed_publish_gray(struct feed *f, const struct state *before)
{
    LIST_EACH (&f->bookmarks, l) {
        struct feed_session *s = LINK_OF(l, struct feed_session, due_link);

        if (is_concerned(s, before))
            publish_to(s, before);
    }
}

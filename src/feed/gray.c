/*
 * Rollouts in the feed. A session that a rollout takes differs from its class; what that comes to in digest and count is
 * computed when it says hello and when something that may change it is published. Who is in no rollout before and after
 * costs one look at the targets and not a byte (I4).
 */
#include "feed/internal.h"

static void gray_scopes(const struct feed_session *s, struct gray *g)
{
    for (size_t i = 0; i < s->class->n_scopes; i++) {
        struct viewing v = {s->class->scopes[i], s->feed->state, s->subject};
        struct digest digest;
        int64_t count;

        if (!scope_gray(&v, &digest, &count))
            continue;
        g->is_in = true;
        g->digest = digest_add(g->digest, digest);
        g->count += count;
    }
}

/* Without memory it counts as being in one, until a batch is cut. */
static void gray_closure(const struct feed_session *s, struct gray *g)
{
    struct closure_view view = feed_class_view(s->class, s->feed->state, s->subject);
    const struct closure *nobody = &s->class->closure;
    bool is_in = false;

    g->closure = closure_ref(nobody);
    g->is_stale = s->class->closure_is_stale || closure_lens(&g->closure, &view, &is_in);
    g->is_in |= is_in || g->is_stale;
    g->digest = digest_add(g->digest, digest_sub(g->closure.digest, nobody->digest));
    g->count += closure_adds(&g->closure) - closure_adds(nobody);
}

void session_ungray(struct feed_session *s)
{
    closure_deinit(&s->gray.closure);
    s->gray = (struct gray){.digest = DIGEST_NULL};
}

bool session_is_uncertain(const struct feed_session *s)
{
    return s->gray.is_stale || feed_class_is_stale(s->class);
}

void session_gray(struct feed_session *s)
{
    struct gray g = {.digest = DIGEST_NULL};
    uint64_t count;

    session_ungray(s);
    if (!s->subject)
        return;
    gray_scopes(s, &g);
    gray_closure(s, &g);
    if (!g.is_in) {
        closure_deinit(&g.closure);
        return;
    }
    s->gray = g;
    s->gray.last = session_digest(s, &count);
    s->gray.has_last = !session_is_uncertain(s);
}

bool session_was_gray(const struct feed_session *s, uint64_t since)
{
    const struct state *state = s->feed->state;
    struct tree_walk walk;
    const struct rollout *r;

    if (!s->subject)
        return false;
    tree_walk_from(&walk, state->rollouts, STR(""), since);
    if (!state->n_live && !tree_walk_peek(&walk))
        return false;
    tree_walk_from(&walk, state->rollouts, STR(""), 0);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (rollout_takes(r, s->subject) ||
            (r->node.revision > since && rollout_took(r, s->subject, since)))
            return true;
    return false;
}

/* Whether a rollout that moved has this session before or after, with something that it wants. */
static bool is_moved(const struct feed_session *s, const struct rollout *before,
                     const struct rollout *after)
{
    if (!rollout_takes(after, s->subject) && !(before && rollout_takes(before, s->subject)))
        return false;
    for (size_t i = 0; i < after->n_candidates; i++)
        if (session_wants(s, key_name(after->candidates[i]->key)))
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

/* What is owed is found when a batch is cut: here it is only told that something is. */
static void publish_to(struct feed_session *s, const struct state *before)
{
    bool was_known = s->gray.is_in && s->gray.has_last;
    struct digest last = s->gray.last, withheld = session_closure(s)->withheld_names;
    uint64_t count;

    session_gray(s);
    if (was_known && !session_is_uncertain(s) && digest_eq(session_digest(s, &count), last) &&
        digest_eq(session_closure(s)->withheld_names, withheld)) {
        if (s->status.changed <= s->status.sent)
            session_withheld(s, session_closure(s));
        if (s->class->readable) /* its standing says what of stable is withheld */
            session_changed(s);
        return; /* confirmed, or something that it does not see */
    }
    if (s->status.phase == FEED_STEADY && !s->pending && s->status.changed <= s->status.sent)
        s->status.sent = MAX(s->status.sent, before->revision); /* owed nothing until now */
    s->pending = shared_unref(s->pending); /* superseded before it was pulled */
    s->status.changed = s->feed->state->revision;
    session_changed(s);
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

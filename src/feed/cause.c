/*
 * Causes (I13): why a subscriber has no more what it had. A name leaves a view because its resource was deleted, because a
 * rollout ended or does not take the subscriber any more, because the subscription changed, or because nothing refers to
 * it any more. All of these the state remembers: deleted resources and numbers that ended candidates took stay in it,
 * with the revision at which they went, through every snapshot. A state that has lost or never had what the subscriber
 * has, because the store is new, emptied or older, explains nothing.
 *
 * An explanation is newer than what it explains. What the subscriber has is of the revision that it names, but no newer
 * than the view that it proved to have in this store. Revisions of another store cannot be compared, but for one that this
 * log was restored from a copy of: up to the end of the copy they are the same.
 */
#include "feed/internal.h"

/* The newest revision of this store at which the subscriber's item can have been published. */
static uint64_t had_at(const struct feed_session *s, const struct inventory_entry *e)
{
    return s->proved ? MIN(s->proved, e->revision) : e->revision;
}

/* By its own deletion, or by one that a live rollout tries on this subscriber. */
static bool is_deleted(const struct feed_session *s, const struct state *state, struct str key,
                       uint64_t since)
{
    const struct version *v = state_newest(state, key);
    struct version *candidate;
    const struct rollout *r;

    if (v && v->deleted && v->revision > since)
        return true;
    r = s->subject ? state_carrier(state, key, &candidate) : NULL;
    return r && candidate->deleted && candidate->revision > since &&
           rollout_takes(r, s->subject);
}

/*
 * It had a candidate, which was taken back, or which a live rollout does not give it any more. Where a newer rollout carries the
 * resource, its candidate remembers when an older one ended: that some older one did explains nothing that is newer than its end.
 */
static bool is_taken_back(const struct state *state, struct str key, uint64_t since,
                          const struct sha256 *hash)
{
    const struct candidate *c = candidate_of(tree_find(state->candidates, key));

    return c && (c->ended > since || (c->version && sha256_eq(&c->version->item_hash, hash)));
}

/*
 * Revisions up to the end of the copy that a log was restored from are those of the store before. What is from later was
 * published in a history that the log does not have; so is what the subscriber holds already because of that.
 */
static bool is_newer_than_copy(const struct feed_session *s, const struct state *state,
                               const struct inventory_entry *e)
{
    return state->restored.revision && e->revision > state->restored.from_revision &&
           ((s->is_foreign && s->knows_copy) || (e->is_held && state->restored.deletes_newer));
}

static bool id_is_caused(const struct feed_session *s, const struct state *state,
                         struct str key, const struct inventory_entry *e)
{
    uint64_t since = had_at(s, e);

    if (is_newer_than_copy(s, state, e))
        return state->restored.deletes_newer;
    if (s->is_foreign && !s->knows_copy)
        return false;
    return is_deleted(s, state, key, since) || is_taken_back(state, key, since, &e->hash);
}

/* A subscriber that does not say what it has: any trace of the name in a layer will do. */
static bool has_trace(const struct feed_session *s, const struct state *state,
                      const struct scope *scope, struct str kind, struct str name)
{
    for (size_t i = 0; i < scope->n_layers; i++) {
        owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);

        name_put_key((struct name){scope->layers[i], kind, name}, &key);
        if (state_number(state, buf_str(&key)))
            return !s->is_foreign;
    }
    return s->is_foreign && s->knows_copy && state->restored.deletes_newer;
}

bool entry_is_caused(const struct feed_session *s, const struct state *state,
                     const struct scope *scope, const struct inventory_entry *e)
{
    struct str tail = entry_tail(e), space = entry_space(e);
    size_t nul = str_index(tail, '\0'), layer;
    struct str kind = str_part(tail, 0, nul), name = str_from(tail, nul + 1);
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);

    if (!scope) /* what is referred to: it is there, but nothing refers to it any more */
        return state_find(state, tail) || id_is_caused(s, state, tail, e);
    if (!e->revision || !space.len)
        return has_trace(s, state, scope, kind, name);
    if (!scope_has_layer(scope, space, &layer) || !scope_selects(scope, kind, name))
        return true; /* another subscription than it was received for */
    name_put_key((struct name){space, kind, name}, &key);
    return !buf_status(&key) && id_is_caused(s, state, buf_str(&key), e);
}

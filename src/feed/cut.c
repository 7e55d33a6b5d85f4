/*
 * Cutting a batch: from one pinned state, scope by scope, frame by frame, only as fast as it is pulled.
 *
 *   FULL       every item; what the subscriber has besides is gone at the end of the batch
 *   RESUME     what was touched since a revision (since 0: nothing existed, so everything)
 *   INVENTORY  every item whose hash is not the subscriber's, and a drop for every name that has no item
 */
#include "feed/internal.h"

#include "proto/convert.h"

enum { FRAME_BYTES = 256 * 1024, DROPS_BYTES_MAX = 64 * 1024, PINNED_BYTES_MAX = 16 << 20 };

void cut_drop(struct feed_session *s)
{
    if (!s->cut)
        return;
    link_remove(&s->cutting_link);
    (void)mem_free(s->cut->walk);
    (void)version_unref(s->cut->in_parts);
    (void)state_unref(s->cut->state);
    s->cut = mem_free(s->cut);
    s->inventory = inventory_free(s->inventory);
}

static int refresh_scopes(struct feed_session *s)
{
    for (size_t i = 0; i < s->n_members; i++)
        if (feed_scope_refresh(s->feed, s->members[i].scope))
            return ERR_NOMEM;
    return 0;
}

int cut_begin(struct feed_session *s, Trimtab__V1__Mode mode, uint64_t since)
{
    struct cut *c = refresh_scopes(s) ? NULL : NEW(struct cut);

    if (!c)
        return ERR_NOMEM;
    s->pending = shared_unref(s->pending);
    c->state = state_ref(s->feed->state);
    c->mode = mode;
    c->since = mode == TRIMTAB__V1__MODE__RESUME ? since : 0;
    c->digest = session_digest(s, &c->count);
    c->superseded = s->feed->superseded;
    s->cut = c;
    link_before(&s->feed->cutting, &s->cutting_link);
    s->status.phase = FEED_CUTTING;
    return 0;
}

/* The next step of the current scope; false at its end. */
static int next_step(struct feed_session *s, struct scope_step *ret_step, bool *ret_found)
{
    struct cut *c = s->cut;
    const struct scope *scope = s->members[c->scope].scope->scope;

    if (c->has_step) {
        c->has_step = false;
        *ret_step = c->step;
        *ret_found = true;
        return 0;
    }
    if (!c->walk) {
        c->walk = mem_alloc(scope_walk_size(scope));
        if (!c->walk)
            return ERR_NOMEM;
        scope_walk_init(c->walk, &(struct viewing){scope, c->state, s->subject}, c->since);
        c->walk->is_thorough = c->is_again;
    }
    *ret_found = scope_walk_next(c->walk, ret_step);
    if (*ret_found)
        c->step = *ret_step;
    return 0;
}

/* In an inventory, an item that the subscriber has needs not be sent. */
static bool is_held(struct feed_session *s, const struct scope *scope,
                    const struct scope_step *step)
{
    struct inventory_entry *e;

    if (s->cut->mode != TRIMTAB__V1__MODE__INVENTORY || !s->inventory || s->cut->is_again)
        return false; /* what comes again may replace what came in this batch */
    e = inventory_find(s->inventory, scope->name, step->key);
    if (!e)
        return false;
    e->seen = true;
    return sha256_eq(&e->hash, &step->item->item_hash);
}

struct filling {
    struct version *puts[FRAME_PUTS_MAX];
    size_t n_puts, bytes;
    struct buf drops;
};

static bool is_full(const struct filling *f, const struct version *next)
{
    if (f->n_puts == FRAME_PUTS_MAX || f->drops.len >= DROPS_BYTES_MAX)
        return true;
    return next && f->n_puts && f->bytes + next->item.len > FRAME_BYTES;
}

static bool needs_parts(const struct cut *c, const struct version *v)
{
    return v->content.len && v->content.data == v->item.data + v->item.len && c->in_parts != v;
}

/* Takes steps of the current scope until a frame is full, the scope ends, or a content must go first in parts. */
static int fill(struct feed_session *s, struct filling *f, bool *ret_scope_ended)
{
    struct cut *c = s->cut;
    const struct scope *scope = s->members[c->scope].scope->scope;
    struct scope_step step;
    bool found;

    *ret_scope_ended = false;
    for (;;) {
        int r = next_step(s, &step, &found);

        if (r)
            return r;
        if (!found) {
            *ret_scope_ended = true;
            return buf_status(&f->drops);
        }
        if (!step.item) {
            encode_drop(&f->drops, step.key);
            s->status.drops_sent++;
        } else if (is_held(s, scope, &step)) {
            continue; /* no byte of it is sent, parts neither */
        } else if (is_full(f, step.item) || (needs_parts(c, step.item) && f->n_puts)) {
            c->has_step = true;
            return buf_status(&f->drops);
        } else if (needs_parts(c, step.item)) {
            c->has_step = true;
            (void)version_unref(c->in_parts);
            c->in_parts = version_ref(step.item);
            c->part_at = 0;
            return buf_status(&f->drops);
        } else {
            f->puts[f->n_puts++] = step.item;
            f->bytes += step.item->item.len;
            s->status.items_sent++;
        }
        if (is_full(f, NULL))
            return buf_status(&f->drops);
    }
}

/* A name without any trace in the state cannot have been deleted by a commit, or by the end of a rollout. */
static bool is_uncaused(const struct cut *c, const struct scope *scope, struct str tail)
{
    size_t nul = str_index(tail, '\0');

    for (size_t i = 0; i < scope->n_layers; i++) {
        owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);

        name_put_key(
            (struct name){scope->layers[i], str_part(tail, 0, nul), str_from(tail, nul + 1)},
            &key);
        if (state_number(c->state, buf_str(&key))) /* a candidate that was taken back, too */
            return false;
    }
    return true;
}

/* Drops of what the subscriber has and no item is left for, of the current scope. */
static void fill_inventory_drops(struct feed_session *s, struct filling *f)
{
    struct cut *c = s->cut;
    const struct scope *scope = s->members[c->scope].scope->scope;
    struct map_slot *slot;

    while (!is_full(f, NULL) && (slot = map_each(&s->inventory->entries, &c->drops_at))) {
        struct inventory_entry *e = slot->value;
        struct str tail = str_of(e->key + e->scope_len + 1, e->len - e->scope_len - 1);

        if (e->seen || !str_eq(str_of(e->key, e->scope_len), scope->name))
            continue;
        e->seen = true;
        encode_drop(&f->drops, tail);
        s->status.drops_sent++;
        c->uncaused += is_uncaused(c, scope, tail);
    }
}

static void next_scope(struct feed_session *s)
{
    struct cut *c = s->cut;

    c->walk = mem_free(c->walk);
    c->step = (struct scope_step){.item = NULL};
    c->drops_at = 0;
    c->scope++;
    if (c->scope == s->n_members && c->renewed_since && !c->is_again) {
        c->is_again = true;
        c->since = c->renewed_since;
        c->scope = 0;
    }
}

static void make_end(const struct feed_session *s, unsigned char digest[DIGEST_BYTES],
                     Trimtab__V1__End *end)
{
    const struct cut *c = s->cut;

    trimtab__v1__end__init(end);
    end->revision = c->state->revision;
    end->mode = c->mode;
    end->count = c->count;
    end->uncaused_drops = c->uncaused;
    digest_put(c->digest, digest);
    end->digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
}

static int pull_part(struct feed_session *s, struct feed_frame *ret_frame)
{
    struct cut *c = s->cut;
    int r = encode_part(c->in_parts, c->part_at, ret_frame);

    if (r)
        return r;
    c->part_at += ITEM_INLINE_MAX;
    return FEED_FRAME;
}

static bool is_sending_parts(const struct cut *c)
{
    return c->in_parts && c->has_step && c->step.item == c->in_parts &&
           c->part_at < c->in_parts->content.len;
}

/* Fills one frame, over the borders of empty scopes; *ret_ended when the batch has no more. */
static int fill_frame(struct feed_session *s, struct filling *f, size_t *ret_scope,
                      bool *ret_ended)
{
    struct cut *c = s->cut;
    bool scope_ended = false;

    *ret_ended = false;
    while (!f->n_puts && !f->drops.len && !is_sending_parts(c)) {
        int r;

        if (c->scope == s->n_members) {
            *ret_ended = true;
            return 0;
        }
        *ret_scope = c->scope;
        r = fill(s, f, &scope_ended);
        if (r)
            return r;
        if (scope_ended && c->mode == TRIMTAB__V1__MODE__INVENTORY && s->inventory &&
            !c->is_again)
            fill_inventory_drops(s, f);
        if (scope_ended && !is_full(f, NULL))
            next_scope(s);
    }
    *ret_ended = c->scope == s->n_members && !is_sending_parts(c);
    return buf_status(&f->drops);
}

int cut_pull(struct feed_session *s, nsec_t now, struct feed_frame *ret_frame)
{
    struct filling f = {.drops = BUF_NULL(DROPS_BYTES_MAX + 2 * ID_BYTES_MAX)};
    unsigned char digest[DIGEST_BYTES];
    Trimtab__V1__End end;
    size_t scope = 0;
    bool ended = false;
    int r;

    if (is_sending_parts(s->cut))
        return pull_part(s, ret_frame);
    r = fill_frame(s, &f, &scope, &ended);
    if (!r && !f.n_puts && !f.drops.len && is_sending_parts(s->cut)) {
        buf_deinit(&f.drops);
        return pull_part(s, ret_frame);
    }
    if (!r) {
        struct frame_parts parts = {.scope = s->members[scope].scope->scope->name,
                                    .puts = f.puts,
                                    .n_puts = f.n_puts,
                                    .drops = buf_str(&f.drops),
                                    .end = ended ? &end : NULL};

        make_end(s, digest, &end);
        r = encode_changes(&parts, ret_frame);
    }
    buf_deinit(&f.drops);
    if (r)
        return r;
    if (ended)
        session_end_cut(s, now);
    return FEED_FRAME;
}

/* ---- going on from a newer state ---- */

/* A walk over the newest state from where the old one stood: what was sent of the last name may come again. */
static struct scope_walk *renew_walk(struct feed_session *s)
{
    struct cut *c = s->cut;
    const struct scope *scope = s->members[c->scope].scope->scope;
    struct scope_walk *walk = mem_alloc(scope_walk_size(scope));

    if (walk) {
        scope_walk_init(walk, &(struct viewing){scope, s->feed->state, s->subject}, c->since);
        scope_walk_seek(walk, c->step.key);
    }
    return walk;
}

void cut_renew(struct feed_session *s)
{
    struct cut *c = s->cut;
    uint64_t max = s->feed->opts.pinned_max ? s->feed->opts.pinned_max : PINNED_BYTES_MAX;
    struct scope_walk *walk = NULL;

    if (s->feed->superseded - c->superseded <= max || is_sending_parts(c) || refresh_scopes(s))
        return; /* or it is tried again at the next publication */
    if (c->walk && c->step.key.data && !c->is_again) {
        walk = renew_walk(s);
        if (!walk)
            return;
    }
    (void)mem_free(c->walk);
    c->walk = walk;
    c->has_step = false;
    c->step = (struct scope_step){.item = NULL};
    if (!c->renewed_since)
        c->renewed_since = c->state->revision;
    if (c->is_again)
        c->scope = 0;
    (void)state_unref(c->state);
    c->state = state_ref(s->feed->state);
    c->superseded = s->feed->superseded;
    c->digest = session_digest(s, &c->count);
    s->status.renewals++;
}

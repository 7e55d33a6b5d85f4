/*
 * Cutting a batch: from one pinned state, scope by scope, frame by frame, only as fast as it is pulled. What the scopes
 * refer to goes first.
 *
 *   FULL       every item; what the subscriber has besides is gone at the end of the batch
 *   RESUME     what was touched since a revision (since 0: nothing existed, so everything)
 *   INVENTORY  every item whose hash is not the subscriber's, and a drop for every name that has no item; those that no
 *              recorded change explains are named (cause.c). Drops of a RESUME are made from recorded changes.
 *
 * Of what is referred to nobody keeps who had it when. A resume puts what may be news (closure_news, or what the class
 * has followed since), and, when anything may have left, names all that stays: the subscriber unbinds the rest.
 */
#include "feed/internal.h"

#include "proto/convert.h"

enum { FRAME_BYTES = 256 * 1024, DROPS_BYTES_MAX = 64 * 1024, PINNED_BYTES_MAX = 16 << 20 };

/* ---- what is referred to ---- */

static void referred_stand(struct cut_referred *c, struct referred *at)
{
    if (at)
        tree_item_ref(&at->node);
    if (c->at)
        tree_item_unref(&c->at->node);
    c->at = at;
    c->is_inclusive = false;
}

static void referred_drop(struct cut_referred *c)
{
    referred_stand(c, NULL);
    closure_deinit(&c->closure);
    c->news = tree_unref(c->news);
    c->gone = tree_unref(c->gone);
}

/* Whether the class has followed everything that this session's closure can have been since. */
static bool is_followed(const struct feed_session *s, uint64_t since)
{
    return !s->gray.is_in && s->class->born <= since && !session_was_gray(s, since);
}

/* Whether anything that the subscriber was told before may be referred to no more. */
static bool may_have_left(const struct feed_session *s, uint64_t since)
{
    if (s->feed->state->referring <= since) /* nothing has referred to anything in that time */
        return false;
    return s->class->left > since || !is_followed(s, since);
}

/* ---- what is withheld ---- */

/* Adds what is in one of two sets only: what a walk over what was touched need not find. False without memory. */
static bool note_flips(struct tree **flips, struct tree *one, struct tree *other)
{
    struct tree_walk walk;
    struct tree_item *item;

    tree_walk_from(&walk, one == other ? NULL : one, STR(""), 0);
    while ((item = tree_walk_next(&walk)))
        if (!tree_find(other, item->key) && !tree_find(*flips, item->key) &&
            !tree_put(flips, item)) /* empty then */
            return false;
    return true;
}

static bool note_all_flips(struct tree **flips, struct tree *one, struct tree *other)
{
    return note_flips(flips, one, other) && note_flips(flips, other, one);
}

/* The next of them in the current scope that the walk has not told; NULL at the end. */
static const struct tree_item *flip_after(struct cut *c)
{
    char first[2] = {(char)((c->scope - 1) >> 8), (char)(c->scope - 1)};
    struct tree_walk walk;
    const struct tree_item *item;

    tree_walk_from(&walk, c->flips, c->flip_at.data ? c->flip_at : str_of(first, 2), 0);
    while ((item = tree_walk_next(&walk)) && str_starts(item->key, str_of(first, 2)))
        if (!str_eq(item->key, c->flip_at) &&
            !scope_walk_touched(c->walk, str_from(item->key, 2)))
            return item;
    return NULL;
}

/* As it is in the state of the batch. */
static bool next_flip(struct feed_session *s, struct scope_step *ret_step)
{
    struct cut *c = s->cut;
    struct viewing v = {s->class->scopes[c->scope - 1], c->state, s->subject};
    const struct tree_item *item = flip_after(c);
    struct name name;

    if (!item)
        return false;
    c->flip_at = item->key;
    name = key_name(str_from(item->key, 2));
    c->step = *ret_step =
        (struct scope_step){scope_find(&v, name.kind, name.name),
                            str_from(item->key, 2 + name.space.len + 1)};
    return true;
}

/* A batch that walks over everything tells them anyway, until it goes on from a newer state. */
static bool tells_flips(const struct cut *c)
{
    return c->flips && (c->mode == TRIMTAB__V1__MODE__RESUME || c->is_again);
}

/* What of it, in the feed's state, is to be put for who has what was there `since`; 0: who has nothing. */
static int referred_news(const struct feed_session *s, uint64_t since, struct tree *flips,
                         struct tree **ret)
{
    const struct closure *c = session_closure(s);
    struct closure_view view = feed_class_view(s->class, s->feed->state, s->subject);

    if (since && is_followed(s, since))
        return closure_changed(c, since, ret);
    return closure_news(c, &view, &(struct closure_past){since, false, flips}, ret);
}

static bool is_member(const struct closure *c, struct str key)
{
    const struct referred *r = closure_find(c, key);

    return r && r->version;
}

/* The next one of a set, in the order of keys; NULL at its end. */
static struct referred *referred_next(struct cut_referred *c, struct tree *set)
{
    struct closure members = {.entries = set};
    struct referred *r =
        closure_next(&members, c->at ? c->at->node.key : STR(""), c->is_inclusive || !c->at);

    if (r)
        referred_stand(c, r);
    return r;
}

/* ---- beginning and ending ---- */

void cut_drop(struct feed_session *s)
{
    if (!s->cut)
        return;
    link_remove(&s->cutting_link);
    referred_drop(&s->cut->referred);
    (void)mem_free(s->cut->walk);
    (void)tree_unref(s->cut->flips);
    (void)version_unref(s->cut->in_parts);
    (void)state_unref(s->cut->state);
    s->cut = mem_free(s->cut);
    s->inventory = inventory_free(s->inventory);
}

static int refresh(struct feed_session *s)
{
    int r = feed_class_refresh(s->feed, s->class);

    if (!r && s->gray.is_stale)
        session_gray(s);
    return s->gray.is_stale ? ERR_NOMEM : r;
}

static size_t n_scopes(const struct feed_session *s)
{
    return 1 + s->class->n_scopes; /* the first is what they refer to */
}

/* NULL for what is referred to. */
static const struct scope *scope_at(const struct feed_session *s, size_t i)
{
    return i ? s->class->scopes[i - 1] : NULL;
}

static struct str scope_name(const struct feed_session *s, size_t i)
{
    return i ? s->class->scopes[i - 1]->name : SCOPE_REFERRED;
}

int cut_begin(struct feed_session *s, Trimtab__V1__Mode mode, uint64_t since)
{
    struct cut *c;

    if (refresh(s))
        return ERR_NOMEM;
    c = NEW(struct cut);
    if (!c)
        return ERR_NOMEM;
    if (mode == TRIMTAB__V1__MODE__RESUME &&
        !note_all_flips(&c->flips, s->withheld_sent, session_closure(s)->withheld)) {
        (void)mem_free(c);
        return ERR_NOMEM;
    }
    if (referred_news(s, mode == TRIMTAB__V1__MODE__RESUME ? since : 0, c->flips,
                      &c->referred.news)) {
        (void)tree_unref(c->flips);
        (void)mem_free(c);
        return ERR_NOMEM;
    }
    c->referred.closure = closure_ref(session_closure(s));
    s->pending = shared_unref(s->pending);
    c->state = state_ref(s->feed->state);
    c->mode = mode;
    c->since = mode == TRIMTAB__V1__MODE__RESUME ? since : 0;
    c->referred.is_complete = c->since && may_have_left(s, c->since);
    c->referred.stage = c->referred.is_complete ? CUT_COMPLETE : CUT_NEWS;
    c->digest = session_digest(s, &c->count);
    c->superseded = s->feed->superseded;
    s->cut = c;
    link_before(&s->feed->cutting, &s->cutting_link);
    s->status.phase = FEED_CUTTING;
    return 0;
}

static void next_referred(struct cut *c, struct scope_step *ret_step, bool *ret_found)
{
    struct referred *r = referred_next(&c->referred, c->referred.news);

    *ret_found = r != NULL;
    if (r)
        c->step = *ret_step = (struct scope_step){r->version, r->node.key};
}

/* The next step of the current scope; false at its end. */
static int next_step(struct feed_session *s, struct scope_step *ret_step, bool *ret_found)
{
    struct cut *c = s->cut;
    const struct scope *scope = scope_at(s, c->scope);

    if (c->has_step) {
        c->has_step = false;
        *ret_step = c->step;
        *ret_found = true;
        return 0;
    }
    if (!scope) {
        next_referred(c, ret_step, ret_found);
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
    else if (tells_flips(c))
        *ret_found = next_flip(s, ret_step);
    return 0;
}

/* In an inventory, an item that the subscriber has needs not be sent. */
static bool is_held(struct feed_session *s, const struct scope_step *step)
{
    struct inventory_entry *e;

    if (s->cut->mode != TRIMTAB__V1__MODE__INVENTORY || !s->inventory || s->cut->is_again)
        return false; /* what comes again may replace what came in this batch */
    e = inventory_find(s->inventory, scope_name(s, s->cut->scope), step->key);
    if (!e)
        return false;
    e->seen = e->is_ours = true;
    return !e->is_held && sha256_eq(&e->hash, &step->item->item_hash);
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

static void put_drop(struct feed_session *s, struct filling *f, struct str tail, bool is_caused)
{
    encode_drop(&f->drops, tail);
    s->status.drops_sent++;
    if (is_caused)
        return;
    encode_uncaused(&f->drops, tail);
    s->cut->uncaused++;
}

/* Of what the subscriber has and no item is there for. Of what it holds already only what has a cause by now. */
static void drop_entry(struct feed_session *s, struct filling *f,
                       const struct inventory_entry *e)
{
    struct cut *c = s->cut;
    bool is_caused = e->is_ours || entry_is_caused(s, c->state, scope_at(s, c->scope), e);

    if (is_caused || !e->is_held)
        put_drop(s, f, entry_tail(e), is_caused);
}

/*
 * A name that was touched and has no item. For who resumes that is a recorded change; who is compared may have had
 * something else there.
 */
static void fill_drop(struct feed_session *s, struct filling *f, struct str tail)
{
    const struct inventory_entry *e =
        s->cut->mode == TRIMTAB__V1__MODE__INVENTORY && s->inventory
            ? inventory_find(s->inventory, scope_name(s, s->cut->scope), tail)
            : NULL;

    if (e)
        drop_entry(s, f, e);
    else
        put_drop(s, f, tail, true);
}

/* Whether the item of a step is withheld: there, but nothing that the subscriber is to see. */
static bool is_withheld(const struct feed_session *s, const struct scope_step *step)
{
    return s->cut->scope > 0 && step->item &&
           closure_withholds(&s->cut->referred.closure, s->cut->scope - 1, step->item->key);
}

/* Who has nothing needs no drop of it; who is compared gets one for what it has by that name, in whichever layer. */
static void fill_withheld(struct feed_session *s, struct filling *f, struct str tail)
{
    struct cut *c = s->cut;
    struct inventory_entry *e = NULL;

    if (c->mode == TRIMTAB__V1__MODE__FULL && !c->is_again)
        return;
    if (c->mode == TRIMTAB__V1__MODE__INVENTORY && s->inventory && !c->is_again) {
        e = inventory_find(s->inventory, scope_name(s, c->scope), tail);
        if (!e)
            return;
        e->seen = true;
    }
    put_drop(s, f, tail, true);
    encode_withheld(&f->drops, tail);
}

/* Takes steps of the current scope until a frame is full, the scope ends, or a content must go first in parts. */
static int fill(struct feed_session *s, struct filling *f, bool *ret_scope_ended)
{
    struct cut *c = s->cut;
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
            fill_drop(s, f, step.key);
        } else if (is_withheld(s, &step)) {
            fill_withheld(s, f, step.key);
        } else if (is_held(s, &step)) {
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

/* Drops of what the subscriber has and no item is left for, of the current scope. */
static void fill_inventory_drops(struct feed_session *s, struct filling *f)
{
    struct cut *c = s->cut;
    struct map_slot *slot;

    while (!is_full(f, NULL) && (slot = map_each(&s->inventory->entries, &c->drops_at))) {
        struct inventory_entry *e = slot->value;

        if (e->seen || !str_eq(entry_scope(e), scope_name(s, c->scope)))
            continue;
        e->seen = true;
        drop_entry(s, f, e);
    }
}

/*
 * Names of what is referred to, before its puts: what stays, and what was put by earlier frames and has gone since. False:
 * the frame is full, and there are more.
 */
static bool fill_referred_names(struct feed_session *s, struct filling *f)
{
    struct cut_referred *c = &s->cut->referred;
    struct referred *r;

    if (c->stage == CUT_COMPLETE) {
        encode_complete(&f->drops);
        c->stage = CUT_KEEP;
    }
    while (c->stage != CUT_NEWS && !is_full(f, NULL)) {
        bool is_keep = c->stage == CUT_KEEP;

        r = referred_next(c, is_keep ? c->closure.entries : c->gone);
        if (!r) {
            c->stage = CUT_NEWS;
            referred_stand(c, NULL);
        } else if (is_keep && !tree_find(c->news, r->node.key)) {
            encode_keep(&f->drops, r->node.key);
        } else if (!is_keep && !is_member(&c->closure, r->node.key)) {
            encode_drop(&f->drops, r->node.key);
            s->status.drops_sent++;
        }
    }
    return c->stage == CUT_NEWS;
}

/* What may have changed since the batch was begun, in the state that it ends with. */
static int news_again(const struct feed_session *s, const struct state *state,
                      const struct closure *closure, struct tree *flips, struct tree **ret)
{
    struct closure_view view = feed_class_view(s->class, state, s->subject);

    return closure_news(closure, &view,
                        &(struct closure_past){s->cut->renewed_since, true, flips}, ret);
}

static int come_again(struct feed_session *s)
{
    struct cut *c = s->cut;
    struct tree *news;
    int r = news_again(s, c->state, &c->referred.closure, c->flips, &news);

    if (r)
        return r;
    (void)tree_unref(c->referred.news);
    c->referred.news = news;
    c->referred.stage = CUT_GONE;
    referred_stand(&c->referred, NULL);
    c->is_again = true;
    c->since = c->renewed_since;
    c->scope = 0;
    return 0;
}

static int next_scope(struct feed_session *s)
{
    struct cut *c = s->cut;

    c->walk = mem_free(c->walk);
    c->step = (struct scope_step){.item = NULL};
    c->flip_at = STR_NULL;
    c->drops_at = 0;
    c->scope++;
    return c->scope == n_scopes(s) && c->renewed_since && !c->is_again ? come_again(s) : 0;
}

/* The bytes that an End points to. */
struct end_bytes {
    unsigned char digest[DIGEST_BYTES], mark[MARK_BYTES];
};

static void make_end(const struct feed_session *s, struct end_bytes *bytes,
                     Trimtab__V1__End *end)
{
    const struct cut *c = s->cut;

    trimtab__v1__end__init(end);
    end->revision = c->state->revision;
    end->mode = c->mode;
    end->count = c->count;
    end->uncaused_drops = c->uncaused;
    digest_put(c->digest, bytes->digest);
    end->digest = (ProtobufCBinaryData){DIGEST_BYTES, bytes->digest};
    feed_mark_put(s->class, &c->referred.closure, s->feed, end->revision, bytes->mark);
    end->mark = (ProtobufCBinaryData){MARK_BYTES, bytes->mark};
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

        if (c->scope == n_scopes(s)) {
            *ret_ended = true;
            return 0;
        }
        *ret_scope = c->scope;
        if (c->scope == 0 && !fill_referred_names(s, f))
            break;
        r = fill(s, f, &scope_ended);
        if (r)
            return r;
        if (scope_ended && c->mode == TRIMTAB__V1__MODE__INVENTORY && s->inventory &&
            !c->is_again)
            fill_inventory_drops(s, f);
        if (scope_ended && !is_full(f, NULL))
            r = next_scope(s);
        if (r)
            return r;
    }
    *ret_ended = c->scope == n_scopes(s) && !is_sending_parts(c);
    return buf_status(&f->drops);
}

int cut_pull(struct feed_session *s, nsec_t now, struct feed_frame *ret_frame)
{
    struct filling f = {.drops = BUF_NULL(DROPS_BYTES_MAX + 4 * ID_BYTES_MAX)};
    struct end_bytes bytes;
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
        struct frame_parts parts = {
            .changes = {{scope_name(s, scope), f.puts, f.n_puts, buf_str(&f.drops)}},
            .end = ended ? &end : NULL};

        make_end(s, &bytes, &end);
        r = encode_changes(&parts, ret_frame);
    }
    buf_deinit(&f.drops);
    if (r)
        return r;
    if (ended) {
        session_take_flight(s, s->cut->state->revision, s->cut->digest, now);
        session_withheld(s, &s->cut->referred.closure);
        cut_drop(s);
    }
    return FEED_FRAME;
}

/* ---- going on from a newer state ---- */

/* A walk over the newest state from where the old one stood: what was sent of the last name may come again. */
static struct scope_walk *renew_walk(struct feed_session *s)
{
    struct cut *c = s->cut;
    const struct scope *scope = scope_at(s, c->scope);
    struct scope_walk *walk = mem_alloc(scope_walk_size(scope));

    if (walk) {
        scope_walk_init(walk, &(struct viewing){scope, s->feed->state, s->subject}, c->since);
        scope_walk_seek(walk, c->step.key);
    }
    return walk;
}

/* What was a member of the old state and is none of the feed's: frames that were cut already may have put it. */
static int note_gone(struct feed_session *s, struct tree **gone)
{
    struct tree_walk walk;
    struct referred *r;

    tree_walk_from(&walk, s->cut->referred.closure.entries, STR(""), 0);
    while ((r = referred_of(tree_walk_next(&walk))))
        if (r->version && !is_member(session_closure(s), r->node.key) &&
            !tree_put(gone, &r->node)) /* empty then */
            return ERR_NOMEM;
    return 0;
}

/*
 * What was to be put in the old state and was therefore not named among what stays: it is to be put in the new one too,
 * though there it may be no news any more.
 */
static int add_unsent(const struct feed_session *s, struct tree **news)
{
    struct tree_walk walk;
    const struct referred *old;

    tree_walk_from(&walk, s->cut->referred.news, STR(""), 0);
    while ((old = referred_of(tree_walk_next(&walk)))) {
        struct referred *now =
            referred_of(tree_find(session_closure(s)->entries, old->node.key));

        if (now && now->version && !tree_put(news, &now->node)) /* empty then */
            return ERR_NOMEM;
    }
    return 0;
}

/* The same of what is referred to. Failure leaves all as it was. */
static int renew_referred(struct feed_session *s)
{
    struct cut *c = s->cut;
    struct cut_referred *referred = &c->referred;
    struct tree *gone = tree_ref(referred->gone), *news = NULL, *flips = tree_ref(c->flips);
    int r = note_gone(s, &gone);

    if (!r && !note_all_flips(&flips, referred->closure.withheld, session_closure(s)->withheld))
        r = ERR_NOMEM;
    if (!r)
        r = c->is_again ? news_again(s, s->feed->state, session_closure(s), flips, &news)
                        : referred_news(s, c->since, flips, &news);
    if (!r)
        r = add_unsent(s, &news);
    if (r) {
        (void)tree_unref(gone);
        (void)tree_unref(news);
        (void)tree_unref(flips);
        return r;
    }
    (void)tree_unref(c->flips);
    c->flips = flips;
    (void)tree_unref(referred->gone);
    (void)tree_unref(referred->news);
    closure_deinit(&referred->closure);
    referred->gone = gone;
    referred->news = news;
    referred->closure = closure_ref(session_closure(s));
    referred->is_inclusive = true;
    if (c->is_again) {
        referred->stage = CUT_GONE;
        referred_stand(referred, NULL);
    }
    return 0;
}

void cut_renew(struct feed_session *s)
{
    struct cut *c = s->cut;
    uint64_t max = s->feed->opts.pinned_max ? s->feed->opts.pinned_max : PINNED_BYTES_MAX;
    struct scope_walk *walk = NULL;

    if (s->feed->superseded - c->superseded <= max || is_sending_parts(c) || refresh(s))
        return; /* or it is tried again at the next publication */
    if (c->walk && c->step.key.data && !c->is_again) {
        walk = renew_walk(s);
        if (!walk)
            return;
    }
    if (renew_referred(s)) {
        (void)mem_free(walk);
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
    c->flip_at = STR_NULL;
    (void)state_unref(c->state);
    c->state = state_ref(s->feed->state);
    c->superseded = s->feed->superseded;
    c->digest = session_digest(s, &c->count);
    s->status.renewals++;
}

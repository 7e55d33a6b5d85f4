/*
 * The feed: a newer state comes in, and those whose view changed are told. See feed.h.
 */
#include "feed/internal.h"

enum {
    SHARED_FRAME_MAX = 1024 * 1024,
    VERSION_BYTES = 256, /* about what a version takes besides its content */
};

struct feed *feed_new(const struct feed_opts *opts, struct state *state)
{
    struct feed *f = NEW(struct feed);

    if (!f)
        return NULL;
    f->opts = *opts;
    f->state = state_ref(state);
    link_init(&f->referring);
    link_init(&f->bookmarks);
    link_init(&f->cutting);
    return f;
}

struct feed *feed_free(struct feed *f)
{
    if (!f)
        return NULL;
    ASSERT(f->n_sessions == 0);
    map_deinit(&f->classes);
    map_deinit(&f->scopes);
    map_deinit(&f->layers);
    (void)state_unref(f->state);
    return mem_free(f);
}

const unsigned char *feed_store_id(const struct feed *f)
{
    return f->opts.store_id;
}

struct state *feed_state(const struct feed *f)
{
    return f->state;
}

/* ---- one scope, one publish ---- */

/* What a publish comes to in one scope, or in what a class refers to. */
struct feed_delta {
    VEC(struct version *) puts;
    struct buf drops;
    size_t bytes;
    uint64_t n_drops;
    bool is_shareable; /* nothing in parts */
    bool is_changed;
};

static void delta_init(struct feed_delta *d)
{
    *d = (struct feed_delta){.drops = BUF_NULL(SHARED_FRAME_MAX), .is_shareable = true};
}

static void delta_deinit(struct feed_delta *d)
{
    VEC_DEINIT(&d->puts);
    buf_deinit(&d->drops);
}

/* key: as it is written in drops. False without memory. */
static bool delta_add(struct feed_delta *d, struct version *item, struct str key)
{
    d->is_changed = true;
    if (!item) {
        encode_drop(&d->drops, key);
        d->n_drops++;
        return !buf_status(&d->drops);
    }
    d->bytes += item->item.len;
    if (item->content.data == item->item.data + item->item.len)
        d->is_shareable = false;
    return VEC_PUSH(&d->puts, item);
}

/* A name before and after: adjusts the digest, and keeps what is to be sent. */
static bool delta_step(struct feed_scope *s, const struct state *before,
                       const struct scope_step *step, struct feed_delta *d)
{
    size_t nul = str_index(step->key, '\0');
    struct version *old = scope_find(&(struct viewing){s->scope, before, NULL},
                                     str_part(step->key, 0, nul), str_from(step->key, nul + 1));

    if (old == step->item ||
        (old && step->item && sha256_eq(&old->item_hash, &step->item->item_hash)))
        return true;
    if (old) {
        s->digest = digest_sub(s->digest, binding_digest(s->scope->name, &old->item_hash));
        s->count--;
    }
    if (step->item) {
        s->digest =
            digest_add(s->digest, binding_digest(s->scope->name, &step->item->item_hash));
        s->count++;
    }
    return delta_add(d, step->item, step->key);
}

/* False without memory: the digest must be computed anew and every member be brought up by itself. */
static bool delta_make(struct feed *f, struct feed_scope *s, const struct state *before,
                       struct feed_delta *d)
{
    struct scope_walk *walk = s->digest_is_stale ? NULL : mem_alloc(scope_walk_size(s->scope));
    struct scope_step step;
    bool ok = walk != NULL;

    if (walk)
        scope_walk_init(walk, &(struct viewing){s->scope, f->state, NULL}, before->revision);
    while (ok && scope_walk_next(walk, &step))
        ok = delta_step(s, before, &step, d);
    (void)mem_free(walk);
    return ok;
}

static void scope_publish(struct feed *f, struct feed_scope *s, const struct state *before)
{
    s->changes = NEW(struct feed_delta);
    if (s->changes)
        delta_init(s->changes);
    if (s->changes && delta_make(f, s, before, s->changes)) {
        if (s->changes->is_changed)
            s->newest = f->state->revision;
        return;
    }
    s->newest = f->state->revision;
    s->digest_is_stale = true;
    if (s->changes)
        delta_deinit(s->changes);
    s->changes = mem_free(s->changes);
    if (feed_scope_refresh(f, s))
        return; /* tried again when a batch is cut */
}

static void scope_published(struct feed_scope *s)
{
    link_remove(&s->touched);
    if (s->changes)
        delta_deinit(s->changes);
    s->changes = mem_free(s->changes);
}

/* ---- one class, one publish ---- */

/* What a publish comes to for the sessions of one class. */
struct news {
    struct feed_delta referred;
    bool is_known;   /* memory did not fail */
    bool is_changed; /* something is to be said */
    bool is_carried; /* something may be referred to now that a live rollout carries */
    bool is_withholding; /* what the scopes say is not what the class gets */
    uint64_t n_puts, n_drops;
};

static bool news_of_closure(struct feed *f, const struct closure_delta *d, struct news *n)
{
    for (size_t i = 0; i < d->changes.n; i++) {
        const struct closure_change *c = &d->changes.at[i];
        const struct version *any = c->after ? c->after : c->before;

        ASSERT(any); /* it would be no change */
        n->is_carried |= !c->before && state_carrier(f->state, any->key, NULL);
        if (!delta_add(&n->referred, c->after, any->key))
            return false;
    }
    return true;
}

/* Scopes that were touched have told what changed in them, unless memory failed. */
static void news_of_scopes(const struct feed_class *c, struct news *n)
{
    for (size_t i = 0; i < c->n_scopes; i++) {
        const struct feed_scope *s = c->members[i].scope;

        if (link_is_alone(&s->touched))
            continue;
        n->is_known &= s->changes != NULL;
        n->is_changed |= !s->changes || s->changes->is_changed;
        if (s->changes) {
            n->n_puts += s->changes->puts.n;
            n->n_drops += s->changes->n_drops;
        }
    }
}

static void news_make(struct feed *f, struct feed_class *c, const struct feed_touched *t,
                      struct news *n)
{
    struct closure_delta d;

    *n = (struct news){.is_known = true};
    delta_init(&n->referred);
    n->is_known = feed_class_step(f, c, t, &d) && news_of_closure(f, &d, n);
    n->is_changed = !n->is_known || n->referred.is_changed || d.has_flipped;
    n->is_withholding = c->closure.n_withheld || d.has_flipped;
    n->is_carried |= n->is_withholding && f->state->n_live; /* perhaps it is given back to some */
    closure_delta_deinit(&d);
    n->n_puts = n->referred.puts.n;
    n->n_drops = n->referred.n_drops;
    if (n->is_changed)
        c->referred_newest = f->state->revision;
    news_of_scopes(c, n);
    if (!n->is_known && feed_class_refresh(f, c))
        n->is_changed = true; /* tried again when a batch is cut */
}

static struct frame_changes changes_of(const struct feed_delta *d, struct str scope)
{
    if (!d)
        return (struct frame_changes){.scope = scope};
    return (struct frame_changes){scope, d->puts.at, d->puts.n, buf_str(&d->drops)};
}

/* The whole batch as one frame; NULL when it is none: several scopes, too much, or memory failed. */
static struct shared *news_frame(struct feed *f, const struct feed_class *c,
                                 const struct news *n)
{
    const struct feed_scope *s = c->members[0].scope;
    const struct feed_delta *own = s->changes;
    Trimtab__V1__End end = TRIMTAB__V1__END__INIT;
    unsigned char digest[DIGEST_BYTES], mark[MARK_BYTES];
    struct frame_parts parts = {
        .changes = {changes_of(&n->referred, SCOPE_REFERRED), changes_of(own, s->scope->name)},
        .end = &end};

    if (!n->is_known || !n->is_changed || n->is_withholding || c->n_scopes > 1 || !n->referred.is_shareable ||
        (own && !own->is_shareable) ||
        n->referred.bytes + (own ? own->bytes : 0) > SHARED_FRAME_MAX)
        return NULL;
    end.revision = f->state->revision;
    end.mode = TRIMTAB__V1__MODE__RESUME;
    digest_put(feed_class_digest(c, &end.count), digest);
    end.digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    feed_mark_put(c, &c->closure, f, end.revision, mark);
    end.mark = (ProtobufCBinaryData){MARK_BYTES, mark};
    return encode_changes_framed(&parts);
}

/* Whether the session owes nothing, and can take the class's frame as its whole batch. */
static bool takes_shared(const struct feed_session *s)
{
    return s->status.phase == FEED_STEADY && !s->pending && !s->wants_repair &&
           s->status.changed <= s->status.sent;
}

static void session_publish(struct feed *f, struct feed_session *s, const struct news *n,
                            const struct state *before, struct shared *frame)
{
    uint64_t count;

    if (s->status.phase == FEED_STEADY && !s->pending && s->status.changed <= s->status.sent)
        s->status.sent = MAX(s->status.sent, before->revision); /* owed nothing until now */
    if (frame && takes_shared(s)) {
        s->pending = shared_ref(frame);
        s->pending_revision = f->state->revision;
        s->pending_items = n->n_puts;
        s->pending_drops = n->n_drops;
        s->flight_digest = feed_class_digest(s->class, &count);
    } else {
        s->pending = shared_unref(s->pending); /* superseded before it was pulled */
    }
    s->status.changed = f->state->revision;
    session_changed(s);
    f->opts.ready(s->ctx);
}

static void class_publish(struct feed *f, struct feed_class *c, const struct feed_touched *t)
{
    struct news n;
    struct shared *frame;

    news_make(f, c, t, &n);
    frame = news_frame(f, c, &n);
    for (struct link *l = c->sessions.next; n.is_changed && l != &c->sessions; l = l->next) {
        struct feed_session *s = LINK_OF(l, struct feed_session, in_class);

        if (s->gray.is_in && t->is_gray) /* feed_publish_gray looks at those */
            continue;
        if (n.is_carried || !n.is_known || s->gray.is_in) /* in one for lack of memory only */
            session_gray(s); /* what came may be another one for this session */
        session_publish(f, s, &n, t->before, s->gray.is_in ? NULL : frame);
    }
    (void)shared_unref(frame);
    delta_deinit(&n.referred);
}

/* ---- a publish ---- */

static void touch_class(struct feed_class *c, struct link *touched)
{
    if (link_is_alone(&c->touched))
        link_before(touched, &c->touched);
}

/* Keys of what is published, for the closures; without memory these are made anew. */
static void touched_init(struct feed *f, struct feed_touched *t, const struct state *next,
                         struct version *const *versions, size_t n)
{
    *t = (struct feed_touched){
        .before = f->state, .n = n, .is_gray = f->state->n_live || next->n_live};
    t->is_referring = n && (f->state->uses || next->uses);
    t->keys = t->is_referring ? NEW_ARRAY(struct str, 2 * n) : NULL;
    if (!t->keys)
        return;
    t->referred = t->keys + n;
    for (size_t i = 0; i < n; i++) {
        struct tree_walk walk;

        t->keys[i] = versions[i]->key;
        state_uses_from(f->state, t->keys[i], &walk);
        if (state_uses_next(&walk, t->keys[i]))
            t->referred[t->n_referred++] = t->keys[i];
    }
    closure_sort(t->keys, n);
}

/*
 * Whether something is touched that the class refers to, in whichever namespace; without memory nobody knows. What is withheld
 * refers to what the closure does not have.
 */
static bool is_referred(const struct feed_class *c, const struct feed_touched *t)
{
    if (c->closure.n_withheld)
        return true;
    for (size_t i = 0; i < t->n_referred; i++)
        if (closure_find(&c->closure, t->referred[i]))
            return true;
    return !t->keys;
}

static void touch_classes(struct feed *f, const struct feed_touched *t,
                          const struct link *scopes, struct link *touched)
{
    LIST_EACH (scopes, l) {
        struct feed_scope *s = LINK_OF(l, struct feed_scope, touched);

        LIST_EACH (&s->members, m)
            touch_class(LINK_OF(m, struct feed_member, in_scope)->class, touched);
    }
    if (!t->is_referring || (t->keys && !t->n_referred))
        return;
    LIST_EACH (&f->referring, l) {
        struct feed_class *c = LINK_OF(l, struct feed_class, referring);

        if (is_referred(c, t))
            touch_class(c, touched);
    }
}

void feed_publish(struct feed *f, struct state *next, struct version *const *versions, size_t n)
{
    struct state *before = f->state;
    struct link scopes, classes;
    struct feed_touched t;

    link_init(&scopes);
    link_init(&classes);
    touched_init(f, &t, next, versions, n);
    for (size_t i = 0; i < n; i++) {
        const struct version *old = state_newest(before, versions[i]->key);

        feed_scopes_touch(f, key_name(versions[i]->key), &scopes);
        f->superseded += old ? old->content.len + VERSION_BYTES : 0;
    }
    f->state = state_ref(next);
    LIST_EACH (&scopes, l)
        scope_publish(f, LINK_OF(l, struct feed_scope, touched), before);
    touch_classes(f, &t, &scopes, &classes);
    LIST_EACH (&classes, l) {
        struct feed_class *c = LINK_OF(l, struct feed_class, touched);

        class_publish(f, c, &t);
        link_remove(&c->touched);
    }
    LIST_EACH (&scopes, l)
        scope_published(LINK_OF(l, struct feed_scope, touched));
    (void)mem_free(t.keys);
    if (t.is_gray)
        feed_publish_gray(f, before);
    feed_publish_orders(f, before);
    if (next->restored.deletes_newer && !before->restored.deletes_newer)
        LIST_EACH (&f->bookmarks, l)
            session_release_restored(LINK_OF(l, struct feed_session, due_link));
    LIST_EACH (&f->cutting, l)
        cut_renew(LINK_OF(l, struct feed_session, cutting_link));
    (void)state_unref(before);
}

/* ---- time ---- */

nsec_t feed_tick(struct feed *f, nsec_t now)
{
    while (!link_is_alone(&f->bookmarks)) {
        struct feed_session *s = LINK_OF(f->bookmarks.next, struct feed_session, due_link);

        if (s->due > now)
            return s->due;
        link_remove(&s->due_link);
        s->due = now + f->opts.bookmark_every;
        link_before(&f->bookmarks, &s->due_link);
        if (s->status.phase == FEED_STEADY && !s->pending && !session_is_behind(s)) {
            s->wants_bookmark = true;
            f->opts.ready(s->ctx);
        }
    }
    return UINT64_MAX;
}

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
    link_init(&f->bookmarks);
    link_init(&f->cutting);
    return f;
}

struct feed *feed_free(struct feed *f)
{
    if (!f)
        return NULL;
    ASSERT(f->n_sessions == 0);
    map_deinit(&f->scopes);
    map_deinit(&f->layers);
    (void)state_unref(f->state);
    return mem_free(f);
}

struct state *feed_state(const struct feed *f)
{
    return f->state;
}

/* ---- one scope, one publish ---- */

/* What a publish comes to in one scope. */
struct delta {
    VEC(struct version *) puts;
    struct buf drops;
    size_t bytes;
    uint64_t n_drops;
    bool is_shareable; /* small enough, nothing in parts */
    bool is_changed;
};

/* A name before and after: adjusts the digest, and keeps what is to be sent. */
static bool delta_step(struct feed_scope *s, const struct state *before,
                       const struct scope_step *step, struct delta *d)
{
    size_t nul = str_index(step->key, '\0');
    struct version *old = scope_find(&(struct viewing){s->scope, before, NULL},
                                     str_part(step->key, 0, nul), str_from(step->key, nul + 1));

    if (old == step->item ||
        (old && step->item && sha256_eq(&old->item_hash, &step->item->item_hash)))
        return true;
    d->is_changed = true;
    if (old) {
        s->digest = digest_sub(s->digest, binding_digest(s->scope->name, &old->item_hash));
        s->count--;
    }
    if (!step->item) {
        encode_drop(&d->drops, step->key);
        d->n_drops++;
        return !buf_status(&d->drops);
    }
    s->digest = digest_add(s->digest, binding_digest(s->scope->name, &step->item->item_hash));
    s->count++;
    d->bytes += step->item->item.len;
    if (step->item->content.data == step->item->item.data + step->item->item.len)
        d->is_shareable = false;
    return VEC_PUSH(&d->puts, step->item);
}

/* False without memory: the digest must be computed anew and every member be brought up by itself. */
static bool delta_make(struct feed *f, struct feed_scope *s, const struct state *before,
                       struct delta *d)
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

static struct shared *delta_frame(struct feed *f, struct feed_scope *s, const struct delta *d)
{
    Trimtab__V1__End end = TRIMTAB__V1__END__INIT;
    unsigned char digest[DIGEST_BYTES];
    struct frame_parts parts = {.scope = s->scope->name,
                                .puts = d->puts.at,
                                .n_puts = d->puts.n,
                                .drops = buf_str(&d->drops),
                                .end = &end};

    if (!d->is_shareable || d->bytes > SHARED_FRAME_MAX)
        return NULL;
    end.revision = f->state->revision;
    end.mode = TRIMTAB__V1__MODE__RESUME;
    end.count = s->count;
    digest_put(s->digest, digest);
    end.digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    return encode_changes_framed(&parts);
}

/* Whether the session owes nothing, has this scope only, and can take the scope's frame as its whole batch. */
static bool takes_shared(const struct feed_session *s)
{
    return s->n_members == 1 && s->status.phase == FEED_STEADY && !s->pending &&
           !s->wants_repair && s->status.changed <= s->status.sent;
}

static void member_publish(struct feed *f, struct feed_session *s, const struct delta *d,
                           const struct state *before, struct shared *frame)
{
    if (s->status.phase == FEED_STEADY && !s->pending && s->status.changed <= s->status.sent)
        s->status.sent = MAX(s->status.sent, before->revision); /* owed nothing until now */
    if (frame && takes_shared(s)) {
        s->pending = shared_ref(frame);
        s->pending_revision = f->state->revision;
        s->pending_items = d->puts.n;
        s->pending_drops = d->n_drops;
        s->flight_digest = s->members[0].scope->digest;
    } else {
        s->pending = shared_unref(s->pending); /* superseded before it was pulled */
    }
    s->status.changed = f->state->revision;
    f->opts.ready(s->ctx);
}

static void scope_publish(struct feed *f, struct feed_scope *s, const struct state *before)
{
    struct delta d = {.drops = BUF_NULL(SHARED_FRAME_MAX), .is_shareable = true};
    struct shared *frame = NULL;

    if (!delta_make(f, s, before, &d)) {
        s->digest_is_stale = true;
        d.is_changed = true;
        if (feed_scope_refresh(f, s))
            d.is_shareable = false; /* tried again when a batch is cut */
    } else if (d.is_changed) {
        frame = delta_frame(f, s, &d);
    }
    if (d.is_changed)
        LIST_EACH (&s->members, l) {
            struct feed_session *member = LINK_OF(l, struct feed_member, in_scope)->session;

            if (!member->gray.is_in) /* feed_publish_gray looks at those */
                member_publish(f, member, &d, before, frame);
        }
    (void)shared_unref(frame);
    VEC_DEINIT(&d.puts);
    buf_deinit(&d.drops);
}

void feed_publish(struct feed *f, struct state *next, struct version *const *versions, size_t n)
{
    struct state *before = f->state;
    bool is_gray = before->n_live || next->n_live;
    struct link touched;

    link_init(&touched);
    for (size_t i = 0; i < n; i++) {
        const struct version *old = state_newest(before, versions[i]->key);

        feed_scopes_touch(f, key_name(versions[i]->key), &touched);
        f->superseded += old ? old->content.len + VERSION_BYTES : 0;
    }
    f->state = state_ref(next);
    LIST_EACH (&touched, l) {
        struct feed_scope *s = LINK_OF(l, struct feed_scope, touched);

        link_remove(&s->touched);
        scope_publish(f, s, before);
    }
    if (is_gray)
        feed_publish_gray(f, before);
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

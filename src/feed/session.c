/*
 * Sessions: what one subscriber has been sent and has acknowledged, and which frame is next. See feed.h for the
 * phases.
 */
#include "feed/internal.h"

#include "proto/convert.h"
#include "proto/subject.h"

enum { PROTOCOL_VERSION = 1 };

static void be_ready(struct feed_session *s)
{
    s->feed->opts.ready(s->ctx);
}

/* ---- life ---- */

struct feed_session *feed_session_new(struct feed *f, enum feed_client client, void *ctx)
{
    struct feed_session *s = NEW(struct feed_session);

    if (!s)
        return NULL;
    s->feed = f;
    s->client = client;
    s->ctx = ctx;
    link_init(&s->in_class);
    link_init(&s->due_link);
    link_init(&s->cutting_link);
    f->n_sessions++;
    return s;
}

struct feed_session *feed_session_free(struct feed_session *s)
{
    if (!s)
        return NULL;
    cut_drop(s);
    s->inventory = inventory_free(s->inventory);
    s->pending = shared_unref(s->pending);
    testimony_deinit(s);
    session_ungray(s);
    feed_class_leave(s);
    (void)readable_unref(s->readable);
    (void)tree_unref(s->withheld_sent);
    link_remove(&s->due_link);
    (void)mem_free(s->subject);
    s->feed->n_sessions--;
    return mem_free(s);
}

void feed_session_may_read(struct feed_session *s, struct readable *readable)
{
    ASSERT(s->status.phase == FEED_NEW);
    (void)readable_unref(s->readable);
    s->readable = readable_ref(readable);
}

struct feed_status feed_session_status(const struct feed_session *s)
{
    struct feed_status status = s->status;

    status.expected = session_digest(s, &status.expected_count);
    return status;
}

/* ---- hello ---- */

static int join_scopes(struct feed_session *s, const Trimtab__V1__Hello *hello, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct scope *scopes;
    int r =
        scopes_from_proto(hello->scopes, hello->n_scopes, hello->instance, &a, &scopes, err);

    return r ? r : feed_class_join(s, scopes, hello->n_scopes);
}

/* Who it is, for rollouts. Whom they cannot take is nobody in particular, and has stable. */
static int take_subject(struct feed_session *s, const Trimtab__V1__Hello *hello)
{
    if (!hello_takes_rollouts(hello))
        return 0;
    s->subject = subject_of_instance(hello->instance);
    if (!s->subject)
        return ERR_NOMEM;
    session_gray(s);
    return 0;
}

static bool is_of_this_store(const struct feed_session *s, const Trimtab__V1__Cursor *c)
{
    return c && str_eq(proto_str(c->store_id),
                       str_of(s->feed->opts.store_id, FEED_STORE_ID_BYTES));
}

/* The newest revision that concerns its view; of what was referred to before its class came nobody knows. */
static uint64_t newest_concern(const struct feed_session *s)
{
    uint64_t newest = s->class->referred_newest;
    struct tree_walk walk;
    const struct rollout *r;

    for (size_t i = 0; i < s->class->n_scopes; i++)
        newest = MAX(newest, s->class->members[i].scope->newest);
    tree_walk_from(&walk, s->feed->state->rollouts, STR(""), 0);
    while (s->gray.is_in && (r = rollout_of(tree_walk_next(&walk))))
        if (rollout_is_live(r) && rollout_takes(r, s->subject))
            newest = MAX(newest, r->node.revision);
    return newest;
}

/* Whether a client that only listens has its view already, by its digest, or its owner vouches for the cursor. */
static bool has_view(const struct feed_session *s, const Trimtab__V1__Cursor *c)
{
    struct digest claimed;
    uint64_t count;

    return !c->digest.len || (digest_get(proto_str(c->digest), &claimed) &&
                              digest_eq(claimed, session_digest(s, &count)));
}

/* Whether a server with this store's key has sent the cursor's revision, to one with these rights and no less. */
static bool has_mark(const struct feed_session *s, const Trimtab__V1__Cursor *c)
{
    unsigned char bytes[MARK_RIGHTS_BYTES];
    struct marked of = {proto_str(c->store_id), c->revision,
                        mark_rights(s->class, session_closure(s), bytes)};

    return mark_holds(s->feed->opts.key, &of, proto_str(c->mark));
}

/*
 * Who may not read everything may have had another view of the same revision: by other grants, or when less was withheld. Only
 * the mark tells. One that only listens may show instead that it has just what is due.
 */
static bool may_have_flipped(const struct feed_session *s, const Trimtab__V1__Cursor *c)
{
    if (!s->class->readable || has_mark(s, c))
        return false;
    return s->client == FEED_CLIENT_ANSWERS || !c->digest.len || !has_view(s, c);
}

/* With its mark a revision from beyond the log is evidence, without it just what a client says. */
static void look_for_loss(const struct feed_session *s, const Trimtab__V1__Cursor *c)
{
    if (is_of_this_store(s, c) && c->revision > s->feed->state->revision && has_mark(s, c) &&
        s->feed->opts.lost)
        s->feed->opts.lost(s->ctx, c->revision);
}

/* How to bring the subscriber up to date, and why so. */
static Trimtab__V1__Mode choose_mode(const struct feed_session *s, const Trimtab__V1__Cursor *c,
                                     const char **ret_reason)
{
    if (!c || (c->revision == 0 && c->count == 0 && !c->store_id.len)) {
        *ret_reason = "first start";
        return TRIMTAB__V1__MODE__FULL;
    }
    if (!is_of_this_store(s, c)) {
        *ret_reason = "another store";
        return TRIMTAB__V1__MODE__INVENTORY;
    }
    if (c->revision > s->feed->state->revision) {
        *ret_reason = has_mark(s, c) ? "the server has lost what the cursor is of"
                                     : "the cursor is ahead of the store";
        return TRIMTAB__V1__MODE__INVENTORY;
    }
    if (c->revision && c->mark.len && !has_mark(s, c)) {
        *ret_reason = "the cursor has no mark of this server for these rights";
        return TRIMTAB__V1__MODE__INVENTORY;
    }
    if (c->revision == 0) {
        *ret_reason = "the subscription changed";
        return TRIMTAB__V1__MODE__INVENTORY;
    }
    if (may_have_flipped(s, c)) {
        *ret_reason = "what is withheld may have changed";
        return TRIMTAB__V1__MODE__INVENTORY;
    }
    if (s->client == FEED_CLIENT_LISTENS && !has_view(s, c)) {
        *ret_reason = "the cursor proves nothing";
        return TRIMTAB__V1__MODE__INVENTORY;
    }
    *ret_reason = "resumed";
    return TRIMTAB__V1__MODE__RESUME;
}

/* Compares what the subscriber has; who cannot say it gets everything. */
static int ask(struct feed_session *s, const char *reason)
{
    s->inventory = inventory_free(s->inventory);
    if (s->client == FEED_CLIENT_LISTENS)
        return cut_begin(s, TRIMTAB__V1__MODE__FULL, 0);
    s->status.phase = FEED_ASKING;
    s->ask_reason = reason;
    return 0;
}

static int begin(struct feed_session *s, const Trimtab__V1__Hello *hello)
{
    const char *reason;
    Trimtab__V1__Mode mode = choose_mode(s, hello->cursor, &reason);

    if (mode == TRIMTAB__V1__MODE__INVENTORY && s->client == FEED_CLIENT_LISTENS)
        mode = TRIMTAB__V1__MODE__FULL;
    s->status.mode = mode;
    s->is_foreign = hello->cursor && !is_of_this_store(s, hello->cursor);
    s->knows_copy =
        hello->cursor && s->feed->state->restored.revision &&
        str_eq(proto_str(hello->cursor->store_id),
               str_of(s->feed->state->restored.from, STATE_STORE_ID_BYTES));
    look_for_loss(s, hello->cursor);
    s->proved = hello->cursor && !s->is_foreign ? hello->cursor->revision : 0;
    s->wants_welcome = true;
    s->welcome_reason = reason;
    session_withheld(s, session_closure(s)); /* if it resumes: the mark has said so */
    if (mode == TRIMTAB__V1__MODE__INVENTORY)
        return ask(s, reason);
    return cut_begin(s, mode, mode == TRIMTAB__V1__MODE__RESUME ? hello->cursor->revision : 0);
}

bool feed_must_wait(const struct feed *f, const Trimtab__V1__Hello *hello, uint64_t newest)
{
    uint64_t shown = hello->cursor ? hello->cursor->revision : 0;

    if (hello->serving)
        shown = MAX(shown, hello->serving->revision);
    return f->state->revision < MIN(shown, newest);
}

static int take_hello(struct feed_session *s, const Trimtab__V1__Hello *hello, nsec_t now,
                      struct err *err)
{
    int r;

    if (s->status.phase != FEED_NEW)
        return err_set(err, ERR_INVALID, "a second hello on one stream");
    if (hello->protocol != PROTOCOL_VERSION) {
        (void)err_set(err, ERR_UNSUPPORTED, "protocol %u is not spoken here", hello->protocol);
        err_hint(err, "this server speaks protocol %d", PROTOCOL_VERSION);
        return ERR_UNSUPPORTED;
    }
    r = join_scopes(s, hello, err);
    if (!r)
        r = take_subject(s, hello);
    if (!r)
        r = begin(s, hello);
    if (r) { /* as if it had said nothing */
        session_ungray(s);
        feed_class_leave(s);
        s->subject = mem_free(s->subject);
        s->wants_welcome = false;
        return r;
    }
    testimony_hello(s, hello);
    s->status.changed = newest_concern(s);
    session_orders_hello(s, hello);
    s->due = now + s->feed->opts.bookmark_every;
    link_before(&s->feed->bookmarks, &s->due_link);
    be_ready(s);
    return 0;
}

/* ---- acknowledgements and inventories ---- */

/* What follows a batch that has been dealt with. */
static int go_on(struct feed_session *s)
{
    s->status.phase = FEED_STEADY;
    s->status.waiting_since = 0;
    if (s->wants_repair) {
        s->wants_repair = false;
        be_ready(s);
        return ask(s, "the received digest is not the one that was announced");
    }
    if (!session_is_behind(s))
        return 0;
    be_ready(s);
    return cut_begin(s, TRIMTAB__V1__MODE__RESUME, s->status.sent);
}

static int take_stored(struct feed_session *s, const Trimtab__V1__Ack *ack, nsec_t now)
{
    struct digest received;

    if (s->status.phase != FEED_FLIGHT || ack->revision != s->status.sent)
        return 0; /* of a batch that is no longer awaited */
    if (!s->said.since)
        s->said.since = now;
    session_changed(s);
    if (!digest_get(proto_str(ack->received_digest), &received)) {
        s->status.stored = ack->revision; /* as it says: nothing is proved */
    } else if (!digest_eq(received, s->flight_digest)) {
        s->status.repairs++;
        s->wants_repair = true;
    } else {
        s->status.stored = s->proved = ack->revision;
        s->is_foreign = false;
    }
    return go_on(s);
}

static int take_ack(struct feed_session *s, const Trimtab__V1__Ack *ack, nsec_t now,
                    struct err *err)
{
    int r;

    switch (ack->stage) {
    case TRIMTAB__V1__STAGE__STORED: return take_stored(s, ack, now);
    case TRIMTAB__V1__STAGE__APPLIED:
        r = take_stored(s, ack, now); /* applied implies stored */
        if (!r) {
            testimony_report(s, ack, now);
            session_release_restored(s);
        }
        return r;
    case TRIMTAB__V1__STAGE__REJECTED:
        if (s->status.phase != FEED_FLIGHT || ack->revision != s->status.sent)
            return 0;
        s->wants_repair = true;
        s->status.repairs++;
        return go_on(s);
    case TRIMTAB__V1__STAGE__STAGE_UNSPECIFIED:
    case _TRIMTAB__V1__STAGE_IS_INT_SIZE: break;
    }
    return err_set(err, ERR_INVALID, "an acknowledgement without a stage");
}

static int take_inventory(struct feed_session *s, const Trimtab__V1__Inventory *message,
                          struct err *err)
{
    int r;

    if (s->status.phase == FEED_STEADY && !s->pending) { /* unasked: its digest is not ours */
        int asked;

        s->status.repairs++;
        asked = ask(s, NULL);
        if (asked || s->client == FEED_CLIENT_LISTENS)
            return asked;
    } else if (s->status.phase != FEED_ASKING) {
        s->wants_repair =
            true; /* it crossed a batch and says nothing any more: ask again after that */
        return 0;
    }
    r = inventory_add(s, message, err);
    if (r || !message->last)
        return r;
    s->ask_reason = NULL;
    r = cut_begin(s, TRIMTAB__V1__MODE__INVENTORY, 0);
    if (!r)
        be_ready(s);
    return r;
}

void feed_session_repair(struct feed_session *s, const char *reason)
{
    if (s->status.phase != FEED_STEADY || s->pending) {
        s->wants_repair = true;
        return;
    }
    s->status.repairs++;
    if (ask(s, reason))
        s->wants_repair = true; /* without memory: after the next batch */
    be_ready(s);
}

static bool holds_deletions(const struct feed_session *s)
{
    const struct report *r = s->said.exceptions;

    for (size_t i = 0; r && i < r->ack->n_refused; i++)
        if (exception_kind(r->ack->refused[i]) == EXCEPTION_HELD)
            return true;
    return false;
}

void session_release_restored(struct feed_session *s)
{
    if (s->has_released || !s->feed->state->restored.deletes_newer || !holds_deletions(s))
        return;
    s->has_released = true;
    feed_session_repair(s,
                        "what it holds may be of the history before a restore, which may go");
}

int feed_session_frame(struct feed_session *s, const Trimtab__V1__ClientFrame *frame,
                       nsec_t now, struct err *err)
{
    int r = 0;

    if (frame->hello)
        r = take_hello(s, frame->hello, now, err);
    else if (s->status.phase == FEED_NEW)
        r = err_set(err, ERR_INVALID, "the first frame must be a hello");
    if (!r && frame->ack)
        r = take_ack(s, frame->ack, now, err);
    if (!r && frame->inventory)
        r = take_inventory(s, frame->inventory, err);
    if (!r && frame->order_ack)
        session_order_ack(s, frame->order_ack);
    return r;
}

/* ---- pulling ---- */

void feed_frame_deinit(struct feed_frame *frame)
{
    for (size_t i = 0; i < frame->n; i++)
        (void)shared_unref(frame->segments[i].owner);
    frame->n = 0;
}

static int pull_welcome(struct feed_session *s, struct feed_frame *ret_frame)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Welcome welcome = TRIMTAB__V1__WELCOME__INIT;
    owned(arena) struct arena a = ARENA_NULL;
    int r;

    welcome.store_id = proto_bytes(str_of(s->feed->opts.store_id, FEED_STORE_ID_BYTES));
    welcome.head = s->feed->state->revision;
    welcome.mode = s->status.mode;
    welcome.reason = arena_c(&a, str_c(s->welcome_reason));
    welcome.bookmark_ms = (uint32_t)(s->feed->opts.bookmark_every / NSEC_PER_MS);
    frame.welcome = &welcome;
    r = encode_frame(&frame, ret_frame);
    if (r)
        return r;
    s->wants_welcome = false;
    return FEED_FRAME;
}

static int pull_ask(struct feed_session *s, struct feed_frame *ret_frame)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__AskInventory question = TRIMTAB__V1__ASK_INVENTORY__INIT;
    owned(arena) struct arena a = ARENA_NULL;
    int r;

    question.reason = arena_c(&a, str_c(s->ask_reason));
    question.held = true;
    frame.ask_inventory = &question;
    r = encode_frame(&frame, ret_frame);
    if (r)
        return r;
    s->ask_reason = NULL;
    return FEED_FRAME;
}

static void give_framed(struct shared *framed, struct feed_frame *ret_frame)
{
    *ret_frame = (struct feed_frame){.n = 1, .is_framed = true};
    ret_frame->segments[0] = (struct segment){framed, shared_str(framed)};
}

static int pull_pending(struct feed_session *s, nsec_t now, struct feed_frame *ret_frame)
{
    give_framed(take(s->pending), ret_frame);
    s->status.items_sent += s->pending_items;
    s->status.drops_sent += s->pending_drops;
    session_take_flight(s, s->pending_revision, s->flight_digest, now);
    session_withheld(s, session_closure(s));
    return FEED_FRAME;
}

static struct shared *make_bookmark(const struct feed_session *s)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Bookmark bookmark = TRIMTAB__V1__BOOKMARK__INIT;
    unsigned char digest[DIGEST_BYTES], mark[MARK_BYTES];
    uint64_t count;

    digest_put(session_digest(s, &count), digest);
    feed_mark_put(s->class, session_closure(s), s->feed, s->feed->state->revision, mark);
    bookmark.mark = (ProtobufCBinaryData){MARK_BYTES, mark};
    bookmark.revision = s->feed->state->revision;
    bookmark.count = count;
    bookmark.digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    frame.bookmark = &bookmark;
    return proto_pack_framed(&frame.base);
}

/* Sessions of one class share the frame. */
static struct shared *shared_bookmark(struct feed_session *s)
{
    struct feed_class *c = s->class;

    if (s->gray.is_in)
        return make_bookmark(s);
    if (!c->bookmark || c->bookmark_revision != s->feed->state->revision) {
        (void)shared_unref(c->bookmark);
        c->bookmark = make_bookmark(s);
        c->bookmark_revision = s->feed->state->revision;
    }
    return shared_ref(c->bookmark);
}

static int pull_bookmark(struct feed_session *s, struct feed_frame *ret_frame)
{
    struct shared *framed = shared_bookmark(s);
    uint64_t count;

    if (!framed)
        return ERR_NOMEM;
    s->wants_bookmark = false;
    s->status.sent = s->feed->state->revision;
    session_withheld(s, session_closure(s));
    testimony_announced(s, s->status.sent, session_digest(s, &count));
    if (*proof_story(s->said.proof) && s->takes_questions)
        s->wants_report = true; /* of what was announced just now */
    give_framed(framed, ret_frame);
    return FEED_FRAME;
}

static int pull_question(struct feed_session *s, struct feed_frame *ret_frame)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__AskReport question = TRIMTAB__V1__ASK_REPORT__INIT;
    owned(arena) struct arena a = ARENA_NULL;
    int r;

    question.reason = arena_c(&a, str_c(proof_story(s->said.proof)));
    frame.ask_report = &question;
    r = encode_frame(&frame, ret_frame);
    if (r)
        return r;
    s->wants_report = false;
    s->asked = s->n_announced;
    return FEED_FRAME;
}

int feed_session_pull(struct feed_session *s, nsec_t now, struct feed_frame *ret_frame)
{
    const struct order *order = s->wants_welcome ? NULL : session_next_order(s);
    int r = FEED_NOTHING;

    if (s->wants_welcome)
        r = pull_welcome(s, ret_frame);
    else if (order)
        r = session_pull_order(s, order, ret_frame);
    else if (s->status.phase == FEED_ASKING && s->ask_reason)
        r = pull_ask(s, ret_frame);
    else if (s->status.phase == FEED_CUTTING)
        r = cut_pull(s, now, ret_frame);
    else if (s->status.phase == FEED_STEADY && s->pending)
        r = pull_pending(s, now, ret_frame);
    else if (s->status.phase == FEED_STEADY && session_is_behind(s)) {
        r = cut_begin(s, TRIMTAB__V1__MODE__RESUME, s->status.sent);
        if (!r)
            r = cut_pull(s, now, ret_frame);
    } else if (s->status.phase == FEED_STEADY && s->wants_bookmark)
        r = pull_bookmark(s, ret_frame);
    else if (s->status.phase == FEED_STEADY && s->wants_report)
        r = pull_question(s, ret_frame);
    s->status.frames_sent += r == FEED_FRAME;
    return r;
}

/*
 * Testimony: what an instance says that it serves, judged by what its stream has announced (presence/proof.h), and its
 * standing, which is all that the rest of the server learns of a session.
 *
 * A report that proves nothing takes back what was proved before it: the instance serves something, and nobody knows what.
 * Only one that was overtaken by a newer change leaves the older proof, and a newer report is due anyway.
 */
#include "feed/internal.h"

#include "proto/convert.h"
#include "proto/subject.h"

/* ---- what its view wants ---- */

static const struct sha256 *wanted_referred(const struct feed_session *s, struct str id)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    const struct referred *r;
    struct name name;

    if (name_parse(id, &name, NULL))
        return NULL;
    name_put_key(name, &key);
    r = buf_status(&key) ? NULL : closure_find(session_closure(s), buf_str(&key));
    return r && r->version ? &r->version->item_hash : NULL;
}

static const struct sha256 *wanted_bound(const struct feed_session *s, struct str scope,
                                         struct str key)
{
    size_t slash = str_index(key, '/');
    struct str kind = str_part(key, 0, slash), name = str_from(key, slash + 1);

    for (size_t i = 0; slash < key.len && i < s->class->n_scopes; i++) {
        struct viewing v = {s->class->scopes[i], s->feed->state, s->subject};
        const struct version *item;

        if (!str_eq(v.scope->name, scope) || !scope_selects(v.scope, kind, name))
            continue;
        item = scope_find(&v, kind, name);
        if (item && closure_withholds(session_closure(s), i, item->key))
            return NULL;
        return item ? &item->item_hash : NULL;
    }
    return NULL;
}

static const struct sha256 *wanted(void *ctx, struct str scope, struct str key,
                                   uint64_t revision, bool *ret_is_newer)
{
    const struct feed_session *s = ctx;

    *ret_is_newer = s->status.changed > revision;
    return str_eq(scope, SCOPE_REFERRED) ? wanted_referred(s, key)
                                         : wanted_bound(s, scope, key);
}

/* ---- reports ---- */

/* Keeps what it excepts. Without memory the report proves nothing. */
static void keep_exceptions(struct feed_session *s, const Trimtab__V1__Ack *ack)
{
    s->said.exceptions = report_unref(s->said.exceptions);
    if (!ack->n_refused && !*ack->reason)
        return;
    s->said.exceptions = report_new(ack);
    if (!s->said.exceptions)
        s->said.proof = PROOF_NO_MEMORY;
}

/* Asks again for what proves nothing, once for each announcement: an answer may be no better. */
static void ask_again(struct feed_session *s)
{
    if (!s->takes_questions || !*proof_story(s->said.proof) || s->asked == s->n_announced)
        return;
    s->wants_report = true;
    s->feed->opts.ready(s->ctx);
}

void testimony_report(struct feed_session *s, const Trimtab__V1__Ack *ack, nsec_t now)
{
    struct proof_view view = {&s->announced, wanted, s};
    uint64_t proved = 0;

    if (ack->revision < s->said.applied)
        return; /* an older word that was overtaken on its way */
    s->has_claim = false;
    s->said.applied =
        MIN(ack->revision, s->status.sent); /* of another history: overtakes nothing */
    s->said.has_serving = digest_get(proto_str(ack->serving_digest), &s->said.serving);
    s->said.proof = proof_judge(&view, ack, &proved);
    keep_exceptions(s, ack);
    if (s->said.proof == PROOF_HOLDS) {
        s->said.proved = proved;
        announced_forget(&s->announced, proved);
    } else if (s->said.proof != PROOF_OVERTAKEN) {
        s->said.proved = 0;
    }
    if (s->said.since)
        s->said.since = ack->revision < s->status.stored ? now : 0;
    ask_again(s);
    session_changed(s);
}

/*
 * A hello says what its client served when it said so; that counts when it is of this history, and exactly what the first
 * batch announces.
 */
void testimony_hello(struct feed_session *s, const Trimtab__V1__Hello *hello)
{
    const Trimtab__V1__Cursor *c = hello->cursor;
    const Trimtab__V1__Serving *serving = hello->serving;
    uint64_t head = s->feed->state->revision;

    s->takes_questions = hello_has_feature(hello, FEATURE_REPORT);
    if (!serving || !c || c->revision > head || serving->revision > head ||
        s->status.mode != TRIMTAB__V1__MODE__RESUME)
        return;
    if (!str_eq(proto_str(serving->digest), proto_str(c->digest)))
        return; /* what it has received it may be applying just now, and it would not say so before the first batch */
    s->has_claim = digest_get(proto_str(serving->digest), &s->said.serving);
    s->said.has_serving = s->has_claim;
}

void testimony_announced(struct feed_session *s, uint64_t revision, struct digest digest)
{
    announced_add(&s->announced, revision, digest);
    s->n_announced++;
    if (s->has_claim && digest_eq(digest, s->said.serving)) {
        s->said.proof = PROOF_HOLDS;
        s->said.proved = revision;
    }
    s->has_claim = false;
    if (s->said.proof == PROOF_UNANNOUNCED)
        ask_again(
            s); /* a client that comes back may report what it has before it is told what that is */
}

void session_take_flight(struct feed_session *s, uint64_t revision, struct digest digest,
                         nsec_t now)
{
    s->status.phase = FEED_FLIGHT;
    s->status.sent = revision;
    s->status.waiting_since = now;
    s->flight_digest = digest;
    s->wants_bookmark = false;
    testimony_announced(s, revision, digest);
    session_changed(s);
}

void testimony_deinit(struct feed_session *s)
{
    announced_deinit(&s->announced);
    s->said.exceptions = report_unref(s->said.exceptions);
}

/* ---- standing ---- */

/* A batch that changes nothing needs no word: what was proved before holds. */
static nsec_t owes_since(const struct feed_session *s)
{
    if (s->status.waiting_since)
        return s->status.waiting_since;
    return s->said.proof == PROOF_HOLDS && s->said.proved >= s->status.changed ? 0
                                                                               : s->said.since;
}

struct standing feed_session_standing(struct feed_session *s)
{
    struct standing st = {.complete = s->feed->state->revision,
                          .concerned = s->status.changed,
                          .sent = s->status.sent,
                          .received = s->status.stored,
                          .applied = s->said.applied,
                          .proved = s->said.proved,
                          .proof = s->said.proof,
                          .serving = s->said.serving,
                          .has_serving = s->said.has_serving,
                          .is_steady = s->status.phase == FEED_STEADY && !s->pending &&
                                       !session_is_behind(s),
                          .owes_since = owes_since(s),
                          .mode = s->status.mode,
                          .items_sent = s->status.items_sent,
                          .repairs = s->status.repairs,
                          .takes_orders = s->orders.takes_any,
                          .orders_done = s->orders.done,
                          .fleet_done = s->orders.fleet_done,
                          .report = report_ref(s->said.exceptions)};

    s->is_changed = false;
    st.expected = session_digest(s, &st.items);
    st.is_uncertain = s->class && session_is_uncertain(s);
    if (s->class) {
        st.referred = tree_ref(session_closure(s)->entries);
        st.withheld = tree_ref(session_closure(s)->withheld);
        st.withheld_stable = tree_ref(s->class->closure.withheld);
    }
    return st;
}

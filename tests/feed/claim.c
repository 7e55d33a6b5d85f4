/*
 * What a subscriber that comes back says that it serves: when a hello proves it, when it proves nothing, and when it is
 * asked again.
 */
#include "feed/peer.h"

struct visit {
    struct world w;
    struct peer p;
    unsigned char digest[DIGEST_BYTES]; /* of the view at the head */
};

/* Two commits, and a subscriber that has them, as far as its digest tells. */
static bool begin(struct visit *v)
{
    if (!world_open(&v->w) || !peer_open(&v->p, &v->w))
        return false;
    PUBLISH(&v->w, {"a/item/x", "1"});
    PUBLISH(&v->w, {"a/item/y", "2"});
    if (peer_hello(&v->p, &(struct greeting){.scopes = "a"}, NULL) || !peer_settle(&v->p))
        return false;
    digest_put(peer_digest(&v->p), v->digest);
    return true;
}

/* The same program with another link; what it had is not asked for. */
static struct standing come_back(struct visit *v, struct greeting g)
{
    peer_close(&v->p);
    g.scopes = "a";
    g.has_cursor = true;
    g.revision = 2;
    CHECK(peer_open(&v->p, &v->w) && peer_hello(&v->p, &g, NULL) == 0);
    CHECK_I64((int)feed_session_status(v->p.session).mode, TRIMTAB__V1__MODE__RESUME);
    return feed_session_standing(v->p.session);
}

static struct standing pulled(struct visit *v)
{
    CHECK(peer_pull(&v->p));
    return feed_session_standing(v->p.session);
}

static void let_go(struct standing *st)
{
    st->report = report_unref(st->report);
    st->referred = tree_unref(st->referred);
}

static void check_claim(struct visit *v, struct str digest, struct str serving, bool is_proof)
{
    struct standing before =
        come_back(v, (struct greeting){.digest = digest, .serving = serving});
    struct standing st = pulled(v);

    CHECK_U64(before.proved, 0); /* nothing before the first batch announces it */
    CHECK((st.proof == PROOF_HOLDS) == is_proof);
    CHECK_U64(st.proved, is_proof ? 2 : 0);
    let_go(&before);
    let_go(&st);
}

TEST("a hello proves what is served when that is all that was received, and what the first "
     "batch announces")
{
    static const unsigned char other[DIGEST_BYTES] = {1};
    struct str theirs = str_of(other, DIGEST_BYTES), ours;
    struct visit v;

    REQUIRE(begin(&v));
    ours = str_of(v.digest, DIGEST_BYTES);
    check_claim(&v, ours, ours, true);
    check_claim(&v, ours, STR(""), false);
    check_claim(&v, theirs, theirs, false);
    /* it has received something else, which it may be applying just now */
    check_claim(&v, theirs, ours, false);
    check_claim(&v, STR(""), ours, false);
    peer_close(&v.p);
    world_close(&v.w);
}

/* Its word about the head, as one that has and serves it. */
static void say(struct visit *v, Trimtab__V1__Stage stage)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;

    ack.stage = stage;
    ack.revision = 2;
    ack.received_digest = ack.serving_digest = (ProtobufCBinaryData){DIGEST_BYTES, v->digest};
    frame.ack = &ack;
    CHECK_I64(feed_session_frame(v->p.session, &frame, v->w.now, NULL), 0);
}

static void check_proof(struct visit *v, enum proof want, int questions)
{
    struct standing st = pulled(v);

    CHECK_I64((int)st.proof, (int)want);
    CHECK_I64(v->p.questions, questions);
    let_go(&st);
}

TEST("a report from before the first batch proves nothing, and is asked for once the batch has "
     "announced it")
{
    struct visit v;

    REQUIRE(begin(&v));
    for (int can = 0; can < 2; can++) {
        struct standing st =
            come_back(&v, (struct greeting){.takes_questions = can,
                                            .digest = str_of(v.digest, DIGEST_BYTES)});

        let_go(&st);
        say(&v, TRIMTAB__V1__STAGE__APPLIED);
        check_proof(&v, PROOF_UNANNOUNCED, 0);
        CHECK_I64(v.p.ends, 1);
        say(&v, TRIMTAB__V1__STAGE__STORED);
        check_proof(&v, PROOF_UNANNOUNCED, can);
        say(&v, TRIMTAB__V1__STAGE__APPLIED);
        check_proof(&v, PROOF_HOLDS, can);
    }
    peer_close(&v.p);
    world_close(&v.w);
}

TEST("a hello of another store, or from beyond the log, proves nothing, though its digest is "
     "right")
{
    struct visit v;

    REQUIRE(begin(&v));
    for (int is_foreign = 0; is_foreign < 2; is_foreign++) {
        struct str ours = str_of(v.digest, DIGEST_BYTES);
        struct greeting g = {.scopes = "a",
                             .has_cursor = true,
                             .is_foreign = is_foreign,
                             .revision = is_foreign ? 2 : 9,
                             .digest = ours,
                             .serving = ours};
        struct standing st;

        peer_close(&v.p);
        REQUIRE(peer_open(&v.p, &v.w) && peer_hello(&v.p, &g, NULL) == 0 && peer_settle(&v.p));
        CHECK(digest_eq(v.p.announced, peer_digest(&v.p)));
        st = feed_session_standing(v.p.session);
        CHECK(st.proof != PROOF_HOLDS && st.proved == 0);
        let_go(&st);
    }
    peer_close(&v.p);
    world_close(&v.w);
}

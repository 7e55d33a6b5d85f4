/*
 * Who has applied a candidate and is missed: by looks, with a clock of the test's own.
 */
#include "model/applied.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "tap.h"

enum { LOST_MS = 120000, FOREVER = 3600 };

/* What the rest of a look came to. */
struct rest {
    bool keeps;
    size_t n_away, n_lost;
};

static bool keeps(void *ctx, struct str id)
{
    (void)id;
    return ((struct rest *)ctx)->keeps;
}

static void missed(void *ctx, struct str id, enum applied_is is)
{
    struct rest *r = ctx;

    (void)id;
    r->n_away += is == APPLIED_AWAY;
    r->n_lost += is == APPLIED_LOST;
}

static struct rest end(struct applied *a, bool others_heard, bool known)
{
    struct rest r = {.keeps = known};

    applied_end(a, others_heard, &(struct applied_rest){keeps, missed, &r});
    return r;
}

/* A look at which x is gone, a second after the one before. */
static enum applied_is second(struct applied *a, nsec_t *now, bool others_heard)
{
    enum applied_is is;

    *now += NSEC_PER_S;
    applied_begin(a, *now, LOST_MS);
    is = applied_gone(a, STR("x"));
    (void)end(a, others_heard, true);
    return is;
}

/* x has applied it at `now`, others are heard. */
static struct applied with_x(nsec_t now)
{
    struct applied a = {.look = 0};

    applied_begin(&a, now, LOST_MS);
    CHECK_U64(applied_here(&a, STR("x")), 0);
    (void)end(&a, true, true);
    return a;
}

TEST("who never applied it is not missed")
{
    struct applied a = {.look = 0};

    applied_begin(&a, NSEC_PER_S, LOST_MS);
    applied_back(&a, STR("x"));
    CHECK(applied_gone(&a, STR("x")) == APPLIED_NEVER &&
          applied_find(&a, STR("x")) == APPLIED_NEVER);
    CHECK_U64(end(&a, true, true).n_away, 0);
    applied_deinit(&a);
}

TEST("who applied it and is gone is away at once, and lost after its time, to the look")
{
    nsec_t now = NSEC_PER_S;
    struct applied a = with_x(now);

    CHECK(second(&a, &now, true) == APPLIED_AWAY); /* from this look on */
    for (int i = 0; i < LOST_MS / 1000 - 1; i++)
        if (!CHECK(second(&a, &now, true) == APPLIED_AWAY))
            break;
    CHECK(second(&a, &now, true) == APPLIED_LOST);
    CHECK(applied_find(&a, STR("x")) == APPLIED_LOST);
    applied_deinit(&a);
}

TEST("who is met twice in one look does not age twice")
{
    nsec_t now = NSEC_PER_S;
    struct applied a = with_x(now);

    (void)second(&a, &now, true);
    for (int i = 0; i < LOST_MS / 2000 + 1; i++) {
        applied_begin(&a, now += NSEC_PER_S, LOST_MS);
        CHECK(applied_gone(&a, STR("x")) == APPLIED_AWAY);
        CHECK(applied_gone(&a, STR("x")) == APPLIED_AWAY);
        CHECK_U64(end(&a, true, true).n_away, 0); /* it was met */
    }
    applied_deinit(&a);
}

TEST("who is back begins anew, whatever it has by now")
{
    nsec_t now = NSEC_PER_S;
    struct applied a = with_x(now);

    for (int i = 0; i < LOST_MS / 1000; i++)
        (void)second(&a, &now, true);
    applied_begin(&a, now += NSEC_PER_S, LOST_MS);
    applied_back(&a, STR("x"));
    (void)end(&a, true, true);
    for (int i = 0; i < LOST_MS / 1000; i++)
        if (!CHECK(second(&a, &now, true) == APPLIED_AWAY))
            break;
    CHECK(second(&a, &now, true) == APPLIED_LOST);
    applied_begin(&a, now += NSEC_PER_S, LOST_MS);
    CHECK_U64(applied_here(&a, STR("x")), 0);
    (void)end(&a, true, true);
    CHECK(second(&a, &now, true) == APPLIED_AWAY);
    applied_deinit(&a);
}

TEST("nobody is lost while no other is heard, nor by a server that stood still")
{
    nsec_t now = NSEC_PER_S;
    struct applied a = with_x(now);

    (void)second(&a, &now, false);
    for (int i = 0; i < FOREVER; i++)
        if (!CHECK(second(&a, &now, false) == APPLIED_AWAY))
            break;
    (void)second(&a, &now, true);
    now += FOREVER * NSEC_PER_S;
    CHECK(second(&a, &now, true) == APPLIED_AWAY);
    applied_deinit(&a);
}

TEST("who is no target any more is forgotten, who is not known any more is not")
{
    nsec_t now = NSEC_PER_S;
    struct applied a = with_x(now);
    struct rest r;

    for (int i = 0; i < LOST_MS / 1000; i++) {
        applied_begin(&a, now += NSEC_PER_S, LOST_MS);
        r = end(&a, true, true);
        CHECK(r.n_away == 1 && r.n_lost == 0);
    }
    applied_begin(&a, now += NSEC_PER_S, LOST_MS);
    r = end(&a, true, true);
    CHECK(r.n_away == 0 && r.n_lost == 1);
    applied_begin(&a, now += NSEC_PER_S, LOST_MS);
    r = end(&a, true, false);
    CHECK(r.n_away == 0 && r.n_lost == 0 && applied_find(&a, STR("x")) == APPLIED_NEVER);
    applied_deinit(&a);
}

/* Puts all dirty pieces of a into b, as a store would, and says how many there were. */
static size_t carry_over(struct applied *a, struct applied *b)
{
    size_t n = 0;

    for (size_t i = 0; i < applied_pieces(a); i++) {
        owned(buf) struct buf piece = BUF_NULL(1 << 20);

        if (!applied_is_dirty(a, i))
            continue;
        applied_put_piece(a, i, &piece);
        CHECK(!buf_status(&piece) && !applied_is_dirty(a, i));
        CHECK_U64(applied_take_piece(b, buf_str(&piece)), 0);
        n++;
    }
    return n;
}

TEST("pieces bring back everybody, and only those that changed are written again")
{
    struct applied a = {.look = 0}, b = {.look = 0};
    enum { N = 2 * APPLIED_PIECE + 7 };
    char id[24];

    applied_begin(&a, NSEC_PER_S, LOST_MS);
    for (int i = 0; i < N; i++) {
        (void)snprintf(id, sizeof(id), "web-%d", i);
        CHECK_U64(applied_here(&a, str_c(id)), 0);
    }
    CHECK_U64(carry_over(&a, &b), 3);
    CHECK_U64(b.list.n, N);
    CHECK(applied_find(&b, STR("web-0")) == APPLIED_AWAY); /* until it is met */
    CHECK_U64(applied_here(&a, STR("web-3")), 0);
    CHECK_U64(carry_over(&a, &b), 0);
    applied_forget(&a, STR("web-600")); /* the last one takes its place */
    CHECK_U64(carry_over(&a, &b), 2);
    CHECK(applied_find(&a, STR("web-600")) == APPLIED_NEVER);
    CHECK(applied_find(&a, STR("web-1030")) != APPLIED_NEVER);
    CHECK_U64(applied_take_piece(&b, STR("\n\nweb-1\nweb-1\n")), 0);
    CHECK_U64(b.list.n, N);
    applied_deinit(&a);
    applied_deinit(&b);
}

TEST("without memory, or for what is no id, it says so and keeps what it had")
{
    struct applied a = {.look = 0};
    char long_id[APPLIED_ID_MAX + 2];
    int r = ERR_NOMEM;

    memset(long_id, 'x', sizeof(long_id));
    applied_begin(&a, NSEC_PER_S, LOST_MS);
    CHECK_I64(applied_here(&a, str_of(long_id, APPLIED_ID_MAX + 1)), ERR_LIMIT);
    CHECK_I64(applied_here(&a, STR("")), ERR_LIMIT);
    for (uint64_t n = 0; r == ERR_NOMEM && n < 100; n++) {
        (void)mem_fail_after(n);
        r = applied_here(&a, STR("y"));
        (void)mem_fail_after(UINT64_MAX);
        CHECK((applied_find(&a, STR("y")) != APPLIED_NEVER) == (r == 0));
    }
    CHECK_I64(r, 0);
    CHECK_U64(a.list.n, 1);
    applied_deinit(&a);
}

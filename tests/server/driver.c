/*
 * The driver as a whole: what it makes of what instances say, over a log and a store that fail. Its decisions alone are
 * tested in unit/drive.c, who counts as what in presence/.
 */
#include "server/place.h"

/* A rollout of a/item/x, automatic, with a step for each name: nothing soaks unless soak_ms says so. */
struct plan {
    const char *ids[3];
    uint64_t soak_ms;
    uint32_t max_refused;
    bool is_automatic, auto_confirm;
};

static uint64_t start(struct place *p, const char *content, const struct plan *plan)
{
    struct change change = {.id = STR("a/item/x"), .content = str_c(content)};
    struct str ids[3];
    struct target targets[3];
    struct step steps[3];
    struct rollout_plan asked = {
        .steps = steps, .is_automatic = plan->is_automatic, .auto_confirm = plan->auto_confirm};
    struct rollout_move m = {.kind = MOVE_START, .plan = &asked};
    uint64_t id = 0;

    for (; asked.n_steps < ARRAY_LEN(ids) && plan->ids[asked.n_steps]; asked.n_steps++) {
        size_t n = asked.n_steps;

        ids[n] = str_c(plan->ids[n]);
        targets[n] = (struct target){.ids = &ids[n], .n_ids = 1};
        steps[n] = (struct step){.targets = &targets[n],
                                 .n_targets = 1,
                                 .soak_ms = plan->soak_ms,
                                 .has_soak = true,
                                 .criteria.max_refused = plan->max_refused};
    }
    CHECK_I64(
        place_commit(p, &(struct commit){.changes = &change, .n = 1, .moves = &m, .n_moves = 1},
                     &id),
        0);
    return id;
}

/* ---- what is waited for ---- */

struct wish {
    struct place *place;
    uint64_t rollout;
    enum rollout_phase phase;
    size_t n_begun;
};

static const struct rollout *rollout_now(const struct wish *w)
{
    return state_rollout(w->place->hub.state, w->rollout);
}

static bool is_in_phase(void *ctx)
{
    const struct wish *w = ctx;

    return rollout_now(w)->phase == w->phase;
}

static bool has_begun(void *ctx)
{
    const struct wish *w = ctx;

    return rollout_now(w)->n_begun == w->n_begun;
}

static bool is_satisfied(void *ctx)
{
    const struct rollout *r = rollout_now(ctx);

    return r->steps[r->n_begun - 1].is_satisfied;
}

static bool drives(void *ctx)
{
    return ((struct place *)ctx)->driver.lease.is_held;
}

/* Several looks have passed, and this one's soak has been kept if it had to be. */
struct looks {
    struct place *place;
    nsec_t since;
    int n;
};

static bool has_looked(void *ctx)
{
    struct looks *l = ctx;
    struct driver *d = &l->place->driver;

    if (d->looked > l->since) {
        l->since = d->looked;
        l->n--;
        hub_changed(&l->place->hub);
        l->place->hub.roster.stamp++; /* something of somebody has changed */
    }
    return l->n <= 0;
}

static void look_some(struct place *p)
{
    struct looks l = {p, p->driver.looked, 5};

    p->hub.roster.stamp++;
    hub_changed(&p->hub);
    place_until(p, has_looked, &l);
}

static uint64_t stable_number(const struct place *p)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    const struct version *v;
    struct name name;

    if (name_parse(STR("a/item/x"), &name, NULL))
        return 0;
    name_put_key(name, &key);
    v = state_find(p->hub.state, buf_str(&key));
    return v ? v->number : 0;
}

static void prepare(struct place *p)
{
    place_init(p);
    REQUIRE(place_open(p) == 0);
    REQUIRE(place_put(p, "a/item/x", "1", NULL) == 0);
    place_until(p, drives, p);
}

/* ---- */

TEST("an automatic rollout goes on by what its targets prove, one move at a time, until it is "
     "confirmed")
{
    struct plan plan = {.ids = {"one", "two"}, .is_automatic = true, .auto_confirm = true};
    struct instance *one, *two;
    struct place p;

    prepare(&p);
    one = place_connect(&p, "one");
    two = place_connect(&p, "two");
    REQUIRE(one && two && !place_say(&p, one, SAYS_OK) && !place_say(&p, two, SAYS_OK));
    struct wish w = {&p, start(&p, "2", &plan), ROLLOUT_CONFIRMED, 2};
    REQUIRE(w.rollout);
    look_some(&p);
    CHECK_U64(rollout_now(&w)->n_begun, 1); /* nobody has proved it */
    REQUIRE(!place_say(&p, one, SAYS_WRONG));
    look_some(&p);
    CHECK_U64(rollout_now(&w)->n_begun, 1); /* a word that proves nothing */
    REQUIRE(!place_say(&p, one, SAYS_OK));
    place_until(&p, has_begun, &w);
    CHECK(rollout_now(&w)->steps[0].is_satisfied);
    look_some(&p);
    CHECK_I64(rollout_now(&w)->phase, ROLLOUT_RUNNING);
    REQUIRE(!place_say(&p, one, SAYS_OK) && !place_say(&p, two, SAYS_OK));
    place_until(&p, is_in_phase, &w);
    CHECK_U64(stable_number(&p), 2);
    CHECK_U64(rollout_now(&w)->n_moves, 3); /* started, advanced, confirmed */
    place_free(&p);
}

TEST("a target that refuses takes the rollout back, and the reason names it; with a hundred "
     "looks "
     "it is one move")
{
    struct plan plan = {.ids = {"one"}, .is_automatic = true};
    struct instance *one;
    struct place p;

    prepare(&p);
    one = place_connect(&p, "one");
    REQUIRE(one && !place_say(&p, one, SAYS_OK));
    struct wish w = {&p, start(&p, "2", &plan), ROLLOUT_ROLLED_BACK, 1};
    REQUIRE(w.rollout && !place_say(&p, one, SAYS_REFUSED));
    place_until(&p, is_in_phase, &w);
    CHECK(memmem(rollout_now(&w)->moved_why.data, rollout_now(&w)->moved_why.len, "one", 3));
    CHECK_STR(rollout_now(&w)->moved_by, STR("trimtabd"));
    CHECK_U64(rollout_now(&w)->n_moves, 2);
    place_free(&p);
}

TEST("a step that soaks is satisfied after its criteria held for so long, and starts anew when "
     "a "
     "word is owed")
{
    struct plan plan = {.ids = {"one"}, .soak_ms = 40};
    struct instance *one;
    struct place p;

    prepare(&p);
    one = place_connect(&p, "one");
    REQUIRE(one);
    struct wish w = {&p, start(&p, "2", &plan), ROLLOUT_RUNNING, 1};
    REQUIRE(w.rollout);
    look_some(&p);
    CHECK(!is_satisfied(&w));
    CHECK_U64(drives_find(&p.driver.drives, w.rollout)->soak.held_ms, 0);
    REQUIRE(!place_say(&p, one, SAYS_OK));
    place_until(&p, is_satisfied, &w);
    CHECK(drives_find(&p.driver.drives, w.rollout)->soak.held_ms >= plan.soak_ms);
    CHECK_I64(rollout_now(&w)->phase, ROLLOUT_RUNNING); /* by hand from here on */
    place_free(&p);
}

TEST("a target that had applied it and leaves holds the step, and the list of who applied "
     "survives the server")
{
    struct plan plan = {.ids = {"one"}, .soak_ms = 3600000};
    struct instance *one;
    struct place p;

    prepare(&p);
    one = place_connect(&p, "one");
    REQUIRE(one);
    struct wish w = {&p, start(&p, "2", &plan), ROLLOUT_RUNNING, 1};
    REQUIRE(w.rollout && !place_say(&p, one, SAYS_OK));
    look_some(&p);
    CHECK(drives_find(&p.driver.drives, w.rollout)->soak.holds);
    place_leave(&p, one);
    look_some(&p);
    CHECK(!drives_find(&p.driver.drives, w.rollout)->soak.holds);
    CHECK_U64(drives_find(&p.driver.drives, w.rollout)->heads.counts[TARGET_AWAY], 1);
    place_stop(&p);
    REQUIRE(place_open(&p) == 0);
    place_until(&p, drives, &p);
    look_some(&p);
    CHECK_U64(drives_find(&p.driver.drives, w.rollout)->heads.counts[TARGET_AWAY], 1);
    place_free(&p);
}

/* Whether the store knows of everybody who applied it: a server that starts on it tells. */
static bool restart_knows(struct place *p, uint64_t rollout)
{
    const struct drive *v;

    store_disk_faults(p->disk, NULL, NULL);
    store_disk_crash(p->disk); /* nothing is kept in good order */
    place_stop(p);
    if (!CHECK_I64(place_open(p), 0))
        return false;
    place_until(p, drives, p);
    look_some(p);
    v = drives_find(&p->driver.drives, rollout);
    return v && v->heads.counts[TARGET_AWAY] == 1;
}

static bool has_kept(void *ctx)
{
    struct place *p = ctx;
    const struct drive *v = &p->driver.drives.list.at[0];

    if (p->driver.drives.list.n != 1 || p->driver.lease.is_busy || !v->saved)
        return false;
    for (size_t i = 0; i < applied_pieces(&v->heads.applied); i++)
        if (applied_is_dirty(&v->heads.applied, i))
            return false;
    return true;
}

TEST("whatever write of who applied it fails, it is written again: a crash later nobody is "
     "missed "
     "in vain")
{
    static const enum store_write writes[] = {STORE_WRITE_EPHEMERAL, STORE_WRITE_LEASE};
    struct plan plan = {.ids = {"one"}, .soak_ms = 3600000};

    for (size_t k = 0; k < ARRAY_LEN(writes); k++)
        for (int at = 0; at < 4; at++) {
            struct instance *one;
            struct place p;
            uint64_t rollout;

            prepare(&p);
            p.keeper.is_open = false; /* who keeps instances would tell it, too */
            one = place_connect(&p, "one");
            rollout = start(&p, "2", &plan);
            REQUIRE(one && rollout);
            place_faults(&p, writes[k], STORE_FAULT_FAIL, at, 1);
            REQUIRE(!place_say(&p, one, SAYS_OK));
            look_some(&p);
            place_until(&p, has_kept, &p);
            if (!CHECK(restart_knows(&p, rollout)))
                tap_note("write %zu, failed at %d", k, at);
            place_free(&p);
        }
}

TEST("a move that the log refuses is made later, once; the rollout says what the trouble is "
     "meanwhile")
{
    struct plan plan = {.ids = {"one"}};
    struct instance *one;
    struct place p;

    prepare(&p);
    one = place_connect(&p, "one");
    REQUIRE(one);
    struct wish w = {&p, start(&p, "2", &plan), ROLLOUT_RUNNING, 1};
    REQUIRE(w.rollout);
    place_faults(&p, STORE_WRITE_APPEND, STORE_FAULT_FAIL, 0, 1);
    REQUIRE(!place_say(&p, one, SAYS_OK));
    place_until(&p, is_satisfied, &w);
    CHECK_I64(atomic_load(&p.n_writes), 2);
    CHECK_STR(str_c(drives_find(&p.driver.drives, w.rollout)->trouble), STR(""));
    place_free(&p);
}

static bool has_none(void *ctx)
{
    return ((struct place *)ctx)->driver.drives.list.n == 0;
}

TEST("what has ended is not driven any more, and the store forgets it")
{
    struct plan plan = {.ids = {"one"}, .soak_ms = 3600000};
    struct rollout_move back = {.kind = MOVE_ROLL_BACK, .expected = 1, .reason = STR("no")};
    struct instance *one;
    struct place p;

    prepare(&p);
    one = place_connect(&p, "one");
    REQUIRE(one);
    back.id = start(&p, "2", &plan);
    REQUIRE(back.id && !place_say(&p, one, SAYS_OK));
    look_some(&p);
    CHECK(drives_find(&p.driver.drives, back.id) != NULL);
    CHECK_I64(place_commit(&p, &(struct commit){.moves = &back, .n_moves = 1}, NULL), 0);
    place_until(&p, has_none, &p);
    place_stop(&p);
    REQUIRE(place_open(&p) == 0);
    place_until(&p, drives, &p);
    CHECK_U64(p.driver.drives.list.n, 0);
    CHECK_U64(p.driver.ended.n, 0); /* nothing was loaded that is over */
    place_free(&p);
}

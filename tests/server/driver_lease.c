/*
 * Who drives: of several servers on one store exactly one, and another when that one leaves; soaks go with it.
 */
#include "server/rollout/lease.h"

#include "tap.h"

#include <stdlib.h>
#include <unistd.h>

struct place {
    struct loop loop;
    struct committer *committer;
    char dirs[2][64];
};

static void on_publish(void *ctx, struct publication *p)
{
    (void)ctx;
    (void)p;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void place_open(struct place *p)
{
    struct committer_opts opts = {
        .store_url = "mem:", .loop = &p->loop, .on_publish = on_publish};
    struct state *state;

    memset(p, 0, sizeof(*p));
    REQUIRE(loop_open(&p->loop, NULL) == 0);
    REQUIRE(committer_open(&opts, &p->committer, &state, NULL) == 0);
    (void)state_unref(state);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(p->dirs[i], sizeof(p->dirs[i]), "/tmp/trimtab-lease-XXXXXX");
        REQUIRE(mkdtemp(p->dirs[i]) != NULL);
    }
}

static void place_close(struct place *p)
{
    char file[128];

    CHECK_I64(committer_close(p->committer, NULL), 0);
    loop_turn(&p->loop, LOOP_POLL);
    loop_close(&p->loop);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(file, sizeof(file), "%s/server.id", p->dirs[i]);
        (void)unlink(file);
        (void)rmdir(p->dirs[i]);
    }
}

/* A server with its folder. */
static void open_lease(struct driver_lease *l, struct place *p, int dir)
{
    *l = (struct driver_lease){.done = nothing};
    REQUIRE(driver_lease_open(l, p->dirs[dir], p->committer, NULL) == 0);
}

static void wait_for(struct driver_lease *l, struct place *p)
{
    while (l->is_busy)
        loop_turn(&p->loop, LOOP_WAIT);
}

static void visit(struct driver_lease *l, struct place *p, const struct drive_record *record)
{
    struct drive_records records = {.n = 0};

    if (record)
        REQUIRE(VEC_PUSH(&records, *record));
    driver_lease_visit(l, &records);
    wait_for(l, p);
}

static void leave(struct driver_lease *l, struct place *p)
{
    struct drive_records records = {.n = 0};

    driver_lease_leave(l, &records);
    wait_for(l, p);
    driver_lease_close(l);
}

TEST("of two servers one drives, and the other when that one leaves")
{
    struct driver_lease one, two;
    struct place p;

    place_open(&p);
    open_lease(&one, &p, 0);
    open_lease(&two, &p, 1);
    CHECK(strcmp(one.id, two.id) != 0);
    visit(&one, &p, NULL);
    visit(&two, &p, NULL);
    CHECK(one.is_held && !two.is_held);
    visit(&two, &p, NULL);
    visit(&one, &p, NULL);
    CHECK(one.is_held && !two.is_held);
    leave(&one, &p);
    visit(&two, &p, NULL);
    CHECK(two.is_held);
    driver_lease_close(&two);
    place_close(&p);
}

TEST("who was killed drives again at once when it is started again, another one does not")
{
    struct driver_lease one, two;
    struct place p;

    place_open(&p);
    open_lease(&one, &p, 0);
    visit(&one, &p, NULL);
    CHECK(one.is_held);
    driver_lease_close(&one); /* without a word */
    open_lease(&two, &p, 1);
    visit(&two, &p, NULL);
    CHECK(!two.is_held);
    open_lease(&one, &p, 0); /* with the id in its folder */
    visit(&one, &p, NULL);
    CHECK(one.is_held);
    leave(&one, &p);
    driver_lease_close(&two);
    place_close(&p);
}

TEST("the next driver gets the soaks as they were kept last, but for those that have ended")
{
    struct driver_lease one, two;
    struct place p;

    place_open(&p);
    open_lease(&one, &p, 0);
    visit(&one, &p,
          &(struct drive_record){.rollout = 7, .step = 7, .held_ms = 10, .targets = 3});
    visit(&one, &p,
          &(struct drive_record){.rollout = 8, .step = 9, .held_ms = 20, .targets = 4});
    visit(&one, &p,
          &(struct drive_record){.rollout = 7, .step = 7, .held_ms = 15, .targets = 2});
    visit(&one, &p, &(struct drive_record){.rollout = 8, .has_ended = true});
    leave(&one, &p);
    open_lease(&two, &p, 1);
    visit(&two, &p, NULL);
    REQUIRE(two.loaded.n == 1);
    CHECK_U64(two.loaded.at[0].rollout, 7);
    CHECK_U64(two.loaded.at[0].step, 7);
    CHECK_U64(two.loaded.at[0].held_ms, 15);
    CHECK_U64(two.loaded.at[0].targets, 2);
    leave(&two, &p);
    place_close(&p);
}

TEST("who does not drive keeps nothing")
{
    struct driver_lease one, two;
    struct place p;

    place_open(&p);
    open_lease(&one, &p, 0);
    open_lease(&two, &p, 1);
    visit(&one, &p,
          &(struct drive_record){.rollout = 7, .step = 7, .held_ms = 10, .targets = 3});
    visit(&two, &p,
          &(struct drive_record){.rollout = 7, .step = 7, .held_ms = 99, .targets = 9});
    leave(&one, &p);
    visit(&two, &p, NULL);
    REQUIRE(two.loaded.n == 1);
    CHECK_U64(two.loaded.at[0].held_ms, 10);
    leave(&two, &p);
    place_close(&p);
}

/*
 * What the driver decides: by the tally of the targets, the soak and the clocks.
 */
#include "model/drive.h"

#include "tap.h"

enum { BEGAN = 7 };

/* A running rollout in the first of its steps, which asks for nothing. Borrows steps. */
static struct rollout running(struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        steps[i] = (struct step){.revision = i == 0 ? BEGAN : 0};
    return (struct rollout){
        .id = BEGAN, .phase = ROLLOUT_RUNNING, .steps = steps, .n_steps = n, .n_begun = 1};
}

/* What is decided when the same was seen `ms` milliseconds ago and is seen now. */
static struct decision decide_after(const struct rollout *r, const struct tally *t, uint64_t ms)
{
    struct soak soak = {.step = 0};
    struct decision d;

    soak_note(&soak, r, t, true, NSEC_PER_S);
    soak_note(&soak, r, t, true, NSEC_PER_S + ms * NSEC_PER_MS);
    drive_decide(r, t, &soak, 1000, &d);
    return d;
}

static bool moves(const struct decision *d, enum rollout_move_kind move)
{
    bool ok = d->has_move && d->move == move && *d->text;

    if (!ok)
        tap_note("%s: %s", d->has_move ? rollout_move_name(d->move) : "no move", d->text);
    return ok;
}

TEST("a step is satisfied when one target has applied it and nobody is awaited")
{
    struct step steps[1];
    struct rollout r = running(steps, 1);
    static const struct {
        struct tally tally;
        bool is_satisfied;
    } cases[] = {
        {{.applied = 1}, true},
        {{.applied = 0}, false},
        {{.applied = 3, .pending = 1}, false},
        {{.applied = 3, .silent = 1}, false},
        {{.applied = 3, .refused = 1}, false},
        {{.applied = 3, .failing = 1}, false},
        {{.applied = 3, .unjudged = 1}, false},
        {{.applied = 3, .unproven = 1}, false},
        {{.applied = 3, .away = 1}, false},
        {{.applied = 3, .lost = 1}, false},
        {{.applied = 1, .hidden = 9}, true},
        {{.hidden = 9}, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct decision d = decide_after(&r, &cases[i].tally, 0);

        if (cases[i].is_satisfied)
            CHECK(moves(&d, MOVE_SATISFY));
        else
            CHECK(!d.has_move && *d.text);
    }
}

TEST("criteria allow so many and not one more")
{
    struct step steps[2];
    struct rollout r = running(steps, 2);
    struct decision d;

    r.is_automatic = true;
    steps[0].criteria = (struct criteria){
        .max_refused = 2, .max_failing = 1, .max_silent = 3, .min_applied = 4};
    d = decide_after(&r, &(struct tally){.refused = 2, .failing = 1, .silent = 3, .applied = 4},
                     0);
    CHECK(moves(&d, MOVE_SATISFY));
    d = decide_after(&r, &(struct tally){.applied = 3}, 0);
    CHECK(!d.has_move && strstr(d.text, "at least 4"));
    d = decide_after(&r, &(struct tally){.applied = 9, .silent = 4}, 0);
    CHECK(!d.has_move && strstr(d.text, "silent"));
    d = decide_after(&r, &(struct tally){.applied = 9, .refused = 3, .example = STR("why")}, 0);
    CHECK(moves(&d, MOVE_ROLL_BACK) && strstr(d.text, "3 of 12") && strstr(d.text, "why"));
    d = decide_after(&r, &(struct tally){.applied = 9, .failing = 2, .example = STR("why")}, 0);
    CHECK(moves(&d, MOVE_ROLL_BACK) && strstr(d.text, "2 of 11") && strstr(d.text, "failing"));
    /* by the newest step's, not by those of the steps before */
    r.n_begun = 2;
    steps[1].revision = 9;
    d = decide_after(&r, &(struct tally){.applied = 9, .refused = 1}, 0);
    CHECK(moves(&d, MOVE_ROLL_BACK));
}

TEST("only automatic rollouts go on and back by themselves")
{
    struct step steps[2];
    struct rollout r = running(steps, 2);
    struct tally good = {.applied = 1}, bad = {.applied = 1, .refused = 1};
    struct decision d = decide_after(&r, &bad, 0);

    CHECK(!d.has_move && *d.text);
    steps[0].is_satisfied = true;
    d = decide_after(&r, &good, 0);
    CHECK(!d.has_move);
    r.is_automatic = true;
    d = decide_after(&r, &good, 0);
    CHECK(moves(&d, MOVE_ADVANCE));
    d = decide_after(&r, &(struct tally){.applied = 1, .pending = 1}, 0);
    CHECK(!d.has_move && *d.text); /* satisfied, but not good any more */
    r.n_begun = 2;
    steps[1] = (struct step){.revision = 9, .is_satisfied = true};
    d = decide_after(&r, &good, 0);
    CHECK(!d.has_move);
    r.auto_confirm = true;
    d = decide_after(&r, &good, 0);
    CHECK(moves(&d, MOVE_CONFIRM));
    d = decide_after(&r, &bad, 0);
    CHECK(moves(&d, MOVE_ROLL_BACK));
}

TEST("criteria that are given hold for who is lost, none is not the same as nothing said")
{
    struct step steps[1];
    struct rollout r = running(steps, 1);
    static const struct {
        struct tally tally;
        struct criteria criteria;
        bool is_good;
    } cases[] = {
        /* of up to a hundred that applied it none may be lost, above one in a hundred */
        {{.applied = 99, .lost = 1}, {.has_max_lost = false}, false},
        {{.applied = 100, .lost = 1}, {.has_max_lost = false}, true},
        {{.applied = 198, .lost = 2}, {.has_max_lost = false}, true},
        {{.applied = 197, .lost = 2}, {.has_max_lost = false}, false},
        {{.applied = 998, .lost = 11}, {.has_max_lost = false}, false},
        {{.applied = 1000, .pending = 0, .lost = 10}, {.has_max_lost = false}, true},
        /* who never applied it makes no room for others to be lost */
        {{.applied = 50, .refused = 99, .lost = 1}, {.max_refused = 99}, false},
        {{.applied = 500, .lost = 1}, {.has_max_lost = true, .max_lost = 0}, false},
        {{.applied = 5, .lost = 2}, {.has_max_lost = true, .max_lost = 2}, true},
        {{.applied = 5, .lost = 3}, {.has_max_lost = true, .max_lost = 2}, false},
    };

    r.is_automatic = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct decision d;

        steps[0].criteria = cases[i].criteria;
        d = decide_after(&r, &cases[i].tally, 0);
        if (!CHECK(moves(&d, cases[i].is_good ? MOVE_SATISFY : MOVE_ROLL_BACK)))
            tap_note("case %zu", i);
    }
}

TEST("who is away holds a step at once, but takes nothing back until it is lost")
{
    struct step steps[2];
    struct rollout r = running(steps, 2);
    struct tally away = {.applied = 3, .away = 1};
    struct decision d;
    char text[DRIVE_TEXT_MAX];

    r.is_automatic = r.auto_confirm = true;
    steps[0].criteria = (struct criteria){.has_max_lost = true, .max_lost = 9};
    d = decide_after(&r, &away, 1000);
    CHECK(!d.has_move && strstr(d.text, "1 of 4 instances had applied it and is away"));
    steps[0].is_satisfied = true;
    d = decide_after(&r, &away, 1000);
    CHECK(!d.has_move);
    CHECK(drive_objects(&r, &away, text) && strstr(text, "is away"));
    CHECK(!drive_objects(&r, &(struct tally){.applied = 3, .lost = 9}, text));
    CHECK(drive_objects(&r, &(struct tally){.applied = 3, .lost = 10}, text));
    CHECK(drive_objects(&r, &(struct tally){.applied = 3, .refused = 1}, text));
    CHECK(drive_objects(&r, &(struct tally){.applied = 3, .failing = 1}, text));
    CHECK(!drive_objects(&r, &(struct tally){.applied = 3, .pending = 1, .silent = 1}, text));
}

TEST("a step gets a soak when nobody said one, and keeps one that was said, also none")
{
    struct step said = {.has_soak = true, .soak_ms = 0}, automatic = {.has_soak = false},
                by_hand = automatic;

    step_settle(&said, true);
    step_settle(&automatic, true);
    step_settle(&by_hand, false);
    CHECK(said.has_soak && said.soak_ms == 0);
    CHECK(automatic.has_soak && automatic.soak_ms == SOAK_DEFAULT_MS);
    CHECK(by_hand.has_soak && by_hand.soak_ms == 0);
}

TEST("a pause stops advancing, not guarding")
{
    struct step steps[2];
    struct rollout r = running(steps, 2);
    struct decision d;

    r.phase = ROLLOUT_PAUSED;
    d = decide_after(&r, &(struct tally){.applied = 1, .refused = 1}, 0);
    CHECK(!d.has_move); /* not an automatic one */
    r.is_automatic = true;
    d = decide_after(&r, &(struct tally){.applied = 1, .refused = 1}, 0);
    CHECK(moves(&d, MOVE_ROLL_BACK));
    d = decide_after(&r, &(struct tally){.applied = 1, .failing = 1}, 0);
    CHECK(moves(&d, MOVE_ROLL_BACK));
    d = decide_after(&r, &(struct tally){.applied = 1, .lost = 1}, 0);
    CHECK(moves(&d, MOVE_ROLL_BACK));
    d = decide_after(&r, &(struct tally){.applied = 1, .away = 1}, 0);
    CHECK(!d.has_move);
    CHECK(drive_meets(&r, &(struct tally){.applied = 1})); /* a person may confirm it */
}

TEST("who is paused or over is left alone, but for the day on which it expires")
{
    struct step steps[1];
    struct rollout r = running(steps, 1);
    struct tally bad = {.refused = 1}, good = {.applied = 1};
    struct decision d;

    r.is_automatic = r.auto_confirm = true;
    r.phase = ROLLOUT_PAUSED;
    d = decide_after(&r, &good, 0);
    CHECK(!d.has_move);
    r.expires_ms = 1001;
    d = decide_after(&r, &good, 0);
    CHECK(!d.has_move);
    r.expires_ms = 1000;
    d = decide_after(&r, &good, 0);
    CHECK(moves(&d, MOVE_EXPIRE));
    for (int p = ROLLOUT_CONFIRMED; p < ROLLOUT_PHASES; p++) {
        r.phase = (enum rollout_phase)p;
        d = decide_after(&r, &bad, 0);
        CHECK(!d.has_move);
    }
}

TEST("a soak must be over, to the millisecond")
{
    struct step steps[1];
    struct rollout r = running(steps, 1);
    struct tally good = {.applied = 1};
    struct decision d;

    steps[0].soak_ms = 5000;
    d = decide_after(&r, &good, 4999);
    CHECK(!d.has_move && strstr(d.text, "4 of 5 s"));
    d = decide_after(&r, &good, 5000);
    CHECK(moves(&d, MOVE_SATISFY));
}

TEST("the soak stands still while the criteria do not hold, and begins anew with every step")
{
    struct step steps[2];
    struct rollout r = running(steps, 2);
    struct tally good = {.applied = 1}, not_yet = {.applied = 1, .pending = 1};
    struct soak s = {.step = 0};
    nsec_t now = NSEC_PER_S;

    soak_note(&s, &r, &good, true, now);
    soak_note(&s, &r, &good, true, now += 1500 * NSEC_PER_MS);
    CHECK_U64(s.held_ms, 1500);
    soak_note(&s, &r, &not_yet, true, now += NSEC_PER_S);
    soak_note(&s, &r, &not_yet, true, now += NSEC_PER_S);
    soak_note(&s, &r, &good, true, now += NSEC_PER_S);
    CHECK_U64(s.held_ms, 1500);
    soak_note(&s, &r, &good, false, now += NSEC_PER_S); /* nobody can be sure */
    soak_note(&s, &r, &good, true, now += NSEC_PER_S);
    CHECK_U64(s.held_ms, 1500);
    for (int i = 0; i < 1000; i++) /* parts of milliseconds are not lost */
        soak_note(&s, &r, &good, true, now += NSEC_PER_MS / 2);
    CHECK_U64(s.held_ms, 2000);
    r.phase = ROLLOUT_PAUSED;
    soak_note(&s, &r, &good, true, now += NSEC_PER_S);
    CHECK_U64(s.held_ms, 2000);
    r.phase = ROLLOUT_RUNNING;
    r.n_begun = 2;
    steps[1].revision = 9;
    soak_note(&s, &r, &good, true, now += NSEC_PER_S);
    CHECK(s.step == 9 && s.held_ms == 0);
    soak_note(&s, &r, &good, true, now += NSEC_PER_S);
    CHECK_U64(s.held_ms, 1000);
}

TEST("what was kept over a restart goes on, and the time between does not count")
{
    struct step steps[1];
    struct rollout r = running(steps, 1);
    struct tally good = {.applied = 1};
    struct soak s = {.step = BEGAN, .held_ms = 4000};
    struct decision d;

    steps[0].soak_ms = 5000;
    soak_note(&s, &r, &good, true, 1000 * NSEC_PER_S);
    drive_decide(&r, &good, &s, 0, &d);
    CHECK(!d.has_move && s.held_ms == 4000);
    soak_note(&s, &r, &good, true, 1001 * NSEC_PER_S);
    drive_decide(&r, &good, &s, 0, &d);
    CHECK(moves(&d, MOVE_SATISFY));
}

TEST("a long word of an instance is cut between characters")
{
    struct step steps[1];
    struct rollout r = running(steps, 1);
    struct decision d;
    char text[3001];

    for (size_t i = 0; i + 3 <= sizeof(text); i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    d = decide_after(&r, &(struct tally){.refused = 1, .example = str_of(text, 2999 / 3 * 3)},
                     0);
    CHECK(strlen(d.text) > DRIVE_TEXT_MAX - 5 && str_is_utf8(str_c(d.text)));
}

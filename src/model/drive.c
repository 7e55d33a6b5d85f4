/*
 * Decisions about rollouts. See drive.h.
 */
#include "model/drive.h"

uint64_t tally_targets(const struct tally *t)
{
    return t->refused + t->failing + t->applied + t->silent + t->pending;
}

static const struct step *newest(const struct rollout *r)
{
    return &r->steps[r->n_begun - 1];
}

static uint64_t min_applied(const struct criteria *c)
{
    return c->min_applied ? c->min_applied : 1;
}

bool drive_holds(const struct rollout *r, const struct tally *t)
{
    const struct criteria *c = &newest(r)->criteria;

    return r->phase == ROLLOUT_RUNNING && !t->pending && t->refused <= c->max_refused &&
           t->failing <= c->max_failing && t->silent <= c->max_silent &&
           t->applied >= min_applied(c);
}

void soak_note(struct soak *s, const struct rollout *r, const struct tally *t, bool is_sure,
               nsec_t now)
{
    bool holds = is_sure && drive_holds(r, t);

    if (s->step != newest(r)->revision)
        *s = (struct soak){.step = newest(r)->revision};
    if (s->holds && holds) {
        uint64_t ms = (now - s->seen) / NSEC_PER_MS;

        s->held_ms += ms;
        s->seen += ms * NSEC_PER_MS; /* what is less counts at the next look */
    } else {
        s->seen = now;
    }
    s->holds = holds;
}

/* ---- deciding ---- */

#define say(d, ...) text_format((d)->text, sizeof((d)->text), __VA_ARGS__)

static void decide(struct decision *d, enum rollout_move_kind move)
{
    d->has_move = true;
    d->move = move;
}

#define U(n) ((unsigned long long)(n))

static const char *each(uint64_t n, const char *one, const char *many)
{
    return n == 1 ? one : many;
}

/* More than may: true, and why. */
static bool is_bad(const struct rollout *r, const struct tally *t, struct decision *d)
{
    const struct criteria *c = &newest(r)->criteria;
    bool refused = t->refused > c->max_refused, failing = t->failing > c->max_failing;
    uint64_t n = refused ? t->refused : t->failing;

    if (!refused && !failing)
        return false;
    say(d, "%llu of %llu instances %s, %u may: %.*s", U(n), U(tally_targets(t)),
        refused ? each(n, "refuses it", "refuse it") : each(n, "is failing", "are failing"),
        refused ? c->max_refused : c->max_failing, STR_ARG(t->example));
    return true;
}

/* What keeps the newest step from being satisfied. */
static void say_waiting(const struct rollout *r, const struct tally *t, const struct soak *s,
                        struct decision *d)
{
    const struct step *step = newest(r);
    const struct criteria *c = &step->criteria;

    if (t->pending)
        say(d, "waits for %llu of %llu instances", U(t->pending), U(tally_targets(t)));
    else if (t->silent > c->max_silent)
        say(d, "%llu %s silent, %u may be", U(t->silent), each(t->silent, "is", "are"),
            c->max_silent);
    else if (t->applied < min_applied(c))
        say(d, "applied by %llu, at least %llu must have", U(t->applied), U(min_applied(c)));
    else if (s->holds)
        say(d, "has held for %llu of %llu s", U(s->held_ms / 1000), U(step->soak_ms / 1000));
    else
        say(d, "waits for instances that were there before the server started");
}

static void decide_next(const struct rollout *r, const struct soak *s, struct decision *d)
{
    if (!s->holds) {
        say(d, "the criteria of step %zu do not hold any more", r->n_begun);
    } else if (r->n_begun < r->n_steps) {
        decide(d, MOVE_ADVANCE);
        say(d, "step %zu is satisfied", r->n_begun);
    } else if (r->auto_confirm) {
        decide(d, MOVE_CONFIRM);
        say(d, r->n_steps == 1 ? "its step is satisfied" : "all %zu steps are satisfied",
            r->n_steps);
    }
}

void drive_decide(const struct rollout *r, const struct tally *t, const struct soak *s,
                  int64_t wall_ms, struct decision *d)
{
    const struct step *step = newest(r);

    *d = (struct decision){.has_move = false};
    if (!rollout_is_live(r))
        return;
    if (r->expires_ms && wall_ms >= r->expires_ms) {
        decide(d, MOVE_EXPIRE);
        say(d, "its time was over, and nobody had confirmed it");
        return;
    }
    if (r->phase == ROLLOUT_PAUSED)
        return;
    if (is_bad(r, t, d)) {
        if (r->is_automatic)
            decide(d, MOVE_ROLL_BACK);
    } else if (!step->is_satisfied && s->holds && s->held_ms >= step->soak_ms) {
        decide(d, MOVE_SATISFY);
        say(d, "applied by %llu of %llu for %llu s", U(t->applied), U(tally_targets(t)),
            U(s->held_ms / 1000));
    } else if (!step->is_satisfied) {
        say_waiting(r, t, s, d);
    } else if (r->is_automatic) {
        decide_next(r, s, d);
    }
}

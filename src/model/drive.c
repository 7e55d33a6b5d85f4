/*
 * Decisions about rollouts. See drive.h.
 */
#include "model/drive.h"

uint64_t tally_targets(const struct tally *t)
{
    return t->refused + t->failing + t->applied + t->unjudged + t->unproven + t->silent +
           t->pending + t->away + t->lost;
}

static const struct step *newest(const struct rollout *r)
{
    return &r->steps[r->n_begun - 1];
}

static uint64_t min_applied(const struct criteria *c)
{
    return c->min_applied ? c->min_applied : 1;
}

uint64_t drive_max_lost(const struct criteria *c, const struct tally *t)
{
    uint64_t have_applied = t->applied + t->failing + t->unjudged + t->away + t->lost;

    if (c->has_max_lost)
        return c->max_lost;
    return have_applied > LOST_NONE_UP_TO ? have_applied / 100 : 0;
}

/* Those that say nothing which could be believed. */
static uint64_t unheard(const struct tally *t)
{
    return t->silent + t->unproven;
}

bool drive_meets(const struct rollout *r, const struct tally *t)
{
    const struct criteria *c = &newest(r)->criteria;

    return !t->pending && !t->unjudged && !t->away && t->refused <= c->max_refused &&
           t->failing <= c->max_failing && t->lost <= drive_max_lost(c, t) &&
           unheard(t) <= c->max_silent && t->applied >= min_applied(c);
}

void soak_note(struct soak *s, const struct rollout *r, const struct tally *t, bool is_sure,
               nsec_t now)
{
    bool holds = is_sure && r->phase == ROLLOUT_RUNNING && drive_meets(r, t);

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

/* One reason to go back: so many are so, and so many may be. */
struct fault {
    uint64_t n, may;
    const char *one, *many;
};

/* More than may: true, and why. */
static bool is_bad(const struct rollout *r, const struct tally *t, char text[DRIVE_TEXT_MAX])
{
    const struct criteria *c = &newest(r)->criteria;
    const struct fault faults[] = {
        {t->refused, c->max_refused, "refuses it", "refuse it"},
        {t->failing, c->max_failing, "is failing", "are failing"},
        {t->lost, drive_max_lost(c, t), "had applied it and is lost",
         "had applied it and are lost"},
    };

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        const struct fault *f = &faults[i];

        if (f->n <= f->may)
            continue;
        text_format(text, DRIVE_TEXT_MAX, "%llu of %llu instances %s, %llu may%s%.*s", U(f->n),
                    U(tally_targets(t)), each(f->n, f->one, f->many), U(f->may),
                    t->example.len ? ": " : "", STR_ARG(t->example));
        return true;
    }
    return false;
}

bool drive_objects(const struct rollout *r, const struct tally *t, char text[DRIVE_TEXT_MAX])
{
    if (is_bad(r, t, text))
        return true;
    if (t->away)
        text_format(text, DRIVE_TEXT_MAX, "%llu of %llu instances had applied it and %s away",
                    U(t->away), U(tally_targets(t)), each(t->away, "is", "are"));
    return t->away != 0;
}

/* What keeps the newest step from being satisfied. */
static void say_waiting(const struct rollout *r, const struct tally *t, const struct soak *s,
                        struct decision *d)
{
    const struct step *step = newest(r);
    const struct criteria *c = &step->criteria;

    if (t->away)
        say(d, "%llu of %llu instances had applied it and %s away", U(t->away),
            U(tally_targets(t)), each(t->away, "is", "are"));
    else if (t->pending)
        say(d, "waits for %llu of %llu instances", U(t->pending), U(tally_targets(t)));
    else if (t->unjudged)
        say(d, "waits for what judges %llu of %llu instances", U(t->unjudged),
            U(tally_targets(t)));
    else if (unheard(t) > c->max_silent && t->unproven)
        say(d, "%llu %s silent or unproven, %u may be", U(unheard(t)),
            each(unheard(t), "is", "are"), c->max_silent);
    else if (t->silent > c->max_silent)
        say(d, "%llu %s silent, %u may be", U(t->silent), each(t->silent, "is", "are"),
            c->max_silent);
    else if (t->applied < min_applied(c))
        say(d, "applied by %llu, at least %llu must have%s", U(t->applied), U(min_applied(c)),
            t->hidden ? "; a stronger layer hides it from others" : "");
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
    if (is_bad(r, t, d->text)) {
        if (r->is_automatic) /* paused or not: a pause stops advancing, not guarding */
            decide(d, MOVE_ROLL_BACK);
    } else if (r->phase == ROLLOUT_PAUSED) {
        return;
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

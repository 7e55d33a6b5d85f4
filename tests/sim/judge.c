/*
 * The model of judgement. See judge.h.
 */
#include "judge.h"

#include <stdio.h>
#include <string.h>

/* A host that dies without a word is noticed after 50 s at most; then it must count. */
static const uint64_t AWAY_NOTICED = 60ULL * 1000 * 1000 * 1000;

#define SAY(why, ...) ((void)snprintf((why), WHY_MAX, __VA_ARGS__), false)

#define U(n)          ((unsigned long long)(n))

/* The view, with what it refers to; of without: as if that rollout were not there. */
static void view_at(const struct oracle *o, const struct wisher *w, uint64_t revision,
                    const struct trial *without, struct held *view)
{
    uint64_t bound[SCOPES * KEYS];
    size_t n = 0;

    memset(view, 0, sizeof(*view));
    for (int s = 0; s < w->wish->n_scopes; s++)
        for (int k = 0; k < KINDS; k++)
            for (int i = 0; i < NAMES; i++) {
                uint64_t content = oracle_expect_without(o, w, s, k, i, revision, without);

                view->bound[s][k][i] = content;
                if (content)
                    bound[n++] = content;
            }
    (void)oracle_refer_without(o, w, bound, n, revision, without, view->referred);
}

/* All names of a set, one after the other. */
enum { PLACES = SCOPES * KEYS + NODES };
static uint64_t place(const struct held *h, int at)
{
    if (at >= SCOPES * KEYS)
        return h->referred[at - SCOPES * KEYS];
    return h->bound[at / KEYS][at / NAMES % KINDS][at % NAMES];
}

bool judge_ok(const struct oracle *o, const struct truth *t, char why[WHY_MAX])
{
    struct held view;

    view_at(o, &t->who, t->at, NULL, &view);
    for (int i = 0; i < PLACES; i++)
        if (place(&view, i) != place(&t->told.serves, i))
            return SAY(why, "of place %d it serves %llu, its view at %llu has %llu", i,
                       U(place(&t->told.serves, i)), U(t->at), U(place(&view, i)));
    return true;
}

/* By place: whether what it serves there is what some of its views has, from one revision to another. */
static void serve_some(const struct oracle *o, const struct truth *t, uint64_t from,
                       uint64_t to, bool is_so[PLACES])
{
    int n = 0;

    memset(is_so, 0, PLACES * sizeof(*is_so));
    for (uint64_t r = from; r <= to && n < PLACES; r++) {
        struct held view;

        view_at(o, &t->who, r, NULL, &view);
        for (int i = n = 0; i < PLACES; i++) {
            is_so[i] |= place(&view, i) == place(&t->told.serves, i);
            n += is_so[i];
        }
    }
}

bool judge_reached(const struct oracle *o, const struct truth *t, uint64_t revision,
                   char why[WHY_MAX])
{
    bool is_so[PLACES];

    serve_some(o, t, revision, revision > t->at ? revision : t->at, is_so);
    for (int i = 0; i < PLACES; i++)
        if (!is_so[i] && place(&t->told.serves, i) == place(&t->told.received, i))
            return SAY(why, "of place %d it serves %llu, which no view since %llu has", i,
                       U(place(&t->told.serves, i)), U(revision));
    return true;
}

/*
 * Whether what the view has there is the work of this revision: it published it, or removed what was there before. What is referred
 * to may come and go with what refers to it, and what a rollout uncovered that has ended, by other commits.
 */
static bool is_work_of(const struct oracle *o, int at, uint64_t content, uint64_t revision)
{
    const struct trial *t = oracle_trial(o, revision);

    if (content && oracle_origin(o, content)->revision == revision)
        return true;
    return at < SCOPES * KEYS && !(t && t->ended);
}

bool judge_waited(const struct oracle *o, const struct truth *t, uint64_t revision,
                  char why[WHY_MAX])
{
    bool is_so[PLACES];
    struct held before, first, head;

    serve_some(o, t, revision, o->head, is_so);
    view_at(o, &t->who, revision - 1, NULL, &before);
    view_at(o, &t->who, revision, NULL, &first);
    view_at(o, &t->who, o->head, NULL, &head);
    for (int i = 0; i < PLACES; i++)
        if (!is_so[i] && place(&before, i) != place(&first, i) &&
            is_work_of(o, i, place(&first, i), revision) &&
            place(&t->told.serves, i) == place(&t->told.received, i) &&
            place(&head, i) == place(&first, i))
            return SAY(why, "of place %d it serves %llu, which no view since %llu has", i,
                       U(place(&t->told.serves, i)), U(revision));
    return true;
}

/* What stands there without a rollout, though it may be withheld. */
static void stand_without(const struct oracle *o, const struct truth *t,
                          const struct trial *trial, struct held *view)
{
    struct wisher all = t->who;

    all.reads = READS_ALL;
    view_at(o, &all, t->at, trial, view);
}

/*
 * Whether this difference is a candidate, or what its deletion leaves; what follows from it elsewhere is not. stood: what was
 * there without it.
 */
static bool is_its_work(const struct oracle *o, const struct trial *trial, uint64_t with,
                        uint64_t stood)
{
    for (int c = 0; c < trial->n_carried; c++) {
        int node =
            node_of(trial->carried[c].space, trial->carried[c].kind, trial->carried[c].name);

        if (trial->carried[c].content ? with == trial->carried[c].content
                                      : stood && oracle_origin(o, stood)->node == node)
            return true;
    }
    return false;
}

bool judge_applied(const struct oracle *o, const struct truth *t, const struct trying *r,
                   char why[WHY_MAX])
{
    struct held with, without, stood;
    int n = 0;

    view_at(o, &t->who, t->at, NULL, &with);
    view_at(o, &t->who, t->at, r->trial, &without);
    stand_without(o, t, r->trial, &stood);
    for (int i = 0; i < PLACES; i++) {
        if (place(&with, i) == place(&without, i) ||
            !is_its_work(o, r->trial, place(&with, i), place(&stood, i)))
            continue;
        if (place(&t->told.serves, i) != place(&with, i))
            return SAY(why, "of place %d it serves %llu, the candidate is %llu", i,
                       U(place(&t->told.serves, i)), U(place(&with, i)));
        n++;
    }
    return n ? true : SAY(why, "its view shows no candidate");
}

bool judge_well(const struct oracle *o, const struct truth *t, const struct trying *r,
                char why[WHY_MAX])
{
    if (!judge_applied(o, t, r, why))
        return false;
    if (!t->has_judge)
        return true;
    if (!t->has_word)
        return SAY(why, "its judge has not spoken");
    if (t->is_failing)
        return SAY(why, "it said that it fails");
    if (t->judged < r->since)
        return SAY(why, "it was judged at %llu, before the step of %llu", U(t->judged),
                   U(r->since));
    return true;
}

bool judge_refuses(const struct oracle *o, const struct truth *t, const struct trying *r,
                   char why[WHY_MAX])
{
    struct held with, without, stood;

    view_at(o, &t->who, t->at, NULL, &with);
    view_at(o, &t->who, t->at, r->trial, &without);
    stand_without(o, t, r->trial, &stood);
    for (int i = 0; i < PLACES; i++)
        if (place(&with, i) != place(&without, i) &&
            is_its_work(o, r->trial, place(&with, i), place(&stood, i)) &&
            place(&t->told.said_received, i) == place(&with, i) &&
            place(&t->told.said_serves, i) != place(&with, i))
            return true;
    return SAY(why, "it has not said that it was given a candidate that it does not serve");
}

bool judge_fails(const struct oracle *o, const struct truth *t, const struct trying *r,
                 char why[WHY_MAX])
{
    if (!judge_applied(o, t, r, why))
        return false;
    if (!t->has_word || !t->is_failing)
        return SAY(why, "nobody says so");
    return t->judged >= r->since ? true
                                 : SAY(why, "it was judged at %llu, before the step of %llu",
                                       U(t->judged), U(r->since));
}

bool judge_goes_on(const struct oracle *o, const struct truth *t, int n,
                   const struct trial *trial, uint64_t now, char why[WHY_MAX])
{
    int n_well = 0;

    for (int i = 0; i < n; i++) {
        struct trying r = {trial, trial->added[i]};
        char ignored[WHY_MAX];

        if (!trial->added[i])
            continue;
        if (t[i].away_since && now > t[i].away_since + AWAY_NOTICED) {
            if (trial->counted[i])
                return SAY(why, "client %d had applied it and is away since %llu s", i,
                           U((now - t[i].away_since) / 1000000000));
            continue;
        }
        n_well += judge_well(o, &t[i], &r, ignored);
        if (t[i].has_word && t[i].is_failing && t[i].judged >= trial->added[i] &&
            judge_applied(o, &t[i], &r, ignored))
            return SAY(why, "client %d has applied it and fails", i);
    }
    return n_well ? true : SAY(why, "no target is well");
}

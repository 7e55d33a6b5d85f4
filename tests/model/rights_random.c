/*
 * Rights against a plain model: random grants come, change and go, and every answer is compared with that of a list that is
 * searched segment by segment. The model shares no code with what it judges.
 *
 *   TRIMTAB_SEEDS=N   how many histories
 */
#include "model/lines.h"

#include "base/clock.h"

enum { NAMES = 12, SPACES_MAX = 3, STEPS = 60, QUESTIONS = 40, TEXT_MAX = 64 };

/* Few segments that look alike, so that namespaces cover, miss and nearly match each other. */
static const char *const segments[] = {"a", "ab", "a-b", "a.b", "b", "trimtabs"};
static const char *const subjects[] = {"token:a", "token:ab", "cert:a", "cert:a b", "oidc:a"};
static const char *const role_names[] = {"view",   "edit",      "publish", "approve",
                                         "refer",  "subscribe", "retry",   "release",
                                         "forget", "stop",      "operate", "admin"};

/* ---- the model ---- */

struct plain {
    bool is_there;
    char name[8], subject[16], role[16], spaces[SPACES_MAX * TEXT_MAX];
};

static const unsigned plain_rights[] = {0x1,
                                        0x1 | 0x2,
                                        0x1 | 0x2 | 0x4 | 0x10,
                                        0x1 | 0x8,
                                        0x10,
                                        0x20,
                                        0x1 | 0x80,
                                        0x1 | 0x100,
                                        0x1 | 0x200,
                                        0x1 | 0x400,
                                        0x1 | 0x40 | 0x80 | 0x100 | 0x400,
                                        0x1fff};

static unsigned plain_role(const char *role)
{
    for (size_t i = 0; i < ARRAY_LEN(role_names); i++)
        if (strcmp(role_names[i], role) == 0)
            return plain_rights[i];
    return 0;
}

/* Whether the segments of one are the first ones of the other. */
static bool plain_covers(const char *granted, const char *asked)
{
    if (strcmp(granted, "*") == 0)
        return true;
    for (;;) {
        size_t g = strcspn(granted, "/"), a = strcspn(asked, "/");

        if (g != a || strncmp(granted, asked, g) != 0 || !a)
            return false;
        granted += g;
        asked += a;
        if (!*granted)
            return true;
        if (!*asked)
            return false;
        granted++;
        asked++;
    }
}

static unsigned plain_grant(const struct plain *p, const char *asked)
{
    char copy[SPACES_MAX * TEXT_MAX], *rest = copy, *space;

    (void)snprintf(copy, sizeof(copy), "%s", p->spaces);
    while ((space = strsep(&rest, " ")))
        if (plain_covers(space, asked))
            return plain_role(p->role);
    return 0;
}

static unsigned plain_at(const struct plain *list, const char *subject, const char *asked)
{
    unsigned rights = 0;

    for (size_t i = 0; i < NAMES; i++)
        if (list[i].is_there && strcmp(list[i].subject, subject) == 0)
            rights |= plain_grant(&list[i], asked);
    return rights;
}

/* ---- chance ---- */

static const char *any(struct rng *g, const char *const *list, size_t n)
{
    return list[rng_below(g, n)];
}

static void any_space(struct rng *g, char *out, bool may_be_everything)
{
    size_t n = rng_below(g, 4), at = 0;

    if (n == 0 && may_be_everything) {
        (void)snprintf(out, TEXT_MAX, "*");
        return;
    }
    n = n ? n : 1;
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(out + at, TEXT_MAX - at, "%s%s", i ? "/" : "",
                               any(g, segments, ARRAY_LEN(segments)));
}

static bool has_word(const char *words, const char *word)
{
    char copy[SPACES_MAX * TEXT_MAX], *rest = copy, *w;

    (void)snprintf(copy, sizeof(copy), "%s", words);
    while ((w = strsep(&rest, " ")))
        if (strcmp(w, word) == 0)
            return true;
    return false;
}

static void any_grant(struct rng *g, size_t i, struct plain *p)
{
    size_t n = 1 + rng_below(g, SPACES_MAX);

    *p = (struct plain){.is_there = true};
    (void)snprintf(p->name, sizeof(p->name), "g%zu", i);
    (void)snprintf(p->subject, sizeof(p->subject), "%s", any(g, subjects, ARRAY_LEN(subjects)));
    (void)snprintf(p->role, sizeof(p->role), "%s", any(g, role_names, ARRAY_LEN(role_names)));
    any_space(g, p->spaces, true);
    for (size_t k = 1; k < n; k++) {
        char space[TEXT_MAX];
        size_t len = strlen(p->spaces);

        any_space(g, space, true);
        if (!has_word(p->spaces, space))
            (void)snprintf(p->spaces + len, sizeof(p->spaces) - len, " %s", space);
    }
}

/* ---- comparing ---- */

static bool check_answer(const struct rights *r, const struct plain *list, const char *subject,
                         const char *space)
{
    unsigned want = plain_at(list, subject, space);
    bool ok = CHECK_U64(rights_of_subject(r, subject, space), want);

    if (!ok)
        tap_note("%s in %s", subject, space);
    return ok;
}

/* Of all subjects, who has the right by the walk and who by the model. */
static bool check_who(const struct rights *r, const struct plain *list, enum right_to right,
                      const char *space)
{
    bool ok = true;

    for (size_t i = 0; i < ARRAY_LEN(subjects) && ok; i++) {
        struct rights_walk w;
        const struct grant *g;
        bool found = false;

        rights_walk_init(&w, r, right, str_c(space));
        while ((g = rights_walk_next(&w)))
            found |= str_eq(g->subject, str_c(subjects[i]));
        ok = CHECK(found == ((plain_at(list, subjects[i], space) & right) != 0));
    }
    return ok;
}

/* What a difference says of a namespace: the row of the longest one that covers it. */
static struct rights_change change_for(const struct rights_diff *d, const char *subject,
                                       const char *space)
{
    struct rights_change best = {.lost = 0};
    bool has_best = false;

    for (size_t i = 0; i < d->rights.n; i++) {
        const struct rights_change *c = &d->rights.at[i];
        char text[TEXT_MAX];

        (void)snprintf(text, sizeof(text), "%.*s", STR_ARG(space_text(c->space)));
        if (str_eq(c->subject, str_c(subject)) && plain_covers(text, space) &&
            (!has_best || c->space.len >= best.space.len)) {
            best = *c;
            has_best = true;
        }
    }
    return best;
}

static bool check_diff(struct rng *g, const struct rights_diff *d, const struct plain *before,
                       const struct plain *after)
{
    const char *subject = any(g, subjects, ARRAY_LEN(subjects));
    char space[TEXT_MAX];
    unsigned was, is;
    struct rights_change c;

    any_space(g, space, false);
    was = plain_at(before, subject, space);
    is = plain_at(after, subject, space);
    c = change_for(d, subject, space);
    if (CHECK_U64(c.lost, was & ~is) && CHECK_U64(c.won, is & ~was))
        return true;
    tap_note("%s in %s", subject, space);
    return false;
}

/* ---- histories ---- */

static bool one_step(struct rng *g, struct rights **r, struct plain *list, uint64_t revision)
{
    size_t i = rng_below(g, NAMES);
    struct plain old = list[i];
    struct line before = {old.name, old.subject, old.role, old.spaces}, after;

    if (old.is_there && rng_below(g, 3) == 0)
        list[i].is_there = false;
    else
        any_grant(g, i, &list[i]);
    after = (struct line){list[i].name, list[i].subject, list[i].role, list[i].spaces};
    return CHECK_I64(step_grant(r, old.is_there ? &before : NULL,
                                list[i].is_there ? &after : NULL, revision),
                     0);
}

static bool ask_all(struct rng *g, const struct rights *r, const struct plain *list)
{
    bool ok = true;

    for (int q = 0; q < QUESTIONS && ok; q++) {
        char space[TEXT_MAX];

        any_space(g, space, false);
        ok = check_answer(r, list, any(g, subjects, ARRAY_LEN(subjects)), space) &&
             check_who(r, list, (enum right_to)(1u << rng_below(g, RIGHTS_COUNT)), space);
    }
    return ok;
}

static bool history(uint64_t seed)
{
    struct plain list[NAMES] = {{.is_there = false}}, before[NAMES];
    struct rng g = {seed};
    struct rights *r = NULL;
    bool ok = true;

    for (int step = 0; step < STEPS && ok; step++) {
        struct rights *was = rights_ref(r);
        struct rights_diff d;

        memcpy(before, list, sizeof(list));
        for (uint64_t n = 1 + rng_below(&g, 3); n > 0 && ok; n--)
            ok = one_step(&g, &r, list, (uint64_t)step + 1);
        ok = ok && ask_all(&g, r, list) && ask_all(&g, was, before);
        CHECK_I64(rights_diff_make(was, r, &d), 0);
        for (int q = 0; q < QUESTIONS && ok; q++)
            ok = check_diff(&g, &d, before, list);
        rights_diff_deinit(&d);
        (void)rights_unref(was);
    }
    (void)rights_unref(r);
    if (!ok)
        tap_note("seed %llu", (unsigned long long)seed);
    return ok;
}

TEST("random grants give what a plain list gives, and differences tell what changed")
{
    const char *seeds = getenv("TRIMTAB_SEEDS");
    uint64_t n = 0;

    if (!seeds || !str_u64(str_c(seeds), &n))
        n = 30;
    for (uint64_t seed = 1; seed <= n; seed++)
        if (!history(seed))
            return;
}

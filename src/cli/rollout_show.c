/*
 * rollout status, list and watch: how it goes. See rollout.h.
 */
#include "cli/rollout.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
    WAIT_MS = 20000,
    SOAKING_MS = 1000,
    TROUBLED_SHOWN = 10,
    AWAY_MAX_S = 60,
    LINE_MAX_BYTES = 1536,
    VALUES_SHOWN = 3
};

/* ---- pictures ---- */

static bool is_live(const Trimtab__V1__Rollout *r)
{
    return strcmp(r->phase, "running") == 0 || strcmp(r->phase, "paused") == 0;
}

static void put_count(struct buf *b, uint64_t n, const char *what)
{
    if (n)
        buf_printf(b, ", %" PRIu64 " %s", n, what);
}

char *rollout_line(struct cli *cli, const Trimtab__V1__Rollout *r)
{
    owned(buf) struct buf b = BUF_NULL(LINE_MAX_BYTES);
    const Trimtab__V1__RolloutCounts *c = r->counts;

    if (r->id)
        buf_printf(&b, "rollout %" PRIu64 " %s", r->id, r->phase);
    else
        buf_put_c(&b, "rollout (dry run)");
    if (is_live(r)) {
        buf_printf(&b, ", step %u of %zu", r->steps_begun, r->plan ? r->plan->n_steps : 0);
        if (c) {
            buf_printf(&b, ": %" PRIu64 " target%s", c->targets, c->targets == 1 ? "" : "s");
            put_count(&b, c->ok, "ok");
            put_count(&b, c->pending, "pending");
            put_count(&b, c->unproven, "unproven");
            put_count(&b, c->refused, "refused");
            put_count(&b, c->failing, "failing");
            put_count(&b, c->too_old, "too old");
            put_count(&b, c->stale, "stale");
            put_count(&b, c->unproven, "unproven");
            put_count(&b, c->unjudged, "not judged yet");
            put_count(&b, c->away, "away");
            put_count(&b, c->lost, "lost");
            put_count(&b, c->offline, "offline");
            put_count(&b, c->hidden, "hidden by another layer");
            put_count(&b, c->already_failing, "failing already");
        }
    } else {
        buf_printf(&b, " by %s", r->last_move_by);
        if (*r->last_move_reason && strlen(r->last_move_reason) < LINE_MAX_BYTES - 300)
            buf_printf(&b, ": %s", r->last_move_reason);
    }
    return one_line(&cli->arena, arena_c(&cli->arena, buf_str(&b)));
}

/* ---- targets as texts ---- */

static void put_name(struct buf *b, const char *name)
{
    buf_printf(b, "%s%s=", b->len && b->data[b->len - 1] != ' ' ? " & " : "", name);
}

static void put_list(struct buf *b, const char *name, char *const *texts, size_t n)
{
    if (!n)
        return;
    put_name(b, name);
    for (size_t i = 0; i < n && i < VALUES_SHOWN; i++)
        buf_printf(b, "%s%s", i ? "," : "", texts[i]);
    if (n > VALUES_SHOWN)
        buf_printf(b, ",... (%zu)", n);
}

static void put_target(struct buf *b, const Trimtab__V1__Target *t)
{
    put_list(b, "id", t->ids, t->n_ids);
    put_list(b, "fingerprint", t->fingerprints, t->n_fingerprints);
    put_list(b, "host", t->hosts, t->n_hosts);
    put_list(b, "cidr", t->networks, t->n_networks);
    if (*t->labels) {
        put_name(b, "label");
        buf_put_c(b, t->labels);
    }
    if (t->percent > 0) {
        put_name(b, "percent");
        buf_printf(b, "%g", t->percent);
    }
    if (t->everyone)
        buf_put_c(b, "all");
}

static const char *step_text(struct cli *cli, const Trimtab__V1__Step *s)
{
    owned(buf) struct buf b = BUF_NULL(4096);

    for (size_t i = 0; i < s->n_targets && i < 3; i++) {
        buf_put_c(&b, i ? " or " : "");
        put_target(&b, s->targets[i]);
    }
    if (s->n_targets > 3)
        buf_printf(&b, " or ... (%zu)", s->n_targets);
    return arena_c(&cli->arena, buf_str(&b));
}

static const char *step_state(const Trimtab__V1__Step *s)
{
    if (!s->revision)
        return "planned";
    return s->satisfied ? "satisfied" : "begun";
}

/* ---- status ---- */

static void show_counts(const Trimtab__V1__RolloutCounts *c)
{
    if (!c) {
        (void)printf("targets    how they stood at the end is not kept\n");
        return;
    }
    (void)printf("targets    %" PRIu64 " (%" PRIu64 " ok, %" PRIu64 " pending, %" PRIu64
                 " error, %" PRIu64 " stale, %" PRIu64 " offline)\n",
                 c->targets, c->ok, c->pending, c->error, c->stale, c->offline);
    if (c->error)
        (void)printf("errors     %" PRIu64 " refused, %" PRIu64 " failing, %" PRIu64
                     " lost, %" PRIu64 " too old\n",
                     c->refused, c->failing, c->lost, c->too_old);
    if (c->unjudged || c->unproven || c->away)
        (void)printf("unsettled  %" PRIu64 " not judged yet, %" PRIu64 " unproven, %" PRIu64
                     " away\n",
                     c->unjudged, c->unproven, c->away);
    if (c->hidden)
        (void)printf("hidden     from %" PRIu64 " by another layer: they do not count\n",
                     c->hidden);
}

static void show_head(struct arena *a, const Trimtab__V1__Rollout *r)
{
    (void)printf("rollout    %" PRIu64 "%s%s\nphase      %s\nstarted    %s by %s%s%s\n", r->id,
                 *r->plan->name ? "  " : "", r->plan->name, r->phase, r->started, r->author,
                 *r->reason ? ": " : "", one_line(a, r->reason));
    if (r->moves > 1)
        (void)printf("last move  %s by %s%s%s\n", r->last_move, r->last_move_by,
                     *r->last_move_reason ? ": " : "", one_line(a, r->last_move_reason));
    (void)printf("moves      %" PRIu64 "\n", r->moves);
    if (r->plan->expires_ms) {
        char time[WALL_TEXT_MAX];

        wall_format(r->plan->expires_ms, time);
        (void)printf("expires    %s\n", time);
    }
    if (r->plan->automatic)
        (void)printf("automatic  %s\n", r->plan->auto_confirm ? "confirms itself" : "yes");
    if (!is_live(r))
        (void)printf("at the end\n");
    show_counts(r->counts);
    if (r->progress && *r->progress->waiting)
        (void)printf("now        %s\n", one_line(a, r->progress->waiting));
}

static void show_steps(struct cli *cli, const Trimtab__V1__Rollout *r)
{
    static const char *const heads[] = {"STEP", "STATE", "SOAK", "TARGETS"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};

    for (size_t i = 0; i < r->plan->n_steps; i++) {
        const Trimtab__V1__Step *s = r->plan->steps[i];
        char step[24], soak[32];

        (void)snprintf(step, sizeof(step), "%zu", i + 1);
        (void)snprintf(soak, sizeof(soak), "%" PRIu64 " s", s->soak_ms / 1000);
        table_row(&t, step, step_state(s), soak, step_text(cli, s));
    }
    (void)printf("\n");
    table_print(&t);
}

static void show_candidates(struct cli *cli, const Trimtab__V1__Rollout *r)
{
    static const char *const heads[] = {"RESOURCE", "ACTION", "VERSION"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};

    for (size_t i = 0; i < r->n_candidates; i++) {
        char version[24];

        (void)snprintf(version, sizeof(version), "%" PRIu64, r->candidates[i]->version);
        table_row(&t, r->candidates[i]->id, r->candidates[i]->action, version);
    }
    (void)printf("\n");
    table_print(&t);
    for (size_t i = 0; i < r->n_candidates; i++)
        (void)fputs(r->candidates[i]->diff, stdout);
}

static void show_instances(struct cli *cli, const Trimtab__V1__GetRolloutResponse *m)
{
    static const char *const heads[] = {"INSTANCE", "HOST", "STATE", "STEP", "REASON"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};

    if (!m->n_instances)
        return;
    for (size_t i = 0; i < m->n_instances; i++) {
        const Trimtab__V1__RolloutInstance *p = m->instances[i];
        char step[24];

        (void)snprintf(step, sizeof(step), "%u", p->step);
        table_row(&t, p->id, p->host, p->state, step, p->reason);
    }
    (void)printf("\n");
    table_print(&t);
    (void)fflush(stdout);
    if (*m->next)
        say(cli, "there are more: --after %s\n", m->next);
}

enum { INSTANCES_SHOWN = 100 };

static int run_status(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__GetRolloutRequest q = TRIMTAB__V1__GET_ROLLOUT_REQUEST__INIT;
    Trimtab__V1__GetRolloutResponse *m;
    const char *state = "", *after = "";
    bool diff = false;
    uint64_t limit = INSTANCES_SHOWN;
    const struct flag flags[] = {
        {"--diff", 'd', "with the differences to what is stable", NULL, &diff, NULL, NULL},
        {"--state", 0, "only instances in this state: gray_ok, pending, gray_error, ...",
         &state, NULL, NULL, NULL},
        {"--limit", 0, "instances shown, 100; 0: all", NULL, NULL, &limit, NULL},
        {"--after", 0, "instances after this id", &after, NULL, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_rollout_status, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n != 1 || !str_u64(str_c(words.at[0]), &q.id))
        return usage(&cmd_rollout_status, err, "status takes the number of a rollout");
    q.state = (char *)(uintptr_t)state; /* protobuf-c has no const */
    q.after = (char *)(uintptr_t)after;
    q.diff = diff;
    q.limit = (uint32_t)MIN(limit ? limit : UINT32_MAX, (uint64_t)UINT32_MAX);
    r = call(cli, "GetRollout", &q.base, &trimtab__v1__get_rollout_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    q.diff = false; /* the first answer has it */
    if (!r)
        r = call_rest(cli, "GetRollout", &q.base, "instances", limit, &m->base, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    if (cli->output == OUTPUT_NAME) {
        for (size_t i = 0; i < m->n_instances; i++)
            (void)printf("%s\n", m->instances[i]->id);
        return 0;
    }
    show_head(&cli->arena, m->rollout);
    show_steps(cli, m->rollout);
    show_candidates(cli, m->rollout);
    show_instances(cli, m);
    return 0;
}

const struct command cmd_rollout_status = {
    "status", "rollout status N [--diff] [--state STATE] [--limit N]",
    "shows its steps, its resources, and what its instances run", run_status};

/* ---- list ---- */

static void list_row(struct table *t, const Trimtab__V1__Rollout *r)
{
    char id[24], steps[32], what[400];

    (void)snprintf(id, sizeof(id), "%" PRIu64, r->id);
    (void)snprintf(steps, sizeof(steps), "%u of %zu", r->steps_begun, r->plan->n_steps);
    if (r->candidate_count == 1)
        (void)snprintf(what, sizeof(what), "%s", r->candidates[0]->id);
    else
        (void)snprintf(what, sizeof(what), "%" PRIu64 " resources", r->candidate_count);
    table_row(t, id, r->phase, steps, what, r->author, r->started, r->plan->name);
}

enum { ROLLOUTS_SHOWN = 100 };

/* Rollouts page by page, until there are as many as asked for; limit 0: all. */
static int all_rollouts(struct cli *cli, Trimtab__V1__ListRolloutsRequest *q, uint64_t limit,
                        Trimtab__V1__ListRolloutsResponse *all, struct err *err)
{
    size_t cap = 0;

    do {
        Trimtab__V1__ListRolloutsResponse *page;
        uint64_t left = limit ? limit - all->n_rollouts : UINT32_MAX;
        int r;

        q->limit = (uint32_t)MIN(left, (uint64_t)UINT32_MAX);
        r = call(cli, "ListRollouts", &q->base,
                 &trimtab__v1__list_rollouts_response__descriptor, (ProtobufCMessage **)&page,
                 0, err);
        if (!r)
            r = page_add(cli, &all->base, &page->base, "rollouts", &cap, err);
        if (r)
            return r;
        all->revision = page->revision;
        all->next = q->before = page->next;
    } while (q->before && (!limit || all->n_rollouts < limit));
    return 0;
}

static int run_list(struct cli *cli, int argc, char **argv, struct err *err)
{
    static const char *const heads[] = {"ROLLOUT", "PHASE",   "STEP", "RESOURCES",
                                        "AUTHOR",  "STARTED", "NAME"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};
    Trimtab__V1__ListRolloutsRequest q = TRIMTAB__V1__LIST_ROLLOUTS_REQUEST__INIT;
    Trimtab__V1__ListRolloutsResponse shown = TRIMTAB__V1__LIST_ROLLOUTS_RESPONSE__INIT;
    const char *phase = "", *resource = "";
    bool all = false;
    uint64_t limit = ROLLOUTS_SHOWN;
    const struct flag flags[] = {
        {"--all", 'a', "those that have ended too", NULL, &all, NULL, NULL},
        {"--phase", 0,
         "only this one: running, paused, confirmed, rolled_back, expired, "
         "overridden",
         &phase, NULL, NULL, NULL},
        {"--resource", 'r', "only those that carry this id", &resource, NULL, NULL, NULL},
        {"--limit", 0, "how many, 100; 0: all", NULL, NULL, &limit, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_rollout_list, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n)
        return usage(&cmd_rollout_list, err, "list takes only flags");
    q.phase = (char *)(uintptr_t)(all ? "all" : phase); /* protobuf-c has no const */
    q.resource = (char *)(uintptr_t)resource;
    r = all_rollouts(cli, &q, limit, &shown, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&shown.base, err);
    for (size_t i = 0; i < shown.n_rollouts; i++) {
        if (cli->output == OUTPUT_NAME)
            (void)printf("%" PRIu64 "\n", shown.rollouts[i]->id);
        else
            list_row(&t, shown.rollouts[i]);
    }
    if (cli->output == OUTPUT_TABLE)
        table_print(&t);
    return 0;
}

const struct command cmd_rollout_list = {
    "list", "rollout list [--all] [--phase P] [--resource ID]",
    "lists rollouts, those that live first of all", run_list};

/* ---- watch ---- */

struct screen {
    struct cli *cli;
    bool is_terminal;
    size_t width, lines; /* drawn last time */
    bool is_soaking, has_begun;
    struct outage outage;
    char told[LINE_MAX_BYTES]; /* the last plain line */
};

/* A line that does not wrap, so that the lines can be counted. */
static void draw_line(struct screen *s, const char *text)
{
    struct str line = str_part(str_c(one_line(&s->cli->arena, text)), 0, s->width);

    (void)printf("%.*s\n", STR_ARG(str_part(line, 0, str_utf8_prefix(line))));
    s->lines++;
}

static void draw(struct screen *s, const Trimtab__V1__GetRolloutResponse *m)
{
    struct winsize size = {0};
    char line[LINE_MAX_BYTES];

    if (s->lines)
        (void)printf("\033[%zuA\033[J", s->lines);
    s->lines = 0;
    s->width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
    draw_line(s, rollout_line(s->cli, m->rollout));
    for (size_t i = 0; i < m->rollout->plan->n_steps; i++) {
        const Trimtab__V1__Step *step = m->rollout->plan->steps[i];

        (void)snprintf(line, sizeof(line), "  step %zu  %-9s  %s", i + 1, step_state(step),
                       step_text(s->cli, step));
        draw_line(s, line);
    }
    if (m->rollout->progress && *m->rollout->progress->waiting) {
        (void)snprintf(line, sizeof(line), "  %s", m->rollout->progress->waiting);
        draw_line(s, line);
    }
    for (size_t i = 0, shown = 0; i < m->n_instances && shown < TROUBLED_SHOWN; i++) {
        const Trimtab__V1__RolloutInstance *p = m->instances[i];

        if (strcmp(p->state, "gray_ok") == 0)
            continue;
        (void)snprintf(line, sizeof(line), "  %s: %s  %s", p->id, p->state, p->reason);
        draw_line(s, line);
        shown++;
    }
    (void)fflush(stdout);
}

static bool draws(const struct screen *s)
{
    return s->is_terminal && s->cli->output != OUTPUT_JSON;
}

/* Not every other picture reads otherwise. */
static void print_news(struct screen *s, const char *line)
{
    if (strcmp(s->told, line) == 0)
        return;
    text_format(s->told, sizeof(s->told), "%s", line);
    (void)printf("%s\n", line);
}

static int show_picture(struct screen *s, const Trimtab__V1__GetRolloutResponse *m,
                        struct err *err)
{
    int r = 0;

    if (s->cli->output == OUTPUT_JSON)
        r = print_json(&m->base, err);
    else if (draws(s))
        draw(s, m);
    else
        print_news(s, rollout_line(s->cli, m->rollout));
    (void)fflush(stdout);
    return r;
}

static int ended(const Trimtab__V1__Rollout *r, struct err *err)
{
    if (strcmp(r->phase, "confirmed") == 0)
        return 0;
    (void)err_set(err, ERR_REFUSED, "rollout %" PRIu64 " is over: %s by %s%s%s", r->id,
                  r->phase, r->last_move_by, *r->last_move_reason ? ": " : "",
                  r->last_move_reason);
    return ERR_REFUSED;
}

/* How long the next question may wait. ERR_TIMEOUT when the time is over. */
static int wait_left(uint64_t id, nsec_t end, uint32_t *ret_ms, struct err *err)
{
    nsec_t now = clock_now();

    *ret_ms = WAIT_MS;
    if (!end || now + WAIT_MS * NSEC_PER_MS < end)
        return 0;
    *ret_ms = now < end ? (uint32_t)((end - now) / NSEC_PER_MS) : 0;
    if (*ret_ms)
        return 0;
    return err_set(err, ERR_TIMEOUT, "rollout %" PRIu64 " has not ended yet", id);
}

static void sleep_ms(uint32_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&t, &t) && errno == EINTR)
        ;
}

/* A server that goes away is waited for, a minute long. */
static int ask(struct screen *s, Trimtab__V1__GetRolloutRequest *q, nsec_t end,
               Trimtab__V1__GetRolloutResponse **ret, struct err *err)
{
    for (;;) {
        int r;
        uint32_t wait_ms, left_ms;

        *err = ERR_NULL;
        r = call(s->cli, "GetRollout", &q->base, &trimtab__v1__get_rollout_response__descriptor,
                 (ProtobufCMessage **)ret, WAIT_MS + 10000, err);
        if (!outage_may_pass(r)) {
            outage_over(&s->outage, s->cli);
            return r;
        }
        if (!s->has_begun || outage_age(&s->outage) > AWAY_MAX_S * NSEC_PER_S) {
            err->code = ERR_UNAVAILABLE; /* ERR_TIMEOUT would be said of the rollout */
            return ERR_UNAVAILABLE;
        }
        s->lines = 0; /* what is said now stands below the picture */
        wait_ms = outage_wait_ms(&s->outage, s->cli, err);
        q->known = 0; /* another server's pictures have other stamps */
        *err = ERR_NULL;
        r = wait_left(q->id, end, &left_ms, err);
        if (r)
            return r;
        sleep_ms(MIN(wait_ms, left_ms));
    }
}

/* Then a clock runs that is worth to be seen. */
static bool is_soaking(const Trimtab__V1__Rollout *r)
{
    return r->progress && r->progress->holds;
}

enum { WATCH_OVER = 1 };

static int watch_once(struct screen *s, Trimtab__V1__GetRolloutRequest *q, nsec_t end,
                      struct err *err)
{
    Trimtab__V1__GetRolloutResponse *m;
    int r = ask(s, q, end, &m, err);

    if (!r && (m->stamp != q->known || draws(s)))
        r = show_picture(s, m, err);
    if (r)
        return r;
    s->has_begun = true;
    if (!is_live(m->rollout)) {
        r = ended(m->rollout, err);
        return r ? r : WATCH_OVER;
    }
    q->known = m->stamp;
    s->is_soaking = is_soaking(m->rollout);
    return 0;
}

int rollout_watch(struct cli *cli, uint64_t id, uint64_t timeout_s, struct err *err)
{
    Trimtab__V1__GetRolloutRequest q = TRIMTAB__V1__GET_ROLLOUT_REQUEST__INIT;
    struct cli round = *cli; /* each in memory of its own: a watch may last for days */
    struct screen s = {.cli = &round, .is_terminal = isatty(STDOUT_FILENO)};
    nsec_t end = timeout_s ? clock_now() + timeout_s * NSEC_PER_S : 0;
    int r = 0;

    q.id = id;
    while (!r) {
        round.arena = ARENA_NULL;
        r = watch_once(&s, &q, end, err);
        arena_deinit(&round.arena);
        if (!r)
            r = wait_left(id, end, &q.wait_ms, err);
        if (s.is_soaking && draws(&s))
            q.wait_ms = MIN(q.wait_ms, SOAKING_MS);
    }
    return r == WATCH_OVER ? 0 : r;
}

static int run_watch(struct cli *cli, int argc, char **argv, struct err *err)
{
    uint64_t timeout_s = 0, id;
    const struct flag flags[] = {
        {"--timeout", 0, "seconds to watch; until it has ended", NULL, NULL, &timeout_s, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_rollout_watch, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n != 1 || !str_u64(str_c(words.at[0]), &id))
        return usage(&cmd_rollout_watch, err, "watch takes the number of a rollout");
    return rollout_watch(cli, id, timeout_s, err);
}

const struct command cmd_rollout_watch = {
    "watch", "rollout watch N [--timeout S]",
    "shows how it goes until it has ended: exit status 0 when it was confirmed, 7 when not",
    run_watch};

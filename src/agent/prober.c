/*
 * Probes on the loop. See prober.h.
 */
#include "agent/prober.h"

#include "agent/child.h"
#include "agent/word.h"
#include "base/log.h"
#include "net/fetch.h"

/* One [health] section. At most one of child and fetch is under way. */
struct probe {
    struct prober *prober;
    const struct config_health *config;
    struct judge judge;
    struct timer timer;
    struct child *child;
    struct fetch *fetch;
    uint64_t n_probes, n_failed;
};

struct prober {
    struct prober_opts opts;
    struct verdict said; /* by a caller */
    uint64_t applied;
    bool has_applied, must_tell;
    size_t n;
    const struct judge *judges[CONFIG_HEALTH_MAX];
    struct probe probes[];
};

/* ---- telling ---- */

bool prober_sum(const struct prober *p, struct sync_judgement *ret)
{
    return health_sum(p->judges, p->n, &p->said, ret);
}

static void tell(struct prober *p)
{
    struct sync_judgement sum;

    p->must_tell = prober_sum(p, &sum) && !p->opts.tell(p->opts.ctx, &sum);
}

static void log_verdict(const struct probe *probe)
{
    const struct verdict *v = &probe->judge.verdict;

    if (v->state == VERDICT_FAILING)
        LOG(WARN, "failing", LOG_C("health", probe->judge.name),
            LOG_U64("revision", v->revision), LOG_C("reason", v->reason));
    else
        LOG(INFO, "well", LOG_C("health", probe->judge.name), LOG_U64("revision", v->revision));
}

/* ---- one probe ---- */

static void plan(struct probe *probe)
{
    nsec_t due = judge_due(&probe->judge), now = loop_now(probe->prober->opts.loop);
    nsec_t wait = due > now ? due - now : 0;

    timer_stop(&probe->timer);
    if (due != JUDGE_NEVER)
        timer_start(&probe->timer, probe->prober->opts.loop,
                    (wait + NSEC_PER_MS - 1) / NSEC_PER_MS, 0);
}

static void skip(struct probe *probe)
{
    judge_skip(&probe->judge, loop_now(probe->prober->opts.loop));
    plan(probe);
}

static void take_result(struct probe *probe, bool is_well, struct str reason)
{
    struct prober *p = probe->prober;

    probe->n_probes++;
    probe->n_failed += !is_well;
    if (p->opts.is_busy(p->opts.ctx)) {
        skip(probe);
        return;
    }
    if (judge_result(&probe->judge, is_well, reason, loop_now(p->opts.loop))) {
        log_verdict(probe);
        tell(p);
    } else if (p->must_tell) {
        tell(p);
    }
    plan(probe);
}

static void on_child(void *ctx, const struct child_result *result)
{
    owned(buf) struct buf reason = BUF_NULL(SYNC_REASON_MAX + CHILD_OUTPUT_MAX);
    struct probe *probe = ctx;

    probe->child = NULL;
    buf_put_c(&reason, result->story);
    if (result->output.len) {
        buf_put_c(&reason, ": ");
        buf_put_str(&reason, str_trim(result->output));
    }
    if (buf_status(&reason))
        skip(probe);
    else
        take_result(probe, result->end == CHILD_PASSED, buf_str(&reason));
}

static void on_fetched(void *ctx, const struct fetch_result *result)
{
    struct probe *probe = ctx;
    char reason[SYNC_REASON_MAX];

    probe->fetch = NULL;
    if (result->err && result->err->code == ERR_NOMEM) {
        skip(probe);
        return;
    }
    if (result->err)
        (void)snprintf(reason, sizeof(reason), "%s: %.600s", probe->config->http,
                       result->err->text);
    else
        (void)snprintf(reason, sizeof(reason), "%s: HTTP status %d", probe->config->http,
                       result->status);
    take_result(probe, !result->err && result->status >= 200 && result->status < 400,
                str_c(reason));
}

static int start_command(struct probe *probe, struct err *err)
{
    struct child_opts opts = {.loop = probe->prober->opts.loop,
                              .command = probe->config->command,
                              .probe = probe->config->name,
                              .timeout_ms = probe->config->timeout / NSEC_PER_MS,
                              .done = on_child,
                              .ctx = probe};

    return child_start(&opts, &probe->child, err);
}

static int start_fetch(struct probe *probe, struct err *err)
{
    struct fetch_opts opts = {.loop = probe->prober->opts.loop,
                              .url = probe->config->http,
                              .timeout_ms = probe->config->timeout / NSEC_PER_MS,
                              .done = on_fetched,
                              .ctx = probe};

    return fetch_start(&opts, &probe->fetch, err);
}

static void on_due(struct timer *t, void *ctx)
{
    struct probe *probe = ctx;
    struct prober *p = probe->prober;
    struct err err = ERR_NULL;
    int r;

    (void)t;
    judge_begin(&probe->judge);
    if (p->opts.is_busy(p->opts.ctx)) {
        skip(probe);
        return;
    }
    r = probe->config->command ? start_command(probe, &err) : start_fetch(probe, &err);
    if (r == ERR_NOMEM)
        skip(probe);
    else if (r)
        take_result(probe, false, str_c(err.text));
}

/* ---- life ---- */

static void init_probe(struct prober *p, const struct config_health *config)
{
    struct probe *probe = &p->probes[p->n];

    probe->prober = p;
    probe->config = config;
    probe->timer = (struct timer){.fn = on_due, .ctx = probe};
    judge_init(&probe->judge, config->name, &config->rules);
    p->judges[p->n++] = &probe->judge;
}

int prober_open(const struct prober_opts *opts, struct prober **ret_prober, struct err *err)
{
    size_t n = opts->config->health.n;
    struct prober *p = mem_zalloc(sizeof(*p) + n * sizeof(p->probes[0]));
    struct err why = ERR_NULL;
    int r;

    if (!p)
        return err_set(err, ERR_NOMEM, "out of memory");
    p->opts = *opts;
    for (size_t i = 0; i < n; i++)
        init_probe(p, &opts->config->health.at[i]);
    r = word_read(opts->file, &p->said, &why);
    if (r == ERR_NOMEM) {
        (void)mem_free(p);
        return err_set(err, r, "out of memory");
    }
    if (r)
        LOG(WARN, "health_word_broken", LOG_C("file", opts->file), LOG_C("error", why.text));
    *ret_prober = p;
    return 0;
}

struct prober *prober_close(struct prober *p)
{
    if (!p)
        return NULL;
    for (size_t i = 0; i < p->n; i++) {
        struct probe *probe = &p->probes[i];

        timer_stop(&probe->timer);
        if (probe->child)
            child_forget(probe->child);
        if (probe->fetch)
            fetch_cancel(probe->fetch);
    }
    return mem_free(p);
}

void prober_applied(struct prober *p, uint64_t revision)
{
    bool is_first = !p->has_applied;

    p->applied = revision;
    p->has_applied = true;
    verdict_applied(&p->said, revision);
    for (size_t i = 0; i < p->n; i++) {
        judge_applied(&p->probes[i].judge, revision, loop_now(p->opts.loop));
        plan(&p->probes[i]);
    }
    if (is_first) /* what a caller said to the agent before this one */
        tell(p);
}

int prober_say(struct prober *p, bool failing, struct str reason, struct err *err)
{
    struct verdict said = {VERDICT_NONE};
    int r;

    verdict_set(&said, failing, p->applied, reason);
    r = word_write(p->opts.file, &said, err);
    if (r)
        return r;
    p->said = said;
    LOG(INFO, "health_said", LOG_C("word", failing ? "failing" : "ok"),
        LOG_U64("revision", said.revision), LOG_C("reason", said.reason));
    tell(p);
    return 0;
}

/* ---- looking ---- */

size_t prober_count(const struct prober *p)
{
    return p->n + 1;
}

struct probe_state prober_at(const struct prober *p, size_t i)
{
    const struct probe *probe = &p->probes[i];

    if (i == p->n)
        return (struct probe_state){HEALTH_CALLER, "call", &p->said, 0, 0};
    return (struct probe_state){probe->judge.name, probe->config->command ? "command" : "http",
                                &probe->judge.verdict, probe->n_probes, probe->n_failed};
}

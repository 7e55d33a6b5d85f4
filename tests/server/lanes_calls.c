/*
 * Calls of people under the scheduler of hub and lanes: they publish, wait for what becomes of a commit, and look at
 * rollouts, each from one of the lanes. See lanes.h.
 *
 * Time is the scheduler's, too: the timers of calls that wait are stopped, and run when chance says.
 */
#include "server/lanes.h"

#include "server/use/methods.h"

enum { WAIT_MS = 60000 };

enum question { STATUS, ROLLOUT };

/* One call that waits, or whose answer is on its way. */
struct ask {
    struct api_call *call; /* NULL: none */
    enum question question;
    struct lane *home;
    uint64_t revision; /* that is asked about */
    enum concern concern;
    int name;              /* that it is of */
    int n_deletions;       /* rollouts that delete it, when it was asked */
    uint64_t present[IDS]; /* the stream of each id that was there when it was asked; 0: none */
    Trimtab__V1__StatusRequest status;
    Trimtab__V1__GetRolloutRequest rollout;
};

static struct ask asks[ASKS];

/* The stream that has the id as far as everybody can know; 0: none, or it is not sure. */
static uint64_t stream_of(int id)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        const struct client *c = &world.clients[i];

        if (client_is_up(c) && c->id == id && c->subscriber.is_taken &&
            c->serial == world.newest[id])
            return c->serial;
    }
    return 0;
}

static bool has_stayed(const struct ask *ask, int id)
{
    return ask->present[id] && stream_of(id) == ask->present[id];
}

/* ---- answers ---- */

/*
 * Nobody is counted as having applied it who did not truly say so, and of those who were there all the time nobody is left
 * out: whoever has not applied it is waited for.
 */
static void judge_status(const struct ask *ask, const Trimtab__V1__StatusResponse *m)
{
    uint64_t n_true = 0, n_there = 0, n_owing = 0,
             waiting = m->pending + m->unproven + m->refused;

    for (int id = 0; id < IDS; id++) {
        bool is_true = said_truly(id, ask->revision), is_there = has_stayed(ask, id);

        n_true += is_true;
        n_there += is_there;
        n_owing += is_there && !is_true;
    }
    CHECK(m->applied <= n_true);
    CHECK_U64(m->concerned, m->applied + waiting);
    if (ask->concern == CONCERNS_ALL &&
        ask->n_deletions == world.model.n_deletions[ask->name]) {
        CHECK(m->concerned >= n_there);
        CHECK(waiting >= n_owing);
    }
    if (ask->concern == CONCERNS_NOBODY)
        CHECK_U64(m->concerned, 0);
    if (!CHECK(lane_state(ask->home)->revision >= ask->revision) || tap_failed())
        tap_note("revision %llu: %llu concerned, %llu applied, %llu pending; %llu were there",
                 (unsigned long long)ask->revision, (unsigned long long)m->concerned,
                 (unsigned long long)m->applied, (unsigned long long)m->pending,
                 (unsigned long long)n_there);
    counts.statuses++;
    counts.fulfilled += m->concerned && !waiting;
}

static int id_of(const char *text)
{
    return text[1] - '0';
}

/* What is gray at an instance is what it truly said, of the step that takes it. */
static void judge_rollout(const struct ask *ask, const Trimtab__V1__GetRolloutResponse *m)
{
    const Trimtab__V1__Rollout *r = m->rollout;
    uint64_t n_ok = 0;

    CHECK(m->revision >= ask->revision);
    for (size_t i = 0; i < m->n_instances; i++) {
        const Trimtab__V1__RolloutInstance *one = m->instances[i];
        bool is_ok = strcmp(one->state, "gray_ok") == 0 || strcmp(one->state, "unjudged") == 0;

        n_ok += is_ok;
        if (is_ok && CHECK(one->step && one->step <= r->plan->n_steps) &&
            !CHECK(said_truly(id_of(one->id), r->plan->steps[one->step - 1]->revision)))
            tap_note("%s is said to be gray in rollout %llu", one->id,
                     (unsigned long long)r->id);
    }
    counts.rollouts++;
    counts.gray += n_ok;
}

static void done(void *ctx, struct api_call *call)
{
    struct ask *ask = ctx;
    const ProtobufCMessage *m = call->err.code ? NULL : api_response(call);

    ask->call = NULL;
    if (!m) {
        if (!CHECK(call->err.code == ERR_NOMEM))
            tap_note("%s: %s", call->method->name, call->err.text);
        return;
    }
    if (ask->question == STATUS)
        judge_status(ask, (const Trimtab__V1__StatusResponse *)m);
    else
        judge_rollout(ask, (const Trimtab__V1__GetRolloutResponse *)m);
}

/* ---- asking ---- */

static const struct api_method *method_of(const char *name)
{
    for (size_t i = 0; i < api_methods_n; i++)
        if (strcmp(api_methods[i].name, name) == 0)
            return &api_methods[i];
    return NULL;
}

static struct api_call *call_from(struct lane *home, const char *method)
{
    owned(auth_record_unref) struct auth_record *r = auth_current(world.hub.auth);
    struct api_call *call = api_call_new(&world.desk, home->loop, method_of(method));
    const struct credentials with = {.tls_name = STR("web")};

    if (!call || auth_identify(r, &with, loop_now(home->loop), &call->who, NULL))
        abort(); /* of the test's own */
    return call;
}

static struct ask *free_ask(void)
{
    struct ask *ask = &asks[below(ASKS)];

    if (ask->call)
        return NULL;
    *ask = (struct ask){.home = &world.lanes[below(world.n_lanes)]};
    for (int id = 0; id < IDS; id++)
        ask->present[id] = stream_of(id);
    return ask;
}

static void ask_for(struct ask *ask, const char *method, const ProtobufCMessage *request)
{
    ask->call = call_from(ask->home, method);
    ask->call->request = request;
    ask->call->done = done;
    ask->call->ctx = ask;
    api_run(ask->call);
}

void calls_ask_status(uint64_t revision, enum concern concern, int name)
{
    struct ask *ask = free_ask();

    if (!ask)
        return;
    ask->question = STATUS;
    ask->revision = revision;
    ask->concern = concern;
    ask->name = name;
    ask->n_deletions = world.model.n_deletions[name];
    trimtab__v1__status_request__init(&ask->status);
    ask->status.revision = revision;
    ask->status.wait_ms = WAIT_MS;
    ask_for(ask, "Status", &ask->status.base);
}

void calls_ask_rollout(uint64_t id)
{
    struct ask *ask = free_ask();

    if (!ask)
        return;
    ask->question = ROLLOUT;
    ask->revision = id;
    trimtab__v1__get_rollout_request__init(&ask->rollout);
    ask->rollout.id = id;
    ask->rollout.wait_ms = WAIT_MS;
    ask->rollout.known = below(2); /* 1 is the stamp of nothing: it is answered at once */
    ask_for(ask, "GetRollout", &ask->rollout.base);
}

/* ---- publishing ---- */

/* By the hub: the answer is on its way home. */
static bool is_answered(const struct api_call *call)
{
    return call->packed || call->err.code;
}

struct publishing {
    struct lane *home;
    Trimtab__V1__CommitRequest request;
    Trimtab__V1__Change change, *changes[1];
    char id[16], content[16];
    bool is_there;
};

/* Whoever is told of a commit reads it in his own lane. */
static void published(void *ctx, struct api_call *call)
{
    struct publishing *p = ctx;
    const Trimtab__V1__CommitResponse *m = NULL;

    if (CHECK_I64(call->err.code, 0))
        m = (const Trimtab__V1__CommitResponse *)api_response(call);
    CHECK(m && lane_state(p->home)->revision >= m->revision);
    counts.published++;
    (void)mem_free(p);
}

void calls_publish(const char *id, const char *content)
{
    struct publishing *p = NEW(struct publishing);
    struct api_call *call;
    uint64_t before = world.hub.state->revision;

    if (!p)
        abort();
    p->home = &world.lanes[below(world.n_lanes)];
    trimtab__v1__commit_request__init(&p->request);
    trimtab__v1__change__init(&p->change);
    (void)snprintf(p->id, sizeof(p->id), "%s", id);
    (void)snprintf(p->content, sizeof(p->content), "%s", content);
    p->change.id = p->id;
    p->change.text = p->content;
    p->changes[0] = &p->change;
    p->request.changes = p->changes;
    p->request.n_changes = 1;
    call = call_from(p->home, "Commit");
    call->request = &p->request.base;
    call->done = published;
    call->ctx = p;
    api_run(call);
    while (!is_answered(call) || (world.hub.state->revision == before && !call->err.code))
        turn_hub(LOOP_WAIT);
    judge();
}

/* ---- time ---- */

/* It reads the log, on another thread: before it waits, or of a rollout that is over, after that. */
static bool is_reading(const struct ask *ask)
{
    return ask->call && ask->call->ctx_work && !is_answered(ask->call) &&
           (ask->question == ROLLOUT || !ask->call->timer.fn);
}

static bool is_waiting(const struct ask *ask)
{
    return ask->call && ask->call->timer.fn && !is_answered(ask->call) && !is_reading(ask);
}

void calls_settle(void)
{
    for (size_t i = 0; i < ASKS; i++) {
        while (is_reading(&asks[i]))
            loop_turn(&world.hub_loop, LOOP_WAIT);
        if (asks[i].call)
            timer_stop(&asks[i].call->timer);
    }
}

static void pass(struct ask *ask)
{
    struct timer *t = &ask->call->timer;

    t->fn(t, t->ctx);
}

void calls_pass_time(void)
{
    struct ask *ask = &asks[below(ASKS)];

    if (is_waiting(ask) && (ask->question == ROLLOUT || below(8) == 0))
        pass(ask);
    calls_settle();
}

/* ---- the end ---- */

size_t calls_waiting(void)
{
    size_t n = 0;

    for (size_t i = 0; i < ASKS; i++)
        n += asks[i].call && asks[i].question == STATUS;
    return n;
}

void calls_end(void)
{
    world.hub.is_draining = true;
    hub_changed(&world.hub);
    loop_turn(&world.hub_loop, LOOP_POLL);
    for (size_t i = 0; i < ASKS; i++)
        if (is_waiting(&asks[i]))
            pass(&asks[i]);
    calls_settle();
}

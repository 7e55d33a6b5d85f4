/*
 * A server without its network. See place.h.
 */
#include "server/place.h"

#include "proto/convert.h"
#include "proto/subject.h"

static const uint64_t TICK_MS = 5;

static enum store_fault next_fault(void *ctx, enum store_write write)
{
    struct place *p = ctx;
    int n;

    if (write != p->fault_write)
        return STORE_FAULT_NONE;
    n = atomic_fetch_add(&p->n_writes, 1);
    return n >= p->fault_at && n < p->fault_at + p->fault_many ? p->fault : STORE_FAULT_NONE;
}

void place_faults(struct place *p, enum store_write write, enum store_fault fault, int at,
                  int many)
{
    store_disk_faults(p->disk, NULL, NULL);
    p->fault_write = write;
    p->fault = fault;
    p->fault_at = at;
    p->fault_many = many;
    atomic_store(&p->n_writes, 0);
    store_disk_faults(p->disk, next_fault, p);
}

void place_init(struct place *p)
{
    memset(p, 0, sizeof(*p));
    p->disk = store_disk_new(7);
}

/* What an instance is to have as a/item/x; NULL: nothing. */
static const struct version *sees(const struct presence *who, const struct state *state)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct binding_at at[BINDINGS_MAX];
    struct name name;

    if (name_parse(STR("a/item/x"), &name, NULL))
        return NULL;
    name_put_key(name, &key);
    return presence_bindings(who, state, buf_str(&key), at) ? at[0].item : NULL;
}

/* As sessions do it: whom the change concerns owes a word, until place_say, and everybody's record is complete. */
static void follow(struct place *p, const struct state *before, const struct state *after)
{
    struct moment moment = hub_moment(&p->hub);
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&p->hub.roster.instances, &at))) {
        struct instance *i = slot->value;
        struct standing s = i->presence->standing;

        if (!i->presence->is_connected)
            continue;
        s.complete = after->revision;
        if (sees(i->presence, before) != sees(i->presence, after)) {
            s.concerned = after->revision;
            s.owes_since = moment.now;
            s.proof = PROOF_OVERTAKEN;
        }
        s.report = report_ref(s.report);
        CHECK(!roster_stand(&p->hub.roster, i, &s, false, &moment));
    }
}

static void on_publish(void *ctx, struct publication *news)
{
    struct place *p = ctx;
    struct state *state = news->state;

    events_publish(&p->events, p->hub.state, state, news->versions.at, news->versions.n);
    follow(p, p->hub.state, state);
    hub_set_state(&p->hub, state);
    attendance_said_all(&p->hub.attendance, 0, state);
    hub_changed(&p->hub);
}

static void on_look(void *ctx)
{
    events_changed(ctx);
}

static void on_tick(struct timer *t, void *ctx)
{
    struct place *p = ctx;

    (void)t;
    driver_tick(&p->driver);
    events_tick(&p->events);
    keeper_tick(&p->keeper, clock_now());
}

/* One for all places: it is only asked, and not a part of what fails. */
static void use_auth(struct hub *hub)
{
    static struct auth *auth;
    bool is_new;

    if (!auth)
        REQUIRE(auth_open(tap_tmpdir(), "none", &auth, &is_new, NULL) == 0);
    hub->auth = auth;
}

int place_open(struct place *p)
{
    struct config config = {.data_dir = tap_tmpdir(),
                            .ack_late = 60 * NSEC_PER_S,
                            .lost_after = 60 * NSEC_PER_S,
                            .rollout_settle = 60 * NSEC_PER_S};
    struct committer_opts opts = {.store_url = "mem:",
                                  .disk = p->disk,
                                  .loop = &p->loop,
                                  .on_publish = on_publish,
                                  .ctx = p};
    struct state *state;
    int r;

    hub_init(&p->hub, &config, &p->loop);
    use_auth(&p->hub);
    driver_init(&p->driver, &p->hub, on_look, &p->events);
    events_init(&p->events, &p->hub, &p->driver.drives);
    listeners_init(&p->listeners, &p->events, &p->hub, &p->loop);
    p->tick = (struct timer){.fn = on_tick, .ctx = p};
    if (!p->disk || loop_open(&p->loop, NULL))
        return ERR_IO;
    r = committer_open(&opts, &p->hub.committer, &state, NULL);
    if (r) {
        loop_close(&p->loop);
        return r;
    }
    hub_set_state(&p->hub, state);
    (void)state_unref(state);
    p->is_open = true;
    attendance_add_lane(&p->hub.attendance, p->hub.state);
    r = driver_open(&p->driver, NULL);
    keeper_open(&p->keeper, &p->hub.roster, p->hub.committer);
    while (!p->keeper.has_loaded)
        loop_turn(&p->loop, LOOP_WAIT);
    timer_start(&p->tick, &p->loop, TICK_MS, TICK_MS);
    return r;
}

void place_stop(struct place *p)
{
    if (!p->is_open)
        return;
    p->is_open = false;
    timer_stop(&p->tick);
    driver_leave(&p->driver);
    keeper_leave(&p->keeper);
    (void)committer_close(take(p->hub.committer), NULL);
    loop_turn(&p->loop, LOOP_POLL);
    driver_close(&p->driver);
    keeper_close(&p->keeper);
    events_deinit(&p->events);
    p->hub.auth = NULL; /* it is not the hub's own here */
    hub_deinit(&p->hub);
    for (size_t i = 0; i < p->attendees.n; i++)
        free(p->attendees.at[i]);
    VEC_DEINIT(&p->attendees);
    loop_close(&p->loop);
}

void place_free(struct place *p)
{
    place_stop(p);
    p->disk = store_disk_free(p->disk);
}

void place_until(struct place *p, place_is_so *is_so, void *ctx)
{
    while (!is_so(ctx))
        loop_turn(&p->loop, LOOP_WAIT);
}

void place_turn(struct place *p)
{
    loop_turn(&p->loop, LOOP_POLL);
}

/* ---- commits ---- */

static bool is_answered(void *ctx)
{
    const struct commit_job *job = ctx;

    return !job->done;
}

static void answered(struct commit_job *job)
{
    job->done = NULL;
}

int place_commit(struct place *p, struct commit *c, uint64_t *ret)
{
    struct commit_job job = {.commit = *c, .done = answered};
    int r;

    job.commit.author = STR("ann");
    job.commit.time_ms = 1;
    committer_commit(p->hub.committer, &job);
    place_until(p, is_answered, &job);
    r = job.result;
    if (r)
        tap_note("commit: %s", job.err.text);
    else if (ret)
        *ret = job.revision;
    commit_job_deinit(&job);
    return r;
}

void place_commit_all(struct place *p, struct commit_job *jobs, struct change *changes,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        jobs[i] = (struct commit_job){.commit = {.changes = &changes[i], .n = 1, .time_ms = 1},
                                      .done = answered};
        jobs[i].commit.author = STR("ann");
        committer_commit(p->hub.committer, &jobs[i]);
    }
    for (size_t i = 0; i < n; i++) {
        place_until(p, is_answered, &jobs[i]);
        CHECK_I64(jobs[i].result, 0);
        commit_job_deinit(&jobs[i]);
    }
}

int place_put(struct place *p, const char *id, const char *content, uint64_t *ret)
{
    struct change change = {.id = str_c(id), .content = str_c(content)};

    return place_commit(p, &(struct commit){.changes = &change, .n = 1}, ret);
}

/* ---- instances ---- */

struct instance *place_connect(struct place *p, const char *id)
{
    char id_text[64], space[] = "a", rollouts[] = FEATURE_ROLLOUTS, boot[] = "one",
                      scope_name[] = "all";
    char *spaces[] = {space}, *features[] = {rollouts};
    Trimtab__V1__Instance who = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    struct introduction *in = NULL;
    struct instance *i = NULL;
    struct attendee *one, *older;

    (void)snprintf(id_text, sizeof(id_text), "%s", id);
    who.id = id_text;
    who.boot_id = (ProtobufCBinaryData){strlen(boot), (uint8_t *)boot};
    scope.name = scope_name;
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    hello.instance = &who;
    hello.scopes = scopes;
    hello.n_scopes = 1;
    hello.features = features;
    hello.n_features = 1;
    if (introduction_new(&(struct introduction_opts){&hello, "web", "peer", "grpc"}, &in, NULL))
        return NULL;
    one = calloc(1, sizeof(*one));
    if (!CHECK(one && VEC_PUSH(&p->attendees, one))) {
        free(one);
        (void)introduction_unref(in);
        return NULL;
    }
    one->who = in;
    if (!attendance_arrive(&p->hub.attendance, one, clock_now(), clock_wall_ms(), &older, NULL))
        i = one->instance;
    (void)introduction_unref(in);
    hub_changed(&p->hub);
    return i;
}

void place_leave(struct place *p, struct instance *i)
{
    attendance_depart(&p->hub.attendance, i->stream, clock_now(), clock_wall_ms());
    hub_changed(&p->hub);
}

/* Its exception to a/item/x as its view has it now. */
static struct report *refuse(const struct place *p, const struct presence *who)
{
    char scope[] = "all", key[] = "item/x", code[] = "CHECK_FAILED", message[] = "no";
    Trimtab__V1__Refusal f = TRIMTAB__V1__REFUSAL__INIT, *list[] = {&f};
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    const struct version *item = sees(who, p->hub.state);

    if (item)
        f.hash = proto_bytes(str_of(item->item_hash.bytes, SHA256_BYTES));
    f.scope = scope;
    f.key = key;
    f.code = code;
    f.message = message;
    ack.refused = list;
    ack.n_refused = 1;
    return report_new(&ack);
}

int place_say(struct place *p, struct instance *i, enum says says)
{
    uint64_t revision = p->hub.state->revision;
    struct standing s = {.complete = revision, .concerned = revision, .sent = revision};
    struct moment at = hub_moment(&p->hub);
    int r;

    s.received = s.applied = revision;
    s.proof = says == SAYS_WRONG ? PROOF_WRONG : PROOF_HOLDS;
    s.proved = says == SAYS_WRONG ? 0 : revision;
    s.is_steady = true;
    if (says == SAYS_REFUSED)
        s.report = refuse(p, i->presence);
    r = roster_stand(&p->hub.roster, i, &s, true, &at);
    hub_changed(&p->hub);
    return r;
}

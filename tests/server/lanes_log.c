/*
 * What is published under the scheduler of hub and lanes, and the model of what that comes to. See lanes.h.
 */
#include "server/lanes.h"

#include "server/rollout/view.h"

/* ---- the model ---- */

bool may_now(int token)
{
    return world.model.has_token[token] && world.model.has_grant[token];
}

bool takes_rollouts(int id)
{
    return id != IDS - 1;
}

bool trial_takes(const struct trial *t, int id)
{
    return takes_rollouts(id) && (t->takes[0][id] || (t->is_advanced && t->takes[1][id]));
}

static struct trial *trial_of(int name)
{
    for (int i = 0; i < TRIALS; i++)
        if (world.model.trials[i].id && world.model.trials[i].name == name)
            return &world.model.trials[i];
    return NULL;
}

/* What an id is to have of a name; NULL: nothing. */
static const struct sha256 *effective(int name, int id)
{
    const struct trial *t = trial_of(name);

    if (t && trial_takes(t, id))
        return t->deletes ? NULL : &t->hash;
    return world.model.has[name] ? &world.model.stable[name] : NULL;
}

static void note_revision(uint64_t revision)
{
    for (int id = 0; id < IDS; id++) {
        struct digest *sum = &world.digests[revision][id];

        *sum = DIGEST_NULL;
        for (int i = 0; i < NAMES; i++) {
            const struct sha256 *hash = effective(i, id);

            if (hash)
                *sum = digest_add(*sum, binding_digest(STR("a"), hash));
        }
        world.changed[revision][id] = digest_eq(*sum, world.digests[revision - 1][id])
                                          ? world.changed[revision - 1][id]
                                          : revision;
    }
    for (int i = 0; i < TOKENS; i++)
        world.may[revision][i] = may_now(i);
}

/* ---- from the committer to the lanes, as src/server/server.c has it ---- */

static void on_review(struct post *post, void *ctx)
{
    struct lane *lane = ctx;

    (void)post;
    world.reviews[lane->number].is_under_way = false;
    counts.reviews++;
    subscribers_review(lane);
    hub_end_flight(&world.hub);
}

static void review(void)
{
    for (size_t i = 0; i < world.n_lanes; i++) {
        if (world.reviews[i].is_under_way)
            continue; /* it has not begun yet */
        world.reviews[i].is_under_way = true;
        hub_begin_flight(&world.hub);
        world.reviews[i].post = (struct post){.fn = on_review, .ctx = &world.lanes[i]};
        loop_post(&world.loops[i], &world.reviews[i].post);
    }
}

static int take_rights(void)
{
    return auth_take(world.hub.auth, world.hub.state->rights, clock_now(), clock_wall_ms());
}

static void renew_rights(void)
{
    owned(auth_record_unref) struct auth_record *before = auth_current(world.hub.auth);

    if (auth_rights(before) != world.hub.state->rights && CHECK(take_rights() == 0))
        review();
}

static void on_arrival(struct post *post, void *ctx)
{
    struct publication_way *way = ctx;
    struct publication *p = way->publication;

    (void)post;
    lane_publish(way->to, p->state, p->versions.at, p->versions.n);
    (void)publication_unref(p);
    hub_end_flight(&world.hub);
}

static void on_publish(void *ctx, struct publication *p)
{
    (void)ctx;
    if (world.deed.note)
        world.deed.note(&world.deed, p->state);
    note_revision(p->state->revision);
    counts.commits++;
    hub_set_state(&world.hub, p->state);
    renew_rights();
    for (size_t i = 0; i < world.n_lanes; i++) {
        hub_begin_flight(&world.hub);
        p->ways[i] =
            (struct publication_way){.publication = publication_ref(p), .to = &world.lanes[i]};
        p->ways[i].post = (struct post){.fn = on_arrival, .ctx = &p->ways[i]};
        loop_post(&world.loops[i], &p->ways[i].post);
    }
    hub_changed(&world.hub);
}

/* ---- life ---- */

void log_open(void)
{
    struct committer_opts opts = {.store_url = "mem:",
                                  .loop = &world.hub_loop,
                                  .on_publish = on_publish,
                                  .n_ways = world.n_lanes};
    struct state *state;

    REQUIRE(committer_open(&opts, &world.hub.committer, &state, NULL) == 0);
    world.hub.identity = committer_identity(world.hub.committer);
    hub_set_state(&world.hub, state);
    (void)state_unref(state);
    REQUIRE(take_rights() == 0);
}

void log_close(void)
{
    (void)committer_close(take(world.hub.committer), NULL);
}

static void answered(struct commit_job *job)
{
    job->done = NULL;
}

/* It is done when this returns; by the model it is one that can be. */
static void commit(struct commit *c, const struct deed *deed)
{
    struct commit_job job = {.commit = *c, .done = answered};

    world.deed = *deed;
    job.commit.author = STR("ann");
    job.commit.time_ms = 1;
    job.commit.has_local_admin = true;
    committer_commit(world.hub.committer, &job);
    while (job.done)
        turn_hub(LOOP_WAIT);
    judge();
    if (!CHECK_I64(job.result, 0))
        tap_note("commit: %s", job.err.text);
    commit_job_deinit(&job);
}

/* ---- what is done ---- */

static const struct version *stable_of(const struct state *state, const char *id)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct name name;

    if (!CHECK(name_parse(str_c(id), &name, NULL) == 0))
        return NULL;
    name_put_key(name, &key);
    return state_newest(state, buf_str(&key));
}

static void note_put(const struct deed *d, const struct state *state)
{
    const struct version *v;
    char id[16];

    (void)snprintf(id, sizeof(id), "a/item/n%d", d->name);
    v = stable_of(state, id);
    if (!CHECK(v != NULL && !v->deleted))
        return;
    world.model.stable[d->name] = v->item_hash;
    world.model.has[d->name] = true;
}

static void put(void)
{
    bool concerns = planned(4) != 0;
    struct deed deed = {.note = concerns ? note_put : NULL, .name = (int)planned(NAMES)};
    char id[16], content[16];
    struct change change;

    if (concerns && trial_of(deed.name))
        return; /* it is locked */
    (void)snprintf(id, sizeof(id), "%s/item/n%d", concerns ? "a" : "z", deed.name);
    (void)snprintf(content, sizeof(content), "%d", ++world.counter); /* never twice the same */
    change = (struct change){.id = str_c(id), .content = str_c(content)};
    if (planned(2)) {
        commit(&(struct commit){.changes = &change, .n = 1}, &deed);
    } else {
        world.deed = deed;
        calls_publish(id, content);
    }
    if (below(2))
        calls_ask_status(world.hub.state->revision, concerns ? CONCERNS_ALL : CONCERNS_NOBODY,
                         deed.name);
}

/* ---- rollouts ---- */

static void note_start(const struct deed *d, const struct state *state)
{
    const struct rollout *r = state_rollout(state, state->revision);

    if (!CHECK(r && r->n_candidates == 1))
        return;
    *d->trial = d->start;
    d->trial->id = r->id;
    d->trial->hash = r->candidates[0]->item_hash;
    counts.starts++;
}

/* Everybody, some by their ids, or one. */
static struct target draw_targets(bool takes[IDS], struct str ids[IDS], char texts[IDS][16])
{
    size_t n = 0;

    if (planned(4) == 0) {
        memset(takes, true, IDS * sizeof(*takes));
        return (struct target){.everyone = true};
    }
    for (int id = 0; id < IDS; id++)
        takes[id] = planned(3) == 0;
    takes[planned(IDS)] = true;
    for (int id = 0; id < IDS; id++) {
        (void)snprintf(texts[n], sizeof(texts[n]), "i%d", id);
        ids[n] = str_c(texts[n]);
        n += takes[id];
    }
    return (struct target){.ids = ids, .n_ids = n};
}

static void start(struct trial *t)
{
    int name = (int)planned(NAMES);
    struct deed deed = {.note = note_start, .trial = t, .start = {.name = name}};
    struct trial *made = &deed.start;
    struct str ids[2][IDS];
    char texts[2][IDS][16], id[16], content[16];
    struct target targets[2];
    struct step steps[2];
    struct rollout_plan plan = {.steps = steps, .n_steps = 2};
    struct rollout_move move = {.kind = MOVE_START, .plan = &plan};
    struct change change;

    if (trial_of(name))
        return;
    for (int i = 0; i < 2; i++) {
        targets[i] = draw_targets(made->takes[i], ids[i], texts[i]);
        steps[i] = (struct step){.targets = &targets[i], .n_targets = 1};
    }
    made->deletes = world.model.has[name] && planned(4) == 0;
    (void)snprintf(id, sizeof(id), "a/item/n%d", name);
    (void)snprintf(content, sizeof(content), "%d", ++world.counter);
    change = (struct change){.id = str_c(id), .delete = made->deletes};
    if (!made->deletes)
        change.content = str_c(content);
    world.model.n_deletions[name] += made->deletes;
    commit(&(struct commit){.changes = &change, .n = 1, .moves = &move, .n_moves = 1}, &deed);
    if (below(2))
        calls_ask_status(world.hub.state->revision, CONCERNS_TARGETS, name);
}

static void note_advance(const struct deed *d, const struct state *state)
{
    (void)state;
    d->trial->is_advanced = true;
    counts.advances++;
}

static void note_confirmation(const struct deed *d, const struct state *state)
{
    struct trial *t = d->trial;
    char id[16];

    (void)snprintf(id, sizeof(id), "a/item/n%d", t->name);
    world.model.has[t->name] = !t->deletes;
    world.model.stable[t->name] = t->hash;
    CHECK(t->deletes || sha256_eq(&stable_of(state, id)->item_hash, &t->hash));
    t->id = 0;
    counts.confirmations++;
}

static void note_roll_back(const struct deed *d, const struct state *state)
{
    (void)state;
    d->trial->id = 0;
    counts.roll_backs++;
}

static void make_move(struct trial *t, enum rollout_move_kind kind,
                      void (*note)(const struct deed *d, const struct state *state))
{
    owned(state_unref) struct state *state = state_ref(world.hub.state);
    owned(arena) struct arena a = ARENA_NULL;
    const struct rollout *r = state_rollout(state, t->id);
    struct rollout_move m = {.kind = kind, .id = t->id};
    struct commit c = {.moves = &m, .n_moves = 1};
    struct deed deed = {.note = note, .trial = t};

    if (!CHECK(r != NULL))
        return;
    m.expected = r->n_moves;
    if (kind == MOVE_CONFIRM)
        CHECK_I64(rollout_changes(r, &a, &c), 0);
    commit(&c, &deed);
}

static void advance(struct trial *t)
{
    if (!t->is_advanced)
        make_move(t, MOVE_ADVANCE, note_advance);
}

static void move(struct trial *t)
{
    switch (planned(4)) {
    case 0: make_move(t, MOVE_CONFIRM, note_confirmation); break;
    case 1: make_move(t, MOVE_ROLL_BACK, note_roll_back); break;
    default: advance(t); break;
    }
}

/* ---- rights ---- */

static void note_token(const struct deed *d, const struct state *state)
{
    (void)state;
    world.model.has_token[d->token] = d->gives;
}

static void note_grant(const struct deed *d, const struct state *state)
{
    (void)state;
    world.model.has_grant[d->token] = d->gives;
}

static void change_token(int token, bool gives)
{
    struct deed deed = {.note = note_token, .token = token, .gives = gives};
    char id[32], secret[16], hex[SHA256_HEX_BYTES + 1], content[128];
    struct sha256 hash;
    struct change change;

    (void)snprintf(id, sizeof(id), "trimtab/token/t%d", token);
    (void)snprintf(secret, sizeof(secret), "secret%d", token);
    hash = sha256_of(str_c(secret));
    hex_encode(hash.bytes, SHA256_BYTES, hex);
    (void)snprintf(content, sizeof(content), "{\"hash\": \"sha256:%s\"}", hex);
    change = (struct change){.id = str_c(id), .delete = !gives};
    if (gives)
        change.content = str_c(content);
    commit(&(struct commit){.changes = &change, .n = 1}, &deed);
}

/* Without the right to subscribe, one may still see what he subscribed to, or something else, or nothing. */
static void change_grant(int token, bool gives)
{
    static const struct {
        const char *role, *space;
    } others[] = {{"view", "a"}, {"subscribe", "z"}};
    struct deed deed = {.note = note_grant, .token = token, .gives = gives};
    size_t other = planned(ARRAY_LEN(others) + 1);
    bool is_deleted = !gives && other == ARRAY_LEN(others);
    char id[32], content[128];
    struct change change;

    (void)snprintf(id, sizeof(id), "trimtab/grant/g%d", token);
    other %= ARRAY_LEN(others);
    (void)snprintf(content, sizeof(content),
                   "{\"subject\": \"token:t%d\", \"role\": \"%s\", "
                   "\"namespaces\": [\"%s\"]}",
                   token, gives ? "subscribe" : others[other].role,
                   gives ? "a" : others[other].space);
    change = (struct change){.id = str_c(id), .delete = is_deleted};
    if (!is_deleted)
        change.content = str_c(content);
    commit(&(struct commit){.changes = &change, .n = 1}, &deed);
}

static void change_rights(void)
{
    int token = (int)planned(TOKENS);
    const struct model *m = &world.model;

    if (planned(3) == 0)
        change_token(token, !m->has_token[token]);
    else
        change_grant(token, !m->has_grant[token]);
}

void log_finish(void)
{
    for (int i = 0; i < TOKENS; i++) {
        if (!world.model.has_token[i])
            change_token(i, true);
        if (!world.model.has_grant[i])
            change_grant(i, true);
    }
    for (int i = 0; i < TRIALS; i++)
        if (world.model.trials[i].id)
            advance(&world.model.trials[i]);
}

void log_act(void)
{
    struct trial *t = &world.model.trials[planned(TRIALS)];

    switch (planned(8)) {
    case 0:
    case 1: change_rights(); break;
    case 2:
    case 3: t->id ? move(t) : start(t); break;
    default: put(); break;
    }
    if (t->id)
        calls_ask_rollout(t->id);
}

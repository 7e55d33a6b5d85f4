/*
 * Subscribers of the scheduler of hub and lanes. See lanes.h.
 */
#include "server/lanes.h"

static struct client *client_of(struct subscriber *s)
{
    return CONTAINER_OF(s, struct client, subscriber);
}

const struct instance *instance_of(int id)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "i%d", id);
    return roster_find(&world.hub.roster, str_c(text));
}

int token_of(int id)
{
    return id % 4 < TOKENS ? id % 4 : -1;
}

bool client_is_up(const struct client *c)
{
    return c->is_open && !c->must_go && !c->has_waiting_hello;
}

void client_close(struct client *c)
{
    if (!c->is_open)
        return;
    subscriber_deinit(&c->subscriber);
    *c = (struct client){.is_open = false};
}

/* ---- what it is sent ---- */

/* I4: no candidate of a rollout that it is not a target of. */
static void check_candidates(const struct client *c)
{
    for (int t = 0; t < TRIALS; t++) {
        const struct trial *trial = &world.model.trials[t];

        for (size_t i = 0; trial->id && !trial->deletes && i < c->peer.n_held; i++)
            if (!CHECK(!sha256_eq(&c->peer.held[i].hash, &trial->hash) ||
                       trial_takes(trial, c->id)))
                tap_note("i%d has a candidate of rollout %llu", c->id,
                         (unsigned long long)trial->id);
    }
}

/* I11: nothing of a revision at which its right was gone, while it still is. */
static void check_right(const struct client *c)
{
    int token = token_of(c->id);
    bool may = c->is_thief || token < 0 || may_now(token) || world.may[c->peer.revision][token];

    counts.barred += token >= 0 && !c->is_thief && !may_now(token);
    if (!CHECK(may))
        tap_note("i%d was sent revision %llu", c->id, (unsigned long long)c->peer.revision);
}

static void pull(struct subscriber *s)
{
    struct client *c = client_of(s);
    struct feed_frame frame;

    CHECK(s->is_taken && !c->is_refused); /* nobody gets a byte before it was let in */
    while (!c->must_go &&
           feed_session_pull(s->session, loop_now(s->lane->loop), &frame) == FEED_FRAME) {
        int ends = c->peer.ends;

        peer_take(&c->peer, &frame);
        if (c->peer.ends == ends)
            continue;
        c->has_batch = true;
        check_right(c);
        check_candidates(c);
    }
}

static void refused(struct subscriber *s, const struct err *err)
{
    struct client *c = client_of(s);

    CHECK(err->code == ERR_DENIED ||
          err->code == ERR_NOMEM); /* another credential had the id first */
    c->is_refused = c->must_go = true;
    if (err->code == ERR_DENIED)
        world.is_thiefs[c->id] = !c->is_thief;
    counts.refusals++;
}

static void leave(struct subscriber *s, const char *reason)
{
    client_of(s)->must_go = true;
    if (strncmp(reason, "replaced", 8) == 0)
        counts.replaced++;
    else
        counts.ended++;
}

static const struct subscriber_ops ops = {
    .transport = "test", .pull = pull, .refused = refused, .leave = leave};

/* ---- what it says ---- */

static void say(struct client *c, const Trimtab__V1__ClientFrame *frame)
{
    struct err err = ERR_NULL;

    if (subscriber_frame(&c->subscriber, frame, &err))
        c->must_go = true;
}

/* What it has proves that it has this revision, if it has what it is to have of it. */
static void note_truth(struct client *c, uint64_t revision)
{
    struct truth *t = &world.truths[c->id];

    if (digest_eq(peer_digest(&c->peer), world.digests[revision][c->id]) && t->n < REVISIONS)
        t->said[t->n++] = revision;
}

void client_acknowledge(struct client *c, bool lies)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    unsigned char received[DIGEST_BYTES], serving[DIGEST_BYTES];

    digest_put(peer_digest(&c->peer), received);
    memcpy(serving, received, sizeof(serving));
    serving[3] ^= lies;
    ack.stage = TRIMTAB__V1__STAGE__APPLIED;
    ack.revision = c->peer.revision;
    ack.received_digest = (ProtobufCBinaryData){DIGEST_BYTES, received};
    ack.serving_digest = (ProtobufCBinaryData){DIGEST_BYTES, serving};
    frame.ack = &ack;
    c->has_batch = false;
    c->has_lied = lies;
    counts.lies += lies;
    if (!lies)
        note_truth(c, c->peer.revision);
    say(c, &frame);
}

void client_answer(struct client *c)
{
    static struct world now; /* for the peer's clock */

    if (!c->peer.asks)
        return;
    c->peer.asks = 0;
    counts.inventories++;
    now.now = loop_now(c->subscriber.lane->loop);
    c->peer.w = &now;
    if (peer_inventory(&c->peer))
        c->must_go = true;
}

/* With a cursor when it has had something, which shows what it might read if it has the mark of that. */
void client_greet(struct client *c)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Cursor cursor = TRIMTAB__V1__CURSOR__INIT;
    char id[16], name[] = "a", space[] = "a", *spaces[] = {space}, boot[] = "b";
    char rollouts[] = FEATURE_ROLLOUTS, *features[] = {rollouts};
    unsigned char digest[DIGEST_BYTES];

    (void)snprintf(id, sizeof(id), "i%d", c->id);
    instance.id = id;
    instance.boot_id = (ProtobufCBinaryData){1, (uint8_t *)boot};
    scope.name = name;
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    hello.protocol = 1;
    hello.instance = &instance;
    hello.scopes = scopes;
    hello.n_scopes = 1;
    hello.features = features;
    hello.n_features = takes_rollouts(c->id);
    digest_put(peer_digest(&c->peer), digest);
    cursor.store_id = (ProtobufCBinaryData){STORE_ID_BYTES, world.hub.identity.id.bytes};
    cursor.revision = c->peer.revision;
    cursor.digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    cursor.count = 1;
    if (below(4))
        cursor.mark = (ProtobufCBinaryData){MARK_BYTES, c->peer.mark};
    hello.cursor = c->peer.revision ? &cursor : NULL;
    frame.hello = &hello;
    counts.returned += hello.cursor != NULL;
    c->has_waiting_hello = subscriber_must_wait(c->subscriber.lane, &hello);
    counts.waited += c->has_waiting_hello;
    if (!c->has_waiting_hello)
        say(c, &frame);
}

/* ---- coming ---- */

/* As the server knows who comes with this credential, now and when it looks again. */
static bool identify(const struct client *c, struct identity *ret_who)
{
    owned(auth_record_unref) struct auth_record *r = auth_current(world.hub.auth);
    int token = c->is_thief ? -1 : token_of(c->id);
    struct credentials with = {.tls_name = c->is_thief ? STR("thief") : STR("web")};
    char bearer[32];

    (void)snprintf(bearer, sizeof(bearer), "Bearer secret%d", token);
    if (token >= 0)
        with = (struct credentials){.authorization = str_c(bearer)};
    return auth_identify(r, &with, loop_now(&world.hub_loop), ret_who, NULL) == 0;
}

void client_come(struct client *c, int id, bool is_thief, const struct peer *before)
{
    struct lane *lane = &world.lanes[below(world.n_lanes)];
    struct identity who;

    *c = (struct client){.id = id, .is_thief = is_thief, .serial = ++world.n_streams};
    world.newest[id] = c->serial;
    if (before && !c->is_thief) {
        memcpy(c->peer.held, before->held, sizeof(before->held));
        c->peer.n_held = before->n_held;
        c->peer.revision = before->revision;
        memcpy(c->peer.mark, before->mark, sizeof(before->mark));
    }
    if (!identify(c, &who)) {
        CHECK(!is_thief && token_of(id) >= 0 && !world.model.has_token[token_of(id)]);
        return;
    }
    if (!CHECK(subscriber_init(&c->subscriber, lane, &ops, STR("peer"), &who,
                               FEED_CLIENT_ANSWERS, NULL) == 0))
        return;
    c->peer.session = c->subscriber.session;
    c->is_open = true;
    counts.streams++;
    client_greet(c);
}

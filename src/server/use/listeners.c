/*
 * Listeners. See listeners.h.
 */
#include "server/use/listeners.h"

#include "proto/convert.h"
#include "proto/json.h"
#include "proto/wire.h"
#include "server/use/event_sight.h"

enum { EVENT_TEXT_MAX = 8 << 20, FRAME_PREFIX = 5 };

static const char *const type_names[] = {"commit", "rollout", "instance"};

/* ---- encodings ---- */

struct shared *event_text(struct event *e)
{
    owned(buf) struct buf text = BUF_NULL(EVENT_TEXT_MAX);

    if (e->text)
        return e->text;
    buf_printf(&text, "event: %s\ndata: ", e->message->type);
    if (proto_to_json_text(&e->message->base, PROTO_JSON_SPARSE, &text))
        return NULL;
    buf_put_c(&text, "\n\n");
    if (!buf_status(&text))
        e->text = shared_copy(buf_str(&text));
    return e->text;
}

/* ---- telling ---- */

static bool wants_type(const Trimtab__V1__EventsRequest *q, const char *type)
{
    for (size_t i = 0; i < q->n_types; i++)
        if (strcmp(q->types[i], type) == 0)
            return true;
    return q->n_types == 0;
}

static bool has_prefix(const Trimtab__V1__CommitEvent *c, struct str prefix)
{
    for (size_t i = 0; i < c->n_resources; i++)
        if (str_starts(str_c(c->resources[i]), prefix))
            return true;
    return !prefix.len || c->resource_count > c->n_resources; /* those that are not shown may */
}

static bool wants(const struct listener *l, const Trimtab__V1__Event *m)
{
    const Trimtab__V1__EventsRequest *q = l->wants;

    if (!wants_type(q, m->type))
        return false;
    if (m->commit)
        return has_prefix(m->commit, str_c(q->prefix));
    return !m->rollout || !q->rollout || q->rollout == m->rollout->id;
}

static void tell(struct listener *l, struct event *e)
{
    if (l->has_lost || l->queued(l) > EVENT_QUEUE_MAX)
        l->has_lost = true;
    else
        l->send(l, e);
}

static Trimtab__V1__Event *unpack(struct shared *framed)
{
    struct str packed = str_from(shared_str(framed), FRAME_PREFIX);

    return trimtab__v1__event__unpack(&proto_allocator, packed.len,
                                      (const uint8_t *)packed.data);
}

/* A copy of an event for who does not see everything: what he sees of it (I11). */
static void tell_part(struct listener *l, const struct sight *sight, struct shared *framed)
{
    Trimtab__V1__Event *m = unpack(framed);
    struct event part = {.message = m};
    bool is_seen = m && event_trim(sight, m) && wants(l, m);

    if (is_seen)
        part.framed = proto_pack_framed(&m->base);
    if (is_seen && part.framed)
        tell(l, &part);
    l->has_lost |= !m || (is_seen && !part.framed);
    (void)shared_unref(part.framed);
    (void)shared_unref(part.text);
    if (m)
        trimtab__v1__event__free_unpacked(m, &proto_allocator);
}

/* Without memory to read it something is lost. */
static void hear(struct audience *a, struct shared *framed)
{
    struct listeners *all = CONTAINER_OF(a, struct listeners, audience);
    owned(auth_record_unref) struct auth_record *rights = auth_current(a->hub->auth);
    Trimtab__V1__Event *m = unpack(framed);
    struct event event = {.message = m, .framed = framed};

    LIST_EACH (&all->list, link) {
        struct listener *l = LINK_OF(link, struct listener, link);

        struct sight sight = sight_of(auth_rights(rights), &l->who);

        if (!m)
            l->has_lost = true;
        else if (!sight.is_all)
            tell_part(l, &sight, framed);
        else if (wants(l, m))
            tell(l, &event);
    }
    (void)shared_unref(event.text);
    if (m)
        trimtab__v1__event__free_unpacked(m, &proto_allocator);
}

/* An event without more, to one listener. False without memory. */
static bool tell_one(struct listener *l, const char *type, uint64_t revision)
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__Event m;
    struct event event = {.message = &m};

    event_init(&m, type, revision, &a);
    event.framed = arena_failed(&a) ? NULL : proto_pack_framed(&m.base);
    if (!event.framed)
        return false;
    l->send(l, &event);
    (void)shared_unref(event.framed);
    (void)shared_unref(event.text);
    return true;
}

/* What it lost is over, and it may go on from the newest state. */
static void tell_loss(struct listener *l)
{
    struct state *state = hub_newest(l->of->audience.hub);

    l->has_lost = !tell_one(l, "lost", state->revision);
    (void)state_unref(state);
}

/* ---- joining ---- */

/* On its way to the hub and back; goes on alone when its listener closes. */
struct joining {
    struct errand errand;
    struct listeners *all;
    struct listener *listener; /* the lane's; NULL: it has closed */
    uint64_t revision;
};

static void join(struct errand *e)
{
    struct joining *j = CONTAINER_OF(e, struct joining, errand);

    j->revision = events_join(j->all->events, &j->all->audience);
    errand_return(e);
}

static void quit(struct errand *e)
{
    struct joining *j = CONTAINER_OF(e, struct joining, errand);

    events_quit(j->all->events, &j->all->audience);
    errand_return(e);
}

static void has_quit(struct errand *e)
{
    (void)mem_free(CONTAINER_OF(e, struct joining, errand));
}

static void send_quit(struct joining *j)
{
    j->errand.run = quit;
    j->errand.done = has_quit;
    errand_send(&j->errand, j->all->audience.hub, j->all->audience.loop);
}

static void has_joined(struct errand *e)
{
    struct joining *j = CONTAINER_OF(e, struct joining, errand);
    struct listener *l = j->listener;

    if (!l) {
        send_quit(j);
        return;
    }
    l->has_joined = true;
    link_before(&l->of->list, &l->link);
    if (l->of->is_draining)
        l->leave(l, "the server is shutting down");
    else if (!tell_one(l, "hello", j->revision))
        l->leave(l, "out of memory");
}

/* ---- life ---- */

void listeners_init(struct listeners *all, struct events *events, struct hub *hub,
                    struct loop *loop)
{
    *all = (struct listeners){.audience = {.hub = hub, .loop = loop, .hear = hear},
                              .events = events};
    link_init(&all->list);
    events_add_audience(events, &all->audience);
}

static int check_types(const Trimtab__V1__EventsRequest *q, struct err *err)
{
    for (size_t i = 0; i < q->n_types; i++) {
        bool is_one = false;

        for (size_t n = 0; n < ARRAY_LEN(type_names); n++)
            is_one |= strcmp(q->types[i], type_names[n]) == 0;
        if (is_one)
            continue;
        (void)err_set(err, ERR_INVALID, "there is no type of event \"%.100s\"", q->types[i]);
        err_place(err, "types");
        err_hint(err, "commit, rollout or instance");
        return ERR_INVALID;
    }
    return 0;
}

int listener_check(const struct listeners *all, const Trimtab__V1__EventsRequest *q,
                   struct err *err)
{
    if (all->is_draining)
        return err_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    return check_types(q, err);
}

int listener_open(struct listener *l, struct listeners *all, const struct identity *who,
                  Trimtab__V1__EventsRequest *wants)
{
    struct joining *j = NEW(struct joining);

    if (!j) {
        trimtab__v1__events_request__free_unpacked(wants, &proto_allocator);
        return ERR_NOMEM;
    }
    l->of = all;
    l->who = *who;
    l->wants = wants;
    l->asking = j;
    link_init(&l->link);
    *j = (struct joining){
        .errand = {.run = join, .done = has_joined}, .all = all, .listener = l};
    errand_send(&j->errand, all->audience.hub, all->audience.loop);
    return 0;
}

/* What was used to join is used to quit, so that this cannot fail. */
void listener_close(struct listener *l)
{
    struct joining *j = take(l->asking);

    if (!j)
        return;
    link_remove(&l->link);
    j->listener = NULL;
    if (l->has_joined)
        send_quit(j);
    if (l->wants)
        trimtab__v1__events_request__free_unpacked(l->wants, &proto_allocator);
    l->wants = NULL;
}

void listener_writable(struct listener *l)
{
    if (l->has_lost)
        tell_loss(l);
}

/* ---- all of a lane ---- */

void listeners_tick(struct listeners *all)
{
    bool has_missed =
        atomic_exchange_explicit(&all->audience.has_missed, false, memory_order_relaxed);

    LIST_EACH (&all->list, link) {
        struct listener *l = LINK_OF(link, struct listener, link);

        l->has_lost |= has_missed;
        if (l->has_lost && !l->queued(l))
            tell_loss(l);
    }
}

void listeners_drain(struct listeners *all, const char *reason)
{
    all->is_draining = true;
    LIST_EACH (&all->list, link) {
        struct listener *l = LINK_OF(link, struct listener, link);

        l->leave(l, reason);
    }
}

void listeners_review(struct listeners *all)
{
    owned(auth_record_unref) struct auth_record *rights = auth_current(all->audience.hub->auth);

    LIST_EACH (&all->list, link) {
        struct listener *l = LINK_OF(link, struct listener, link);

        if (!auth_renew(rights, &l->who, clock_now()) ||
            !auth_may_somewhere(rights, &l->who, RIGHT_TO_VIEW))
            l->leave(l, "the right to read was taken away");
    }
}

/*
 * Lanes and hub of the simulated server. See lanes.h.
 */
#include "lanes.h"

#include "base/vec.h"

struct word {
    struct seat *seat;
    struct told *told; /* NULL: as it was the last time */
    struct standing standing;
    bool has_standing, is_word;
};

struct letter {
    struct letter *next;
    enum letter_kind kind;
    struct seat *seat;          /* NULL: it is of no stream */
    struct state *state;        /* of a publication, with; or of standings */
    struct version **versions;  /* what has changed since the one before */
    size_t n;                   /* of these, or of words */
    struct verdict *verdict;    /* of a health, with */
    Trimtab__V1__Health health; /* without its texts */
    struct word *words;
};

/* ---- seats ---- */

static struct seat *seat_ref(struct seat *seat)
{
    seat->refs++;
    return seat;
}

static void seat_unref(struct seat *seat)
{
    if (!seat || --seat->refs)
        return;
    (void)introduction_unref(seat->who);
    free(seat);
}

/* ---- letters ---- */

static void letters_init(struct letters *q)
{
    *q = (struct letters){.last = &q->first};
}

/* seat: NULL for none. */
static struct letter *send(struct letters *q, enum letter_kind kind, struct seat *seat)
{
    struct letter *m = calloc(1, sizeof(*m));

    m->kind = kind;
    m->seat = seat ? seat_ref(seat) : NULL;
    *q->last = m;
    q->last = &m->next;
    q->n++;
    return m;
}

static struct letter *take_letter(struct letters *q)
{
    struct letter *m = q->first;

    if (!m)
        return NULL;
    q->first = m->next;
    if (!q->first)
        q->last = &q->first;
    q->n--;
    return m;
}

static void letter_free(struct letter *m)
{
    for (size_t i = 0; m->versions && i < m->n; i++)
        (void)version_unref(m->versions[i]);
    free(m->versions);
    (void)state_unref(m->state);
    for (size_t i = 0; m->words && i < m->n; i++) {
        if (m->words[i].has_standing)
            standing_deinit(&m->words[i].standing);
        free(m->words[i].told);
        seat_unref(m->words[i].seat);
    }
    free(m->words);
    (void)verdict_unref(m->verdict);
    seat_unref(m->seat);
    free(m);
}

static void letters_clear(struct letters *q)
{
    struct letter *m;

    while ((m = take_letter(q)))
        letter_free(m);
}

/* ---- life ---- */

bool lanes_open(struct lanes *l, size_t n, const struct feed_opts *opts, struct state *state)
{
    l->newest = state;
    l->n = n;
    link_init(&l->seats);
    for (size_t i = 0; i < n; i++) {
        struct lane *lane = &l->at[i];

        *lane = (struct lane){.all = l, .number = i, .feed = feed_new(opts, state)};
        link_init(&lane->streams);
        letters_init(&lane->to_lane);
        letters_init(&lane->to_hub);
        attendance_add_lane(&l->claims->attendance, state);
        if (!lane->feed)
            return false;
    }
    return true;
}

/* Frees what the lane has of it. */
static void stream_free(struct stream *s)
{
    s->lane->all->ops->ended(s->lane->all->ctx, s);
    s->session = feed_session_free(s->session);
    link_remove(&s->link);
    queue_clear(&s->to_server);
    queue_clear(&s->to_client);
    if (s->seat)
        s->seat->stream = NULL;
    seat_unref(s->seat);
    free(s);
}

/* It is gone for the hub. */
static void leave(struct lanes *l, struct seat *seat)
{
    struct claims *c = l->claims;

    attendance_depart(&c->attendance, &seat->attendee, c->now, claims_wall(c));
    link_remove(&seat->link);
    seat_unref(seat); /* the hub's */
}

void lanes_close(struct lanes *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct lane *lane = &l->at[i];

        LIST_EACH (&lane->streams, link)
            stream_free(LINK_OF(link, struct stream, link));
        letters_clear(&lane->to_lane);
        letters_clear(&lane->to_hub);
        lane->feed = feed_free(lane->feed);
    }
    LIST_EACH (&l->seats, link)
        leave(l, LINK_OF(link, struct seat, link));
    l->n = 0;
}

/* ---- the lane's side ---- */

struct stream *stream_new(struct lane *lane, int client, uint64_t boot)
{
    struct stream *s = calloc(1, sizeof(*s));

    *s = (struct stream){.lane = lane, .client = client, .boot = boot};
    link_init(&s->link);
    queue_init(&s->to_server);
    queue_init(&s->to_client);
    s->session = feed_session_new(lane->feed, FEED_CLIENT_ANSWERS, s);
    link_before(&lane->streams, &s->link);
    return s;
}

void stream_end(struct stream *s)
{
    if (s->seat)
        (void)send(&s->lane->to_hub, LETTER_DEPARTURE, s->seat);
    stream_free(s);
}

bool stream_must_wait(struct stream *s, const Trimtab__V1__Hello *hello)
{
    struct lanes *l = s->lane->all;
    bool must_wait = feed_must_wait(s->lane->feed, hello, l->newest->revision);

    l->n_waited += must_wait;
    return must_wait;
}

bool stream_arrive(struct stream *s, const Trimtab__V1__Hello *hello)
{
    struct introduction_opts opts = {
        .hello = hello, .owner = "somebody", .peer = "here", .transport = "grpc"};
    struct introduction *who;

    if (introduction_new(&opts, &who, NULL))
        return false;
    s->seat = calloc(1, sizeof(*s->seat));
    *s->seat = (struct seat){.number = ++s->lane->all->last_seat,
                             .refs = 1,
                             .attendee = {.who = who, .lane = s->lane->number},
                             .who = who,
                             .stream = s,
                             .client = s->client,
                             .boot = s->boot};
    link_init(&s->seat->link);
    (void)send(&s->lane->to_hub, LETTER_ARRIVAL, s->seat);
    s->is_restless = true;
    return true;
}

bool stream_say_health(struct stream *s, const Trimtab__V1__Health *health)
{
    struct verdict *v = s->seat ? verdict_new(health) : NULL;
    struct letter *m;

    if (!v)
        return !s->seat;
    m = send(&s->lane->to_hub, LETTER_HEALTH, s->seat);
    m->verdict = v;
    m->health.failing = health->failing;
    m->health.revision = health->revision;
    return true;
}

/* How one stream stands, and what is so of its host if that is new. */
static void put_word(struct letter *m, struct stream *s)
{
    struct lanes *l = s->lane->all;
    struct word *w = &m->words[m->n];
    struct told now;

    if (!s->seat)
        return;
    memset(&now, 0, sizeof(now));
    l->ops->look(l->ctx, s, &now);
    if (s->is_restless || memcmp(&now, &s->told, sizeof(now)) != 0) {
        w->told = malloc(sizeof(*w->told));
        memcpy(w->told, &now, sizeof(now));
        s->told = now;
    }
    w->seat = seat_ref(s->seat);
    m->n++;
    if (!s->is_restless)
        return;
    w->standing = feed_session_standing(s->session);
    w->has_standing = true;
    w->is_word = s->has_spoken;
    s->is_restless = s->has_spoken = false;
}

void lane_speak(struct lane *lane)
{
    struct letter *m = send(&lane->to_hub, LETTER_STANDINGS, NULL);
    size_t n = 0;

    LIST_EACH (&lane->streams, count)
        n += count != NULL;
    m->words = calloc(n + 1, sizeof(*m->words));
    LIST_EACH (&lane->streams, link)
        put_word(m, LINK_OF(link, struct stream, link));
    m->state = state_ref(feed_state(lane->feed));
}

static void take_publication(struct lane *lane, struct state *state,
                             struct version *const *versions, size_t n)
{
    struct lanes *l = lane->all;

    l->ops->memory(l->ctx, MEMORY_OF_PUBLICATIONS);
    feed_publish(lane->feed, state, versions, n);
    l->ops->memory(l->ctx, MEMORY_FINE);
}

bool lane_receive(struct lane *lane)
{
    struct letter *m = take_letter(&lane->to_lane);
    struct stream *s = m && m->seat ? m->seat->stream : NULL;

    if (!m)
        return false;
    lane->all->n_letters++;
    if (m->kind == LETTER_PUBLISHED)
        take_publication(lane, m->state, m->versions, m->n);
    else if (s && m->kind == LETTER_TAKEN)
        s->is_taken = true;
    else if (s && m->kind == LETTER_AGAIN)
        s->is_restless = true;
    else if (s)
        stream_end(s);
    letter_free(m);
    return true;
}

/* ---- the hub's side ---- */

static void tell_to_leave(struct lanes *l, struct seat *seat)
{
    if (seat->is_leaving)
        return;
    seat->is_leaving = true;
    (void)send(&l->at[seat->attendee.lane].to_lane, LETTER_LEAVE, seat);
}

static void take_arrival(struct lane *lane, struct seat *seat)
{
    struct lanes *l = lane->all;
    struct claims *c = l->claims;
    struct attendee *older = NULL;
    int r = attendance_arrive(&c->attendance, &seat->attendee, c->now, claims_wall(c), &older,
                              NULL);

    link_before(&l->seats, &seat_ref(seat)->link); /* the hub's, until it departs */
    (void)send(&lane->to_lane, r ? LETTER_REFUSED : LETTER_TAKEN, seat);
    if (r)
        return;
    claims_taken(c, seat->client, seat->number, seat->boot);
    l->n_replaced += older != NULL;
    if (older)
        tell_to_leave(l, CONTAINER_OF(older, struct seat, attendee));
}

static void take_departure(struct lane *lane, struct seat *seat)
{
    lane->all->n_late += !claims_has(lane->all->claims, seat->client, seat->number);
    leave(lane->all, seat);
}

static void take_health(struct lane *lane, struct letter *m)
{
    struct claims *c = lane->all->claims;

    if (attendance_health(&c->attendance, &m->seat->attendee, m->verdict, claims_wall(c)))
        tell_to_leave(lane->all, m->seat);
    else if (claims_has(c, m->seat->client, m->seat->number))
        claims_judged(c, m->seat->client, &m->health);
}

static void take_word(struct lane *lane, struct word *w, uint64_t revision)
{
    struct claims *c = lane->all->claims;
    struct moment at = claims_moment(c);
    int r = 0;

    if (w->has_standing)
        r = attendance_stand(&c->attendance, &w->seat->attendee, &w->standing, w->is_word, &at);
    w->has_standing = false; /* it was taken over */
    lane->all->n_owing += r != 0;
    if (r)
        (void)send(&lane->to_lane, LETTER_AGAIN, w->seat);
    else if (!w->seat->attendee.is_owing)
        claims_told(c, w->seat->client, w->seat->number, w->told, revision);
}

static void take_standings(struct lane *lane, struct letter *m)
{
    struct claims *c = lane->all->claims;

    for (size_t i = 0; i < m->n; i++)
        take_word(lane, &m->words[i], m->state->revision);
    attendance_said_all(&c->attendance, lane->number, m->state);
    lane->all->n_behind += m->state->revision > c->roster.complete;
}

/* As who reads all records, so that they are copied when they are changed, for which memory may fail. */
static void read_records(struct claims *c, struct presence *read[TARGETS_MAX_SIM])
{
    struct map_slot *slot;
    size_t at = 0, n = 0;

    while ((slot = map_each(&c->roster.instances, &at)))
        read[n++] = presence_ref(((struct instance *)slot->value)->presence);
}

bool hub_receive(struct lane *lane)
{
    struct letter *m = take_letter(&lane->to_hub);
    struct presence *read[TARGETS_MAX_SIM] = {NULL};
    struct lanes *l = lane->all;

    if (!m)
        return false;
    l->n_letters++;
    if (l->n_letters % 4 == 0)
        read_records(l->claims, read);
    l->ops->memory(l->ctx, MEMORY_OF_REPORTS);
    if (m->kind == LETTER_ARRIVAL)
        take_arrival(lane, m->seat);
    else if (m->kind == LETTER_DEPARTURE)
        take_departure(lane, m->seat);
    else if (m->kind == LETTER_HEALTH)
        take_health(lane, m);
    else
        take_standings(lane, m);
    l->ops->memory(l->ctx, MEMORY_FINE);
    for (size_t i = 0; i < TARGETS_MAX_SIM; i++)
        (void)presence_unref(read[i]);
    letter_free(m);
    return true;
}

/* ---- publications ---- */

void lanes_publish(struct lanes *l, struct state *state, struct version *const *versions,
                   size_t n)
{
    l->newest = state;
    for (size_t i = 1; i < l->n; i++) {
        struct letter *m;

        if (l->misses && i + 1 == l->n && state->revision % 4 == 0)
            continue;
        m = send(&l->at[i].to_lane, LETTER_PUBLISHED, NULL);
        m->state = state_ref(state);
        m->versions = calloc(n + 1, sizeof(struct version *)); /* NOLINT: pointers */
        for (m->n = 0; m->n < n; m->n++)
            m->versions[m->n] = version_ref(versions[m->n]);
    }
    if (l->n)
        take_publication(&l->at[0], state, versions, n); /* L3 */
}

bool lanes_are_quiet(const struct lanes *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->at[i].to_hub.n || l->at[i].to_lane.n)
            return false;
    return true;
}

void lanes_drain(struct lanes *l)
{
    while (!lanes_are_quiet(l))
        for (size_t i = 0; i < l->n; i++) {
            (void)hub_receive(&l->at[i]);
            (void)lane_receive(&l->at[i]);
        }
}

/*
 * The plain model. See oracle.h.
 */
#include "oracle.h"

void oracle_free(struct oracle *o)
{
    for (int s = 0; s < SPACES; s++)
        for (int k = 0; k < KINDS; k++)
            for (int n = 0; n < NAMES; n++)
                free(o->names[s][k][n].events);
    free(o->trials);
    free(o->origins);
    memset(o, 0, sizeof(*o));
}

void oracle_note(struct oracle *o, int space, int kind, int name, uint64_t revision,
                 uint64_t content)
{
    struct history *h = &o->names[space][kind][name];

    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 8;
        h->events = realloc(h->events, h->cap * sizeof(*h->events));
    }
    h->events[h->n++] = (struct event){revision, content};
}

struct trial *oracle_start(struct oracle *o, uint64_t revision)
{
    if (o->n_trials == o->trials_cap) {
        o->trials_cap = o->trials_cap ? 2 * o->trials_cap : 16;
        o->trials = realloc(o->trials, o->trials_cap * sizeof(*o->trials));
    }
    o->trials[o->n_trials] = (struct trial){.id = revision};
    return &o->trials[o->n_trials++];
}

struct trial *oracle_trial(const struct oracle *o, uint64_t id)
{
    for (size_t i = 0; i < o->n_trials; i++)
        if (o->trials[i].id == id)
            return &o->trials[i];
    return NULL;
}

static void trial_cut(struct trial *t, uint64_t head)
{
    if (t->ended > head)
        t->ended = 0;
    for (int c = 0; c < TARGETS_MAX_SIM; c++)
        if (t->added[c] > head)
            t->added[c] = 0;
}

void oracle_cut(struct oracle *o, uint64_t head)
{
    for (int s = 0; s < SPACES; s++)
        for (int k = 0; k < KINDS; k++)
            for (int n = 0; n < NAMES; n++) {
                struct history *h = &o->names[s][k][n];

                while (h->n && h->events[h->n - 1].revision > head)
                    h->n--;
            }
    while (o->n_trials && o->trials[o->n_trials - 1].id > head)
        o->n_trials--;
    for (size_t i = 0; i < o->n_trials; i++)
        trial_cut(&o->trials[i], head);
    if (head < o->head)
        o->head = head;
}

static uint64_t at(const struct history *h, uint64_t revision)
{
    uint64_t content = 0;

    for (size_t i = 0; i < h->n && h->events[i].revision <= revision; i++)
        content = h->events[i].content;
    return content;
}

/* What a client has of a name of a namespace: the candidate of a rollout that has it at that revision, or what is stable. */
struct looker {
    int client;
    const struct trial *without; /* this one it does not see */
};

static uint64_t has(const struct oracle *o, const struct looker *l, int space, int kind,
                    int name, uint64_t revision)
{
    int client = l->client;

    for (size_t i = 0; i < o->n_trials; i++) {
        const struct trial *t = &o->trials[i];

        if (t == l->without || t->id > revision || (t->ended && t->ended <= revision) ||
            !t->added[client] || t->added[client] > revision)
            continue;
        for (int c = 0; c < t->n_carried; c++)
            if (t->carried[c].space == space && t->carried[c].kind == kind &&
                t->carried[c].name == name)
                return t->carried[c].content;
    }
    return at(&o->names[space][kind][name], revision);
}

/* The name of a scope, of a looker that reads everything. */
static uint64_t bound(const struct oracle *o, const struct looker *l, const struct wish *w,
                      int scope, int kind, int name, uint64_t revision)
{
    if (w->scopes[scope].kind >= 0 && w->scopes[scope].kind != kind)
        return 0;
    for (int i = 0; i < w->scopes[scope].n_layers; i++) {
        uint64_t content = has(o, l, w->scopes[scope].layers[i], kind, name, revision);

        if (content)
            return content;
    }
    return 0;
}

/* Whether a content refers, itself or through others, to what lies outside `reads`; is_seen: what was looked at already. */
static bool leads_out(const struct oracle *o, const struct looker *l, unsigned reads,
                      uint64_t content, uint64_t revision, bool *is_seen)
{
    const struct origin *from = oracle_origin(o, content);

    for (int i = 0; i < from->n_links; i++) {
        int to = from->links[i];
        uint64_t next;

        if (!(reads & 1U << to / KEYS))
            return true;
        if (is_seen[to])
            continue;
        is_seen[to] = true;
        next = has(o, l, to / KEYS, to / NAMES % KINDS, to % NAMES, revision);
        if (next && leads_out(o, l, reads, next, revision, is_seen))
            return true;
    }
    return false;
}

static bool is_withheld(const struct oracle *o, const struct looker *l, unsigned reads,
                        uint64_t content, uint64_t revision)
{
    bool is_seen[NODES] = {false};

    return content && reads != READS_ALL && leads_out(o, l, reads, content, revision, is_seen);
}

uint64_t oracle_expect_without(const struct oracle *o, const struct wisher *w, int scope,
                               int kind, int name, uint64_t revision,
                               const struct trial *without)
{
    const struct looker looker = {w->client, without};
    uint64_t content = bound(o, &looker, w->wish, scope, kind, name, revision);

    return is_withheld(o, &looker, w->reads, content, revision) ? 0 : content;
}

bool oracle_withholds(const struct oracle *o, const struct wisher *w, int scope, int kind,
                      int name, uint64_t revision)
{
    const struct looker looker = {w->client, NULL};

    return is_withheld(o, &looker, w->reads,
                       bound(o, &looker, w->wish, scope, kind, name, revision), revision);
}

uint64_t oracle_expect(const struct oracle *o, const struct wisher *w, int scope, int kind,
                       int name, uint64_t revision)
{
    return oracle_expect_without(o, w, scope, kind, name, revision, NULL);
}

void oracle_made(struct oracle *o, uint64_t content, const struct origin *origin)
{
    if (content >= o->origins_cap) {
        o->origins_cap = 2 * content + 64;
        o->origins = realloc(o->origins, o->origins_cap * sizeof(*o->origins));
    }
    o->origins[content] = *origin;
}

void oracle_published(struct oracle *o, uint64_t content, uint64_t revision)
{
    if (!o->origins[content].revision)
        o->origins[content].revision = revision;
}

const struct origin *oracle_origin(const struct oracle *o, uint64_t content)
{
    return &o->origins[content];
}

/* Follows what a content refers to; is_bound tells which resources need not be had by their id. */
static bool refer(const struct oracle *o, const struct looker *l, uint64_t content,
                  uint64_t revision, const bool *is_bound, uint64_t *referred)
{
    const struct origin *from = oracle_origin(o, content);
    bool resolves = true;

    for (int i = 0; i < from->n_links; i++) {
        int to = from->links[i];

        if (is_bound[to] || referred[to])
            continue;
        referred[to] = has(o, l, to / KEYS, to / NAMES % KINDS, to % NAMES, revision);
        resolves &= referred[to] && refer(o, l, referred[to], revision, is_bound, referred);
    }
    return resolves;
}

bool oracle_refer_without(const struct oracle *o, const struct wisher *w, const uint64_t *bound,
                          size_t n, uint64_t revision, const struct trial *without,
                          uint64_t referred[NODES])
{
    const struct looker looker = {w->client, without};
    bool is_bound[NODES] = {false}, resolves = true;

    memset(referred, 0, NODES * sizeof(*referred));
    for (size_t i = 0; i < n; i++)
        is_bound[oracle_origin(o, bound[i])->node] = true;
    for (size_t i = 0; i < n; i++)
        resolves &= refer(o, &looker, bound[i], revision, is_bound, referred);
    return resolves;
}

bool oracle_refer(const struct oracle *o, const struct wisher *w, const uint64_t *bound,
                  size_t n, uint64_t revision, uint64_t referred[NODES])
{
    return oracle_refer_without(o, w, bound, n, revision, NULL, referred);
}

/* A JSON number list, so that items may have it too; one in seventy is large enough to travel in parts. */
size_t content_bytes(uint64_t content, char *out)
{
    size_t len = content % 71 == 0 ? 600 * 1024 : (content * 7919) % 1500;
    size_t n = (size_t)snprintf(out, CONTENT_ROOM, "[%llu", (unsigned long long)content);
    char pair[2] = {',', (char)('0' + content % 10)};

    while (n + 2 < len) {
        memcpy(out + n, pair, 2);
        n += 2;
    }
    out[n++] = ']';
    out[n] = '\0';
    return n;
}

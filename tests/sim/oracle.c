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

void oracle_cut(struct oracle *o, uint64_t head)
{
    for (int s = 0; s < SPACES; s++)
        for (int k = 0; k < KINDS; k++)
            for (int n = 0; n < NAMES; n++) {
                struct history *h = &o->names[s][k][n];

                while (h->n && h->events[h->n - 1].revision > head)
                    h->n--;
            }
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

uint64_t oracle_expect(const struct oracle *o, const struct wish *w, int scope, int kind,
                       int name, uint64_t revision)
{
    if (w->scopes[scope].kind >= 0 && w->scopes[scope].kind != kind)
        return 0;
    for (int i = 0; i < w->scopes[scope].n_layers; i++) {
        uint64_t content = at(&o->names[w->scopes[scope].layers[i]][kind][name], revision);

        if (content)
            return content;
    }
    return 0;
}

/* A JSON number list, so that items may have it too; one in sixty is large enough to travel in parts. */
size_t content_bytes(uint64_t content, char *out)
{
    size_t len = content % 61 == 0 ? 600 * 1024 : (content * 7919) % 1500;
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

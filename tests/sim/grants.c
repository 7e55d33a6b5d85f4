/*
 * Grants of the simulation's clients. See grants.h.
 */
#include "grants.h"

#include "model/lines.h"

static const char subject[] = "token:somebody";

/* One grant on some namespaces; "" for none. */
static bool add(struct grants *g, const char *role, unsigned spaces, bool everything)
{
    char text[2 * SPACES + 1] = "";
    size_t n = 0;

    for (int i = 0; i < SPACES; i++)
        if (spaces & 1U << i)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%c", n ? " " : "", 'a' + i);
    if (!n && !everything)
        return true;
    return step_grant(&g->rights, NULL,
                      &(struct line){role, subject, role, everything ? "*" : text}, 1) == 0;
}

bool grants_make(struct grants *g, unsigned subscribes, unsigned views, bool everything)
{
    grants_deinit(g);
    if (everything && views)
        views = READS_ALL;
    else if (everything)
        subscribes = READS_ALL;
    g->subscribes = subscribes;
    g->views = views;
    return add(g, "subscribe", subscribes, everything && !views) &&
           add(g, "view", views, everything && views);
}

void grants_deinit(struct grants *g)
{
    *g = (struct grants){.rights = rights_unref(g->rights)};
}

unsigned grants_read(const struct grants *g)
{
    return g->subscribes | g->views;
}

bool grants_allow(const struct grants *g, const struct wish *w)
{
    for (int i = 0; i < w->n_scopes; i++)
        for (int l = 0; l < w->scopes[i].n_layers; l++)
            if (!(g->subscribes & 1U << w->scopes[i].layers[l]))
                return false;
    return true;
}

int grants_admit(const struct grants *g, const Trimtab__V1__Hello *hello, struct readable **ret)
{
    struct principal p = {.subject = str_c(subject)};
    owned(arena) struct arena a = ARENA_NULL;
    struct scope *scopes;
    int r;

    *ret = NULL;
    if (rights_may(g->rights, &p, RIGHT_TO_SUBSCRIBE, SPACE_EVERYTHING))
        return 0;
    r = scopes_from_proto(hello->scopes, hello->n_scopes, hello->instance, &a, &scopes, NULL);
    if (!r)
        r = scopes_authorize(g->rights, &p, scopes, hello->n_scopes, NULL);
    return r ? r : readable_make(g->rights, &p, ret);
}

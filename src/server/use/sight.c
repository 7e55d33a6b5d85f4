/*
 * What a caller may see. See sight.h.
 */
#include "server/use/sight.h"

#include "model/name.h"

struct sight sight_of(struct rights *rights, const struct identity *who)
{
    struct sight s = {.rights = rights, .who = identity_principal(who)};

    s.is_all = rights_may(rights, &s.who, RIGHT_TO_VIEW, SPACE_EVERYTHING);
    return s;
}

bool sight_has_space(const struct sight *s, struct str space)
{
    return s->is_all || rights_may(s->rights, &s->who, RIGHT_TO_VIEW, space);
}

static bool has_name(const struct sight *s, struct name name)
{
    enum right_to right = right_to_see(name);

    return (s->is_all && right == RIGHT_TO_VIEW) ||
           rights_may(s->rights, &s->who, right, name.space);
}

bool sight_has_key(const struct sight *s, struct str key)
{
    return has_name(s, key_name(key));
}

bool sight_has_id(const struct sight *s, const char *id)
{
    struct name name;

    return !name_parse(str_c(id), &name, NULL) && has_name(s, name);
}

bool sight_has_rollout(const struct sight *s, const struct rollout *r)
{
    for (size_t i = 0; r && i < r->n_candidates && !s->is_all; i++)
        if (!sight_has_key(s, r->candidates[i]->key))
            return false;
    return r != NULL;
}

/* How many of the namespaces of an instance are seen, of how many. */
static size_t count_seen(const struct sight *s, const struct presence *p, size_t *ret_all)
{
    const struct introduction *in = p->introduction;
    size_t n = 0;

    *ret_all = 0;
    for (size_t i = 0; i < in->n_scopes; i++) {
        for (size_t l = 0; l < in->scopes[i]->n_layers; l++)
            n += sight_has_space(s, in->scopes[i]->layers[l]);
        *ret_all += in->scopes[i]->n_layers;
    }
    return n;
}

bool sight_has_instance(const struct sight *s, const struct presence *p)
{
    size_t all;

    return s->is_all || count_seen(s, p, &all) || !all;
}

bool sight_has_all_of_instance(const struct sight *s, const struct presence *p)
{
    size_t all;

    return s->is_all || count_seen(s, p, &all) == all;
}

void sight_trim(const struct sight *s, const struct presence *p, Trimtab__V1__InstanceInfo *m)
{
    if (!m || sight_has_all_of_instance(s, p))
        return;
    m->refused = NULL;
    m->n_refused = 0;
    m->unproven = (char *)(uintptr_t)protobuf_c_empty_string;
}

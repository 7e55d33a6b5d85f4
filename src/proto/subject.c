/*
 * Instances as subjects of targets. See subject.h.
 */
#include "proto/subject.h"

#include "base/err.h"

#include <stdio.h>

char *instance_fingerprint(const Trimtab__V1__Instance *p, struct arena *a)
{
    const char *host = *p->host ? p->host : p->n_addresses ? p->addresses[0] : "";
    size_t room = strlen(host) + strlen(p->id) + sizeof("[][4294967295][]");
    char *text = arena_alloc(a, room);

    if (!text)
        return arena_c(a, STR(""));
    (void)snprintf(text, room, "[%s][%u][%s]", host, p->port, p->id);
    return text;
}

int subject_from_proto(const Trimtab__V1__Instance *p, struct arena *a, struct subject *ret)
{
    struct str *addresses = ARENA_ARRAY(a, struct str, p->n_addresses);
    struct pair *labels = ARENA_ARRAY(a, struct pair, p->n_labels);

    *ret = (struct subject){
        .id = str_c(p->id),
        .host = str_c(p->host),
        .fingerprint = str_c(instance_fingerprint(p, a)),
        .addresses = addresses,
        .labels = labels,
    };
    for (; addresses && ret->n_addresses < p->n_addresses; ret->n_addresses++)
        addresses[ret->n_addresses] = str_c(p->addresses[ret->n_addresses]);
    for (; labels && ret->n_labels < p->n_labels; ret->n_labels++) {
        const Trimtab__V1__Instance__LabelsEntry *e = p->labels[ret->n_labels];

        labels[ret->n_labels] = (struct pair){str_c(e->key), str_c(e->value)};
    }
    return arena_failed(a) ? ERR_NOMEM : 0;
}

struct subject *subject_of_instance(const Trimtab__V1__Instance *p)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct subject s;

    return subject_from_proto(p, &a, &s) ? NULL : subject_new(&s);
}

bool hello_has_feature(const Trimtab__V1__Hello *hello, const char *feature)
{
    for (size_t i = 0; i < hello->n_features; i++)
        if (strcmp(hello->features[i], feature) == 0)
            return true;
    return false;
}

bool hello_takes_rollouts(const Trimtab__V1__Hello *hello)
{
    return hello->instance && *hello->instance->id &&
           hello_has_feature(hello, FEATURE_ROLLOUTS);
}

bool hello_takes_orders(const Trimtab__V1__Hello *hello)
{
    return hello_takes_rollouts(hello) && hello_has_feature(hello, FEATURE_ORDERS);
}

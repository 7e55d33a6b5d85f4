/*
 * An instance as people see it. See instance_info.h.
 */
#include "server/use/instance_info.h"

#include "base/clock.h"
#include "proto/subject.h"

static char *wall_text(int64_t ms, struct arena *a)
{
    char text[WALL_TEXT_MAX];

    if (!ms)
        return arena_c(a, STR(""));
    wall_format(ms, text);
    return arena_c(a, str_c(text));
}

static const char *mode_name(Trimtab__V1__Mode mode)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(&trimtab__v1__mode__descriptor, (int)mode);

    return v ? v->name : "";
}

static void put_standing(const struct presence *p, Trimtab__V1__InstanceInfo *info,
                         struct arena *a)
{
    const struct standing *s = &p->standing;

    info->expected_revision = s->concerned;
    info->received_revision = s->received;
    info->serving_revision = presence_serving_revision(p);
    info->refused = presence_exceptions(p, &info->n_refused);
    info->in_sync = p->is_connected && s->proof == PROOF_HOLDS && s->proved >= s->concerned &&
                    !info->n_refused;
    info->unproven = arena_c(a, str_c(proof_story(s->proof)));
    info->items = s->items;
    info->mode = arena_c(a, str_c(mode_name(s->mode)));
    info->sent_items = s->items_sent;
    info->drift_repairs = s->repairs;
}

Trimtab__V1__InstanceInfo *instance_info(const struct presence *p, const struct moment *at,
                                         struct arena *a)
{
    Trimtab__V1__InstanceInfo *info = ARENA_NEW(a, Trimtab__V1__InstanceInfo);
    const struct introduction *who = p->introduction;

    if (!info)
        return NULL;
    trimtab__v1__instance_info__init(info);
    info->instance = who->hello->instance;
    info->scopes = who->hello->scopes;
    info->n_scopes = who->hello->n_scopes;
    info->fingerprint = instance_fingerprint(who->hello->instance, a);
    info->state = arena_c(a, str_c(presence_state_name(presence_state(p, at))));
    info->connected_since = wall_text(p->is_connected ? p->connected_ms : 0, a);
    info->last_seen = wall_text(p->seen_ms, a);
    info->peer = arena_c(a, str_c(who->peer));
    info->identity = arena_c(a, str_c(who->owner));
    info->transport = arena_c(a, str_c(who->transport));
    info->source = arena_c(a, str_c(who->hello->serving ? who->hello->serving->source : ""));
    info->health = p->health ? p->health->health : NULL;
    info->restored = p->is_restored;
    info->taken_over = wall_text(p->taken_ms, a);
    info->takes_orders = p->standing.takes_orders;
    info->orders_done = p->standing.orders_done;
    info->paused = presence_is_paused(p, at);
    put_standing(p, info, a);
    return info;
}

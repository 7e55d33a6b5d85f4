/*
 * Orders to subscribers: which are owed, sent and acknowledged. What a session keeps is one revision, up to which all that
 * concern it are carried out; orders are sent oldest first, so an acknowledgement is one of all before it, too.
 */
#include "feed/internal.h"

#include "proto/convert.h"
#include "proto/subject.h"

/* Whether one of its scopes takes a name, or something that these take refers to it. */
static bool wants(const struct feed_session *s, struct name name)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);

    for (size_t i = 0; s->class && i < s->class->n_scopes; i++) {
        const struct scope *scope = s->class->scopes[i];
        size_t layer;

        if (scope_has_layer(scope, name.space, &layer) &&
            scope_selects(scope, name.kind, name.name))
            return true;
    }
    if (!s->class || !session_closure(s)->entries)
        return false;
    name_put_key(name, &key);
    return buf_status(&key) || closure_find(session_closure(s), buf_str(&key));
}

static bool is_concerned(const struct feed_session *s, const struct order *o)
{
    if (order_is_of_fleet(o->what.kind))
        return false; /* looked at by itself */
    if (o->what.n_instances)
        return order_names(o, s->subject->id);
    for (size_t i = 0; i < o->what.n_resources; i++) {
        struct name name;

        if (name_parse(o->what.resources[i], &name, NULL) == 0 && wants(s, name))
            return true;
    }
    return false;
}

/* The oldest order after a revision that concerns the session. */
static const struct order *order_after(const struct feed_session *s, uint64_t revision)
{
    struct tree_walk walk;
    const struct order *o;

    tree_walk_from(&walk, s->feed->state->orders, STR(""), revision);
    while ((o = order_of(tree_walk_next(&walk))))
        if (is_concerned(s, o))
            return o;
    return NULL;
}

/* What does not concern the session now is passed over for good, so that each order is looked at once. */
const struct order *session_next_order(struct feed_session *s)
{
    const struct state *state = s->feed->state;
    const struct order *o;

    if (!s->orders.takes_any || !state->orders)
        return NULL;
    if (state->fleet > s->orders.fleet_sent)
        return state_fleet(state);
    o = order_after(s, s->orders.sent);
    if (!o)
        s->orders.sent = MAX(s->orders.sent, state->revision);
    return o;
}

/* What it carried out in another history, or ahead of this one, says nothing here. */
void session_orders_hello(struct feed_session *s, const Trimtab__V1__Hello *hello)
{
    const struct feed *f = s->feed;
    struct str here = str_of(f->opts.store_id, FEED_STORE_ID_BYTES);
    bool is_known = hello->cursor && str_eq(proto_str(hello->cursor->store_id), here) &&
                    MAX(hello->order, hello->fleet_order) <= f->state->revision;

    s->orders.takes_any = hello_takes_orders(hello) && s->subject;
    s->orders.done = s->orders.sent = is_known ? hello->order : 0;
    s->orders.fleet_done = s->orders.fleet_sent = is_known ? hello->fleet_order : 0;
}

int session_pull_order(struct feed_session *s, const struct order *o,
                       struct feed_frame *ret_frame)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Order order = TRIMTAB__V1__ORDER__INIT;
    owned(arena) struct arena a = ARENA_NULL;
    int r;

    order.revision = o->node.revision;
    order.kind = (Trimtab__V1__OrderKind)o->what.kind;
    order.reason = arena_c(&a, o->what.reason);
    order.resources = texts_to_proto(o->what.resources, o->what.n_resources, &a);
    order.n_resources = o->what.n_resources;
    if (arena_failed(&a))
        return ERR_NOMEM;
    frame.order = &order;
    r = encode_frame(&frame, ret_frame);
    if (r)
        return r;
    if (order_is_of_fleet(o->what.kind))
        s->orders.fleet_sent = order.revision;
    else
        s->orders.sent = order.revision;
    return FEED_FRAME;
}

/*
 * An acknowledgement of what was never sent says nothing, nor does one of a pause or resume that was replaced: a retry before
 * it may still be held.
 */
void session_order_ack(struct feed_session *s, const Trimtab__V1__OrderAck *ack)
{
    const struct order *order = state_order(s->feed->state, ack->revision);
    struct session_orders *o = &s->orders;
    bool is_of_fleet = order && order_is_of_fleet(order->what.kind);
    uint64_t *done = is_of_fleet ? &o->fleet_done : &o->done;

    if (!o->takes_any || !order || ack->revision > (is_of_fleet ? o->fleet_sent : o->sent) ||
        ack->revision <= *done)
        return;
    *done = ack->revision;
    session_changed(s);
}

void feed_publish_orders(struct feed *f, const struct state *before)
{
    if (f->state->orders == before->orders)
        return;
    LIST_EACH (&f->bookmarks, l) {
        struct feed_session *s = LINK_OF(l, struct feed_session, due_link);

        if (session_next_order(s))
            f->opts.ready(s->ctx);
    }
}

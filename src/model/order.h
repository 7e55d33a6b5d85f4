/*
 * Orders to instances: what they are to do with what they have, rather than what they are to have. An order is a commit:
 * it has an author, a time and a reason, stands in the history, and is kept in the state until so many newer ones have
 * come, so that an instance that was offline gets it when it comes back.
 *
 *   retry     try again what was refused
 *   release   let go of deletions that are held because nothing explains them
 *   pause     the whole fleet: no restore, retry or reload begins
 *   resume    the end of that
 *
 * The newest pause or resume is the switch of the fleet. It replaces the one before, and is never forgotten.
 */
#ifndef TRIMTAB_MODEL_ORDER_H
#define TRIMTAB_MODEL_ORDER_H

#include "base/arena.h"
#include "base/err.h"
#include "model/tree.h"

enum {
    ORDER_INSTANCES_MAX = 1000,
    ORDER_RESOURCES_MAX = 1000,
    ORDER_INSTANCE_BYTES_MAX = 128,
    ORDER_REASON_MAX = 4096,
    ORDERS_MAX = 1000,          /* that a state keeps */
    ORDERS_BYTES_MAX = 8 << 20, /* all together */
    ORDER_KEY_BYTES = 8,
};

enum order_kind { ORDER_RETRY, ORDER_RELEASE, ORDER_PAUSE, ORDER_RESUME };
enum { ORDER_KINDS = ORDER_RESUME + 1 };
const char *order_kind_name(enum order_kind k);
/* False: there is none of this name. */
bool order_kind_from_name(struct str name, enum order_kind *ret);

static inline bool order_is_of_fleet(enum order_kind k)
{
    return k == ORDER_PAUSE || k == ORDER_RESUME;
}

/* An order as asked for. Borrowed. Author, time and revision are those of its commit. */
struct order_request {
    enum order_kind kind;
    const struct str *instances; /* ids; none: all whose view has one of the resources */
    size_t n_instances;
    const struct str
        *resources; /* ids: what it is about; none: everything that the instance has */
    size_t n_resources;
    struct str author, reason;
    int64_t time_ms;
    uint64_t revision; /* 0 while it is only checked */
};

struct order {
    struct tree_item node; /* its key is the revision, most significant byte first */
    unsigned char key[ORDER_KEY_BYTES];
    struct arena arena;        /* of all that follows */
    struct order_request what; /* instances sorted */
    size_t bytes;              /* about what it takes */
};

static inline struct order *order_of(struct tree_item *item)
{
    return item ? CONTAINER_OF(item, struct order, node) : NULL;
}

/*
 * Whether an order makes sense by itself: whom it is for, ids, sizes, a reason where one is needed. ERR_INVALID,
 * ERR_LIMIT.
 */
must_use int order_check(const struct order_request *q, struct err *err);

must_use struct order *order_new(
    const struct order_request *q);         /* a copy; NULL without memory */
struct order *order_unref(struct order *o); /* always NULL; takes NULL */
OWNED_BY(order_unref, struct order *, order_unref);

/* Whether it names this instance. */
bool order_names(const struct order *o, struct str instance);

void order_put_key(uint64_t revision, unsigned char key[ORDER_KEY_BYTES]);

#endif

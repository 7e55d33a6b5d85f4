/*
 * Request ids of the newest records. See requests.h.
 */
#include "store/requests.h"

#include "base/alloc.h"
#include "base/err.h"

struct request {
    struct link link;
    uint64_t revision;
    size_t len;
    char id[];
};

void requests_init(struct requests *r)
{
    r->by_id = MAP_NULL;
    link_init(&r->order);
}

static void drop(struct requests *r, struct request *request)
{
    (void)map_remove(&r->by_id, str_of(request->id, request->len)); /* it is this one */
    link_remove(&request->link);
    (void)mem_free(request);
}

void requests_deinit(struct requests *r)
{
    LIST_EACH (&r->order, l) {
        link_remove(l);
        (void)mem_free(LINK_OF(l, struct request, link));
    }
    map_deinit(&r->by_id);
}

uint64_t requests_find(const struct requests *r, struct str id)
{
    const struct request *request = id.len ? map_get(&r->by_id, id) : NULL;

    return request ? request->revision : 0;
}

int requests_add(struct requests *r, struct str id, uint64_t revision)
{
    struct request *request;

    if (id.len == 0)
        return 0;
    request = mem_alloc(size_add(sizeof(*request), id.len));
    if (!request)
        return ERR_NOMEM;
    link_init(&request->link);
    request->revision = revision;
    request->len = id.len;
    memcpy(request->id, id.data, id.len);
    if (!map_put(&r->by_id, str_of(request->id, id.len), request, NULL)) {
        (void)mem_free(request);
        return ERR_NOMEM;
    }
    link_before(&r->order, &request->link);
    return 0;
}

void requests_drop_above(struct requests *r, uint64_t revision)
{
    while (!link_is_alone(&r->order)) {
        struct request *last = LINK_OF(r->order.prev, struct request, link);

        if (last->revision <= revision)
            return;
        drop(r, last);
    }
}

void requests_drop_below(struct requests *r, uint64_t revision)
{
    while (!link_is_alone(&r->order)) {
        struct request *first = LINK_OF(r->order.next, struct request, link);

        if (first->revision >= revision)
            return;
        drop(r, first);
    }
}

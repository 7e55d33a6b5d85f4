/*
 * Pages of instances. See instance_page.h.
 */
#include "server/use/instance_page.h"

enum { SEEN_MAX = 5000 }; /* looked at for one page: some milliseconds */

static struct instance_page *page_new(struct api_call *call, size_t limit)
{
    struct instance_page *page = ARENA_NEW(&call->arena, struct instance_page);

    if (!page)
        return NULL;
    page->at = ARENA_ARRAY(&call->arena, struct presence *, limit);
    page->next = arena_c(&call->arena, STR(""));
    page->moment = hub_moment(call->hub);
    return page->at && page->next ? page : NULL;
}

int instance_page_of(struct api_call *call, struct presence *p)
{
    struct instance_page *page = page_new(call, 1);

    if (!page)
        return ERR_NOMEM;
    page->at[page->n++] = presence_ref(p);
    call->page = page;
    return 0;
}

int instance_page_find(struct api_call *call, const struct instance_page_opts *opts)
{
    const struct roster *roster = &call->hub->roster;
    struct instance_page *page = page_new(call, MIN(opts->limit, roster->instances.n));
    const struct instance *i = NULL;
    struct sorted_walk walk;
    size_t n_seen = 0;

    if (!page)
        return ERR_NOMEM;
    call->page = page;
    sorted_walk_after(&walk, &roster->by_id, str_c(opts->after));
    while (page->n < opts->limit && n_seen++ < SEEN_MAX && (i = roster_walk_next(&walk)))
        if (opts->is_wanted(opts->ctx, i->presence))
            page->at[page->n++] = presence_ref(i->presence);
    if (i && sorted_walk_has_more(&walk))
        page->next = arena_c(&call->arena, str_c(i->id));
    return page->next ? 0 : ERR_NOMEM;
}

void instance_page_deinit(struct instance_page *page)
{
    for (size_t i = 0; page && i < page->n; i++)
        (void)presence_unref(page->at[i]);
}

/*
 * One page of the known instances, in the order of their ids: what lists of instances have in common.
 *
 * A page is found on the hub's thread, at a bounded cost: it ends when it is full or when enough instances were looked at, so
 * one may be short, or empty, before the end. It holds references, so that the answer can be made beside the loops. Instances
 * that come and go between two pages change nothing of the others: each that stays is on exactly one page.
 */
#ifndef TRIMTAB_SERVER_USE_INSTANCE_PAGE_H
#define TRIMTAB_SERVER_USE_INSTANCE_PAGE_H

#include "server/use/api.h"

struct instance_page {
    struct presence **at; /* references */
    size_t n;
    char *next;           /* id after which it goes on; "": that was the end */
    struct moment moment; /* at which it was found */
};

struct instance_page_opts {
    const char *after; /* id; "": from the beginning */
    size_t limit;
    bool (*is_wanted)(void *ctx, const struct presence *p);
    void *ctx;
};

/* Becomes call->page, which is freed with the call. ERR_NOMEM. */
must_use int instance_page_find(struct api_call *call, const struct instance_page_opts *opts);
/* The page of this one instance. */
must_use int instance_page_of(struct api_call *call, struct presence *p);
void instance_page_deinit(struct instance_page *page);

#endif

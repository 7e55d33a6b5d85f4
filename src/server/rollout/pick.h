/*
 * Picks: the instances that a rollout takes, a page at a time.
 *
 * All instances are looked at for each page, in no order, and the first ones behind an id are kept. So a page costs
 * memory for itself only, however many instances there are, and is the same whatever came and went elsewhere.
 */
#ifndef TRIMTAB_SERVER_ROLLOUT_PICK_H
#define TRIMTAB_SERVER_ROLLOUT_PICK_H

#include "base/attr.h"
#include "presence/roster.h"

/* An instance and the step that takes it. */
struct pick {
    struct instance
        *instance;  /* NULL: it had applied the candidates, and is not known any more */
    const char *id; /* borrowed, as the instance is */
    uint32_t step;  /* 0: not known any more either */
};

struct pick_page {
    const char *after; /* id; "": from the beginning */
    const char *state; /* name of the only state that is wanted; "": any */
    size_t limit;
    bool has_more; /* behind the last one */
    struct pick *at;
    size_t n, cap;
};
void pick_page_deinit(struct pick_page *page);

/* Keeps it if it may be on the page. False without memory. */
must_use bool pick_page_add(struct pick_page *page, struct pick p);
/* All were added: what is kept is the page, by id. */
void pick_page_close(struct pick_page *page);

#endif

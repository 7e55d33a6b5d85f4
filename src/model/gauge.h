/*
 * Gauge: which items of a view refer, themselves or through others, to what its subscriber may not read (closure.h, X4).
 *
 * Each item is looked at once: what was found is kept as long as the gauge, so the view and its state must stay.
 */
#ifndef TRIMTAB_MODEL_GAUGE_H
#define TRIMTAB_MODEL_GAUGE_H

#include "base/map.h"
#include "model/closure.h"

/* An item whose references are being looked at. */
struct look {
    const struct version *version;
    size_t next;
};

struct gauge {
    const struct closure_view *view; /* borrowed; the only part that is given */
    struct map known;                /* key -> whether it is blocked */
    VEC(struct look) path;
    struct str
        cause; /* the resource that was found last not to be readable; borrowed from the state */
    bool failed; /* memory failed: answers are worth nothing since */
};

void gauge_deinit(struct gauge *g);

/* Whether an item of the view is blocked; NULL is not. False without memory, which the gauge remembers. */
bool gauge_blocks(struct gauge *g, const struct version *v);

#endif

/*
 * What engines of sinks share. See sink.h.
 */
#include "agent/sink.h"

bool sink_rows_add(struct sink_rows *r, const struct sink *s, struct str name,
                   const struct sha256 *hash)
{
    static const struct sha256 none = {{0}};
    struct copy_file row = {.sink = s->name,
                            .path = arena_str(&r->arena, name),
                            .hash = hash ? *hash : none,
                            .is_gone = hash == NULL};

    return !arena_failed(&r->arena) && VEC_PUSH(&r->rows, row);
}

void sink_rows_deinit(struct sink_rows *r)
{
    VEC_DEINIT(&r->rows);
    arena_deinit(&r->arena);
}

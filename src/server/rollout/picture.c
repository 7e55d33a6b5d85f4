/*
 * Pictures of rollouts at their end. See rollout_picture.h.
 */
#include "server/rollout/picture.h"

#include "proto/convert.h"

static bool ends(enum rollout_move_kind kind)
{
    return kind == MOVE_CONFIRM || kind == MOVE_ROLL_BACK || kind == MOVE_EXPIRE ||
           kind == MOVE_OVERRIDE;
}

/* What is not needed to tell how it stood is left out. */
static bool add(Trimtab__V1__RolloutPicture *picture, const struct pick *p,
                const struct drives *d, const struct rollout *r, struct arena *a, size_t *bytes)
{
    struct moment at = hub_moment(d->hub);
    Trimtab__V1__RolloutInstance *m = rollout_instance(p, d, r, &at, a);
    struct str reason;

    if (!m)
        return false;
    m->fingerprint = (char *)(uintptr_t)protobuf_c_empty_string;
    reason = str_part(str_c(m->reason), 0, PICTURE_REASON_MAX);
    reason.len = str_utf8_prefix(reason);
    m->reason = arena_c(a, reason);
    *bytes += protobuf_c_message_get_packed_size(&m->base);
    picture->instances[picture->n_instances++] = m;
    return true;
}

static int fill(Trimtab__V1__RolloutPicture *picture, const struct pick_page *page,
                const struct drives *d, const struct rollout *r, struct arena *a)
{
    size_t bytes = 0;

    picture->instances = ARENA_ARRAY(a, Trimtab__V1__RolloutInstance *, page->n);
    if (!picture->instances)
        return ERR_NOMEM;
    for (size_t i = 0; i < page->n && bytes < PICTURE_BYTES_MAX; i++)
        if (!add(picture, &page->at[i], d, r, a, &bytes))
            return ERR_NOMEM;
    return arena_failed(a) ? ERR_NOMEM : 0;
}

static int pack(const Trimtab__V1__RolloutPicture *picture, struct rollout_move *m,
                struct arena *a)
{
    owned(shared_unref) struct shared *bytes = proto_pack(&picture->base, 0);

    if (!bytes)
        return ERR_NOMEM;
    m->picture = arena_str(a, shared_str(bytes));
    return arena_failed(a) ? ERR_NOMEM : 0;
}

int picture_take(const struct drives *d, struct rollout_move *m, struct arena *a)
{
    owned(arena) struct arena scratch = ARENA_NULL;
    Trimtab__V1__RolloutPicture picture = TRIMTAB__V1__ROLLOUT_PICTURE__INIT;
    Trimtab__V1__RolloutCounts counts = TRIMTAB__V1__ROLLOUT_COUNTS__INIT;
    const struct rollout *r = state_rollout(d->hub->state, m->id);
    struct pick_page page = {.after = "", .state = "", .limit = PICTURE_TARGETS_MAX};
    int rc;

    if (!ends(m->kind) || !rollout_is_live(r))
        return 0;
    rc = rollout_look(d, r, &counts, &page);
    picture.counts = &counts;
    if (!rc)
        rc = fill(&picture, &page, d, r, &scratch);
    if (!rc)
        rc = pack(&picture, m, a);
    pick_page_deinit(&page);
    return rc;
}

Trimtab__V1__RolloutPicture *picture_find(const Trimtab__V1__Record *record, uint64_t rollout)
{
    for (size_t i = 0; i < record->n_moves; i++) {
        const Trimtab__V1__RolloutMove *m = record->moves[i];

        if (m->rollout == rollout && m->picture.len)
            return trimtab__v1__rollout_picture__unpack(&proto_allocator, m->picture.len,
                                                        m->picture.data);
    }
    return NULL;
}

void picture_free(Trimtab__V1__RolloutPicture *picture)
{
    if (picture)
        trimtab__v1__rollout_picture__free_unpacked(picture, &proto_allocator);
}

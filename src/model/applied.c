/*
 * Who has applied the candidates of a rollout. See applied.h.
 */
#include "model/applied.h"

#include "base/alloc.h"
#include "base/err.h"

void applied_deinit(struct applied *a)
{
    for (size_t i = 0; i < a->list.n; i++)
        (void)mem_free(a->list.at[i]);
    map_deinit(&a->members);
    VEC_DEINIT(&a->list);
    VEC_DEINIT(&a->dirty);
    *a = (struct applied){.look = 0};
}

static struct applied_member *find(const struct applied *a, struct str id)
{
    return map_get(&a->members, id);
}

/* ---- the list ---- */

static void touch(struct applied *a, size_t at)
{
    a->dirty.at[at / APPLIED_PIECE] = true;
}

/* Room for one more in the list, and for the piece in which it comes. */
static bool make_room(struct applied *a)
{
    if (!VEC_ROOM(&a->list) || !map_reserve(&a->members, 1))
        return false;
    return a->list.n / APPLIED_PIECE < a->dirty.n || VEC_PUSH(&a->dirty, false);
}

static struct applied_member *add(struct applied *a, struct str id)
{
    struct applied_member *m = make_room(a) ? mem_alloc(sizeof(*m) + id.len + 1) : NULL;

    if (!m)
        return NULL;
    *m = (struct applied_member){.at = a->list.n};
    memcpy(m->id, id.data, id.len);
    m->id[id.len] = '\0';
    if (!map_put(&a->members, str_of(m->id, id.len), m, NULL))
        return mem_free(m);
    a->list.at[a->list.n++] = m;
    touch(a, m->at);
    return m;
}

/* The last one takes its place. */
static void drop(struct applied *a, struct applied_member *m)
{
    struct applied_member *last = a->list.at[--a->list.n];

    touch(a, m->at);
    touch(a, last->at);
    a->list.at[m->at] = last;
    last->at = m->at;
    (void)map_remove(&a->members, str_c(m->id));
    (void)mem_free(m);
}

void applied_forget(struct applied *a, struct str id)
{
    struct applied_member *m = find(a, id);

    if (m)
        drop(a, m);
}

/* ---- looks ---- */

void applied_begin(struct applied *a, nsec_t now, uint64_t lost_ms)
{
    uint64_t since = a->look ? (now - a->looked) / NSEC_PER_MS : 0;

    a->elapsed_ms = a->heard ? MIN(since, (uint64_t)APPLIED_LOOK_MAX_MS) : 0;
    a->looked = now;
    a->lost_ms = lost_ms;
    a->look++;
}

static void come_back(struct applied *a, struct applied_member *m)
{
    m->look = a->look;
    m->is_away = false;
    m->away_ms = 0;
}

int applied_here(struct applied *a, struct str id)
{
    struct applied_member *m = find(a, id);

    if (!m && (!id.len || id.len > APPLIED_ID_MAX || a->list.n >= APPLIED_MAX))
        return ERR_LIMIT;
    if (!m)
        m = add(a, id);
    if (!m)
        return ERR_NOMEM;
    come_back(a, m);
    return 0;
}

void applied_back(struct applied *a, struct str id)
{
    struct applied_member *m = find(a, id);

    if (m)
        come_back(a, m);
}

static enum applied_is is_gone(const struct applied *a, const struct applied_member *m)
{
    return m->is_away && m->away_ms >= a->lost_ms ? APPLIED_LOST : APPLIED_AWAY;
}

static enum applied_is go_on(struct applied *a, struct applied_member *m)
{
    if (m->look != a->look && m->is_away)
        m->away_ms += a->elapsed_ms;
    m->look = a->look;
    m->is_away = true;
    return is_gone(a, m);
}

enum applied_is applied_gone(struct applied *a, struct str id)
{
    struct applied_member *m = find(a, id);

    return m ? go_on(a, m) : APPLIED_NEVER;
}

void applied_end(struct applied *a, bool others_heard, const struct applied_rest *rest)
{
    for (size_t i = a->list.n;
         i-- > 0;) { /* from behind: what takes a free place was looked at */
        struct applied_member *m = a->list.at[i];

        if (m->look == a->look)
            continue;
        if (rest->keeps(rest->ctx, str_c(m->id)))
            rest->missed(rest->ctx, str_c(m->id), go_on(a, m));
        else
            drop(a, m);
    }
    a->heard = others_heard;
}

enum applied_is applied_find(const struct applied *a, struct str id)
{
    const struct applied_member *m = find(a, id);

    return m ? is_gone(a, m) : APPLIED_NEVER;
}

/* ---- in the store ---- */

size_t applied_pieces(const struct applied *a)
{
    return a->dirty.n;
}

bool applied_is_dirty(const struct applied *a, size_t piece)
{
    return a->dirty.at[piece];
}

void applied_put_piece(struct applied *a, size_t piece, struct buf *out)
{
    size_t from = piece * APPLIED_PIECE;

    for (size_t i = from; i < a->list.n && i < from + APPLIED_PIECE; i++) {
        buf_put_c(out, a->list.at[i]->id);
        buf_put_byte(out, '\n');
    }
    a->dirty.at[piece] = false;
}

void applied_dirty(struct applied *a, size_t piece)
{
    if (piece < a->dirty.n) /* else nobody of it is left */
        a->dirty.at[piece] = true;
}

int applied_take_piece(struct applied *a, struct str bytes)
{
    struct str id;

    while (bytes.len && str_next(&bytes, '\n', &id))
        if (id.len && id.len <= APPLIED_ID_MAX && !find(a, id) && a->list.n < APPLIED_MAX &&
            !add(a, id))
            return ERR_NOMEM;
    return 0;
}

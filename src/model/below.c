/*
 * Walking a namespace and what is below it. See below.h.
 */
#include "model/below.h"

/* A step costs a tenth of a seek: other kinds are stepped over first. */
enum { STEPS_BEFORE_SEEK = 10 };

static void seek(struct below_walk *w, struct str from)
{
    struct str after = w->opts.after;

    tree_walk_from(&w->walk, w->versions, str_cmp(from, after) < 0 ? after : from, 0);
}

/* Enters the stretch of the keys that begin with the namespace and this byte. */
static void enter(struct below_walk *w, char separator)
{
    struct str space = w->opts.space;

    memcpy(w->head, space.data, space.len);
    w->head[space.len] = separator;
    w->head_len = space.len + 1;
    seek(w, str_of(w->head, w->head_len));
}

void below_walk_init(struct below_walk *w, const struct state *s, const struct below_opts *opts)
{
    w->versions = s->versions;
    w->opts = *opts;
    w->n_seen = w->n_passed = 0;
    w->last_seen = STR("");
    w->head_len = 0;
    w->at = BELOW_ENDED;
    if (opts->space.len > NAMESPACE_BYTES_MAX)
        return; /* there is none */
    if (opts->space.len) {
        w->at = BELOW_IN_SELF;
        enter(w, '\0');
    } else if (opts->depth == BELOW_ALL) {
        w->at = BELOW_IN_REST;
        seek(w, STR(""));
    }
}

static void leave(struct below_walk *w)
{
    if (w->at == BELOW_IN_SELF && w->opts.depth == BELOW_ALL) {
        w->at = BELOW_IN_REST;
        enter(w, '/');
    } else {
        w->at = BELOW_ENDED;
    }
}

/* To the wanted kind of the namespace of name; when that lies behind already, to the namespace after it. */
static void skip_kinds(struct below_walk *w, struct name name)
{
    struct str kind = w->opts.kind;
    char key[ID_BYTES_MAX];
    size_t len = name.space.len + 1;

    if (len + kind.len + 1 > sizeof(key))
        return;
    memcpy(key, name.space.data, name.space.len);
    key[name.space.len] = '\0';
    if (str_cmp(name.kind, kind) < 0) {
        memcpy(key + len, kind.data, kind.len);
        key[len + kind.len] = '\0';
        len += kind.len + 1;
    } else {
        key[name.space.len] = '\1';
    }
    seek(w, str_of(key, len));
}

static bool is_wanted(struct below_walk *w, const struct version *v)
{
    struct name name = key_name(v->key);

    if (w->opts.kind.len == 0 || str_eq(name.kind, w->opts.kind)) {
        w->n_passed = 0;
        return true;
    }
    if (++w->n_passed % STEPS_BEFORE_SEEK == 0)
        skip_kinds(w, name);
    return false;
}

struct version *below_walk_next(struct below_walk *w)
{
    while (w->at != BELOW_ENDED) {
        struct version *v = version_of(tree_walk_peek(&w->walk));

        if (!v || !str_starts(v->key, str_of(w->head, w->head_len))) {
            leave(w);
            continue;
        }
        if (w->opts.most && w->n_seen == w->opts.most)
            return NULL;
        (void)tree_walk_next(&w->walk); /* the one that was peeked at */
        if (str_eq(v->key, w->opts.after))
            continue;
        w->n_seen++;
        w->last_seen = v->key;
        if (is_wanted(w, v))
            return v;
    }
    return NULL;
}

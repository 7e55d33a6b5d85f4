/*
 * Patches of metadata. See patch.h.
 */
#include "model/patch.h"

enum clear_entries { CLEAR_WHOLE, CLEAR_ENTRIES };

static const struct {
    struct str name;
    enum clear_entries entries; /* whether one entry can be named, too */
} clearable[] = {
    {STR("labels"), CLEAR_ENTRIES},     {STR("annotations"), CLEAR_ENTRIES},
    {STR("depends_on"), CLEAR_ENTRIES}, {STR("description"), CLEAR_WHOLE},
    {STR("owner"), CLEAR_WHOLE},        {STR("protected"), CLEAR_WHOLE},
    {STR("exclusive"), CLEAR_WHOLE},
};

static bool is_clearable(struct str word)
{
    for (size_t i = 0; i < ARRAY_LEN(clearable); i++) {
        struct str name = clearable[i].name;

        if (str_eq(word, name))
            return true;
        if (clearable[i].entries == CLEAR_ENTRIES && str_starts(word, name) &&
            word.len > name.len + 1 && word.data[name.len] == '/')
            return true;
    }
    return false;
}

int meta_patch_check(const struct meta_patch *p, struct err *err)
{
    if (p->n_clear > META_CLEAR_MAX)
        return err_set(err, ERR_LIMIT, "a patch clears at most %d things", META_CLEAR_MAX);
    for (size_t i = 0; i < p->n_clear; i++) {
        if (is_clearable(p->clear[i]))
            continue;
        (void)err_set(err, ERR_INVALID, "metadata has no \"%.*s\" that could be cleared",
                      (int)MIN(p->clear[i].len, (size_t)META_KEY_BYTES_MAX), p->clear[i].data);
        err_hint(err, "labels, annotations and depends_on, whole or one of them (labels/KEY); "
                      "description, owner, protected, exclusive");
        return ERR_INVALID;
    }
    return meta_check(&p->set, err);
}

/* Whether a field is cleared as a whole. */
static bool clears(const struct meta_patch *p, struct str field)
{
    for (size_t i = 0; i < p->n_clear; i++)
        if (str_eq(p->clear[i], field))
            return true;
    return false;
}

/* Whether a field, or just this entry of it, is cleared. */
static bool clears_entry(const struct meta_patch *p, struct str field, struct str entry)
{
    for (size_t i = 0; i < p->n_clear; i++) {
        struct str word = p->clear[i];

        if (str_eq(word, field) ||
            (str_starts(word, field) && word.len > field.len && word.data[field.len] == '/' &&
             str_eq(str_part(word, field.len + 1, word.len), entry)))
            return true;
    }
    return false;
}

static bool has_pair(const struct pair *pairs, size_t n, struct str key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(pairs[i].key, key))
            return true;
    return false;
}

static bool has_text(const struct str *texts, size_t n, struct str text)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(texts[i], text))
            return true;
    return false;
}

struct pairs {
    const struct pair *at;
    size_t n;
};

static struct pair *patch_pairs(struct pairs old, struct pairs set, const struct meta_patch *p,
                                struct str field, struct arena *a, size_t *ret_n)
{
    struct pair *list = ARENA_ARRAY(a, struct pair, old.n + set.n);

    *ret_n = 0;
    for (size_t i = 0; list && i < old.n; i++)
        if (!has_pair(set.at, set.n, old.at[i].key) && !clears_entry(p, field, old.at[i].key))
            list[(*ret_n)++] = old.at[i];
    for (size_t i = 0; list && i < set.n; i++)
        list[(*ret_n)++] = set.at[i];
    return list;
}

static struct str *patch_references(const struct meta *old, const struct meta_patch *p,
                                    struct arena *a, size_t *ret_n)
{
    struct str *list = ARENA_ARRAY(a, struct str, old->n_depends_on + p->set.n_depends_on);

    *ret_n = 0;
    for (size_t i = 0; list && i < old->n_depends_on; i++)
        if (has_text(p->set.depends_on, p->set.n_depends_on, old->depends_on[i]) ||
            !clears_entry(p, STR("depends_on"), old->depends_on[i]))
            list[(*ret_n)++] = old->depends_on[i];
    for (size_t i = 0; list && i < p->set.n_depends_on; i++)
        if (!has_text(list, *ret_n, p->set.depends_on[i]))
            list[(*ret_n)++] = p->set.depends_on[i];
    return list;
}

static struct str patch_text(struct str old, struct str set, bool is_cleared)
{
    if (set.len)
        return set;
    return is_cleared ? STR_NULL : old;
}

int meta_patched(const struct meta *old, const struct meta_patch *p, struct arena *a,
                 struct meta *ret)
{
    const struct meta *set = &p->set;

    old = old ? old : &meta_none;
    *ret = *old;
    ret->labels = patch_pairs((struct pairs){old->labels, old->n_labels},
                              (struct pairs){set->labels, set->n_labels}, p, STR("labels"), a,
                              &ret->n_labels);
    ret->annotations = patch_pairs((struct pairs){old->annotations, old->n_annotations},
                                   (struct pairs){set->annotations, set->n_annotations}, p,
                                   STR("annotations"), a, &ret->n_annotations);
    ret->depends_on = patch_references(old, p, a, &ret->n_depends_on);
    ret->description =
        patch_text(old->description, set->description, clears(p, STR("description")));
    ret->owner = patch_text(old->owner, set->owner, clears(p, STR("owner")));
    ret->is_protected =
        set->is_protected || (old->is_protected && !clears(p, STR("protected")));
    ret->is_exclusive =
        set->is_exclusive || (old->is_exclusive && !clears(p, STR("exclusive")));
    return arena_failed(a) ? ERR_NOMEM : 0;
}

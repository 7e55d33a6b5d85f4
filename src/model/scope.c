/*
 * Scopes. See scope.h.
 */
#include "model/scope.h"

#include "base/alloc.h"

static const struct pair *find_label(const struct pair *labels, size_t n, struct str key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(labels[i].key, key))
            return &labels[i];
    return NULL;
}

int layer_expand(struct str layer, const struct pair *labels, size_t n_labels, struct buf *out,
                 struct err *err)
{
    while (layer.len) {
        size_t open = str_index(layer, '{');
        size_t close = str_index(layer, '}');
        const struct pair *label;

        buf_put_str(out, str_part(layer, 0, open));
        if (open == layer.len)
            break;
        if (close == layer.len || close < open)
            return err_set(err, ERR_INVALID,
                           "namespace \"%.*s\" has a brace without its partner",
                           STR_ARG(layer));
        label = find_label(labels, n_labels, str_part(layer, open + 1, close));
        if (!label) {
            (void)err_set(err, ERR_INVALID, "the instance has no label \"%.*s\"",
                          STR_ARG(str_part(layer, open + 1, close)));
            err_hint(err, "give the label to the instance, or name the namespace in full");
            return ERR_INVALID;
        }
        buf_put_str(out, label->value);
        layer = str_from(layer, close + 1);
    }
    return buf_status(out);
}

static int selectors_check(const struct scope *s, struct err *err)
{
    if (s->n_selectors > SCOPE_SELECTORS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d selectors in a scope",
                       SCOPE_SELECTORS_MAX);
    for (size_t i = 0; i < s->n_selectors; i++) {
        const struct selector *sel = &s->selectors[i];

        if (sel->n_kinds + sel->n_names > SCOPE_PATTERNS_MAX)
            return err_set(err, ERR_LIMIT, "more than %d patterns in a selector",
                           SCOPE_PATTERNS_MAX);
        for (size_t j = 0; j < sel->n_kinds; j++)
            if (kind_check(sel->kinds[j], err))
                return ERR_INVALID;
        for (size_t j = 0; j < sel->n_names; j++)
            if (sel->names[j].len > NAME_BYTES_MAX || !str_is_utf8(sel->names[j]))
                return err_set(err, ERR_INVALID, "a name pattern is too long or not UTF-8");
    }
    return 0;
}

static int scope_check(const struct scope *s, struct err *err)
{
    if (s->name.len > SEGMENT_BYTES_MAX || !str_is_utf8(s->name))
        return err_set(err, ERR_INVALID, "a scope's name has at most %d bytes of UTF-8",
                       SEGMENT_BYTES_MAX);
    if (str_eq(s->name, SCOPE_REFERRED))
        return err_set(err, ERR_INVALID, "the scope name \"*\" is reserved");
    if (s->n_layers == 0)
        return err_set(err, ERR_INVALID, "a scope needs at least one namespace");
    if (s->n_layers > SCOPE_LAYERS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d namespaces in a scope", SCOPE_LAYERS_MAX);
    for (size_t i = 0; i < s->n_layers; i++) {
        int r = namespace_check(s->layers[i], err);

        if (r)
            return r;
        for (size_t j = 0; j < i; j++)
            if (str_eq(s->layers[i], s->layers[j]))
                return err_set(err, ERR_INVALID, "namespace \"%.*s\" is in a scope twice",
                               STR_ARG(s->layers[i]));
    }
    return selectors_check(s, err);
}

int scopes_check(const struct scope *scopes, size_t n, struct err *err)
{
    if (n == 0)
        return err_set(err, ERR_INVALID, "a subscription needs at least one scope");
    if (n > SCOPES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d scopes", SCOPES_MAX);
    for (size_t i = 0; i < n; i++) {
        int r = scope_check(&scopes[i], err);

        if (r)
            return r;
        for (size_t j = 0; j < i; j++)
            if (str_eq(scopes[i].name, scopes[j].name))
                return err_set(err, ERR_INVALID, "two scopes have the name \"%.*s\"",
                               STR_ARG(scopes[i].name));
    }
    return 0;
}

/* ---- keeping ---- */

struct measure {
    size_t strs, selectors, bytes;
};

static struct measure scope_measure(const struct scope *s)
{
    struct measure m = {s->n_layers, s->n_selectors, s->name.len};

    for (size_t i = 0; i < s->n_layers; i++)
        m.bytes += s->layers[i].len;
    for (size_t i = 0; i < s->n_selectors; i++) {
        const struct selector *sel = &s->selectors[i];

        m.strs += sel->n_kinds + sel->n_names;
        for (size_t j = 0; j < sel->n_kinds; j++)
            m.bytes += sel->kinds[j].len;
        for (size_t j = 0; j < sel->n_names; j++)
            m.bytes += sel->names[j].len;
    }
    return m;
}

struct filler {
    struct str *strs;
    char *bytes;
};

static struct str *fill_strs(struct filler *f, const struct str *from, size_t n)
{
    struct str *to = f->strs;

    for (size_t i = 0; i < n; i++)
        to[i] = str_keep(&f->bytes, from[i]);
    f->strs += n;
    return to;
}

struct scope *scope_new(const struct scope *s)
{
    struct measure m = scope_measure(s);
    struct scope *copy = mem_alloc(sizeof(*copy) + m.selectors * sizeof(struct selector) +
                                   m.strs * sizeof(struct str) + m.bytes);
    struct filler f;

    if (!copy)
        return NULL;
    *copy = *s;
    copy->selectors = (struct selector *)(void *)(copy + 1);
    f.strs = (struct str *)(void *)(copy->selectors + m.selectors);
    f.bytes = (char *)(f.strs + m.strs);
    copy->name = str_keep(&f.bytes, s->name);
    copy->layers = fill_strs(&f, s->layers, s->n_layers);
    for (size_t i = 0; i < s->n_selectors; i++) {
        const struct selector *from = &s->selectors[i];

        copy->selectors[i] = *from;
        copy->selectors[i].kinds = fill_strs(&f, from->kinds, from->n_kinds);
        copy->selectors[i].names = fill_strs(&f, from->names, from->n_names);
    }
    return copy;
}

static void put_strs(const struct str *strs, size_t n, struct buf *out)
{
    buf_printf(out, "%zu;", n);
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "%zu:", strs[i].len);
        buf_put_str(out, strs[i]);
    }
}

void scope_put_identity(const struct scope *s, struct buf *out)
{
    put_strs(&s->name, 1, out);
    put_strs(s->layers, s->n_layers, out);
    buf_printf(out, "%zu;", s->n_selectors);
    for (size_t i = 0; i < s->n_selectors; i++) {
        put_strs(s->selectors[i].kinds, s->selectors[i].n_kinds, out);
        put_strs(s->selectors[i].names, s->selectors[i].n_names, out);
    }
}

/* ---- deciding ---- */

static bool selector_takes(const struct selector *sel, struct str kind, struct str name)
{
    bool kind_fits = sel->n_kinds == 0, name_fits = sel->n_names == 0;

    for (size_t i = 0; i < sel->n_kinds && !kind_fits; i++)
        kind_fits = str_eq(sel->kinds[i], kind);
    for (size_t i = 0; i < sel->n_names && kind_fits && !name_fits; i++)
        name_fits = str_glob(sel->names[i], name);
    return kind_fits && name_fits;
}

bool scope_selects(const struct scope *s, struct str kind, struct str name)
{
    if (s->n_selectors == 0)
        return true;
    for (size_t i = 0; i < s->n_selectors; i++)
        if (selector_takes(&s->selectors[i], kind, name))
            return true;
    return false;
}

bool scope_has_layer(const struct scope *s, struct str ns, size_t *ret_index)
{
    for (size_t i = 0; i < s->n_layers; i++)
        if (str_eq(s->layers[i], ns)) {
            *ret_index = i;
            return true;
        }
    return false;
}

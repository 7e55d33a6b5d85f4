/*
 * Kinds and what their resources refer to. See kind.h.
 */
#include "model/kind.h"

#include "base/alloc.h"
#include "codec/syntax.h"

bool kind_is_builtin(struct str kind)
{
    return str_eq(kind, STR("file")) || str_eq(kind, STR("item")) ||
           str_eq(kind, STR("component"));
}

bool space_is_system(struct str space)
{
    return str_eq(str_part(space, 0, str_index(space, '/')), SYSTEM_SPACE);
}

void kind_put_key(struct str kind, struct buf *out)
{
    name_put_key((struct name){SYSTEM_SPACE, KIND_KIND, kind}, out);
}

/* ---- definitions ---- */

static int read_text(const struct value *object, const char *name, struct str *ret,
                     struct err *err)
{
    const struct value *v =
        value_type(object) == VALUE_OBJECT ? value_member(object, name) : NULL;

    if (!v || value_type(v) != VALUE_TEXT)
        return err_set(err, ERR_INVALID, "a reference needs a text \"%s\"", name);
    *ret = value_text(v);
    return 0;
}

static int read_field(const struct value *v, struct kind_field *f, struct err *err)
{
    int r = read_text(v, "field", &f->pointer, err);

    if (!r)
        r = read_text(v, "kind", &f->kind, err);
    if (!r)
        r = pointer_check(f->pointer, err);
    return r ? r : kind_check(f->kind, err);
}

static int read_fields(const struct value *list, struct kind *k, struct err *err)
{
    if (value_type(list) != VALUE_ARRAY)
        return err_set(err, ERR_INVALID, "\"references\" is %s instead of an array",
                       value_type_name(value_type(list)));
    if (value_count(list) > KIND_FIELDS_MAX)
        return err_set(err, ERR_LIMIT, "a kind has at most %d fields that refer",
                       KIND_FIELDS_MAX);
    for (size_t i = 0; i < value_count(list); i++) {
        int r = read_field(value_at(list, i), &k->fields[i], err);

        if (r)
            return r;
        k->n_fields++;
    }
    return 0;
}

static int check_member(void *ctx, struct str name, const struct value *v)
{
    struct err *err = ctx;
    enum value_type want = str_eq(name, STR("description"))  ? VALUE_TEXT
                           : str_eq(name, STR("references")) ? VALUE_ARRAY
                           : str_eq(name, STR("schema"))     ? VALUE_OBJECT
                                                             : VALUE_NULL;

    if (want == VALUE_NULL) {
        (void)err_set(err, ERR_INVALID, "a kind has no \"%.*s\"", STR_ARG(name));
        err_hint(err, "it has \"description\", \"references\" and \"schema\"");
        return ERR_INVALID;
    }
    if (value_type(v) != want)
        return err_set(err, ERR_INVALID, "\"%.*s\" is %s instead of %s", STR_ARG(name),
                       value_type_name(value_type(v)), value_type_name(want));
    return 0;
}

static int read_definition(struct kind *k, struct err *err)
{
    const struct value *list;
    int r;

    if (value_type(k->definition) != VALUE_OBJECT) {
        (void)err_set(err, ERR_INVALID, "a kind is an object, not %s",
                      value_type_name(value_type(k->definition)));
        err_hint(err, "begin with {\"description\": \"...\", \"references\": []}");
        return ERR_INVALID;
    }
    r = value_members(k->definition, check_member, err);
    list = value_member(k->definition, "references");
    return r || !list ? r : read_fields(list, k, err);
}

int kind_read(struct str content, struct kind *ret_kind, struct err *err)
{
    int r;

    *ret_kind = KIND_NULL;
    r = value_parse(content, &ret_kind->definition, err);
    if (!r)
        r = read_definition(ret_kind, err);
    if (r)
        kind_deinit(ret_kind);
    return r;
}

void kind_deinit(struct kind *k)
{
    k->definition = value_free(k->definition);
    k->n_fields = 0;
}

/* ---- what a resource refers to ---- */

struct collector {
    const struct referrer *from;
    const struct kind_field *field;
    struct buf keys; /* one behind the other */
    size_t lens[REFERENCES_MAX];
    size_t n;
    struct err *err;
};

static int add_name(struct collector *c, struct name name)
{
    if (c->n == REFERENCES_MAX)
        return err_set(c->err, ERR_LIMIT, "more than %d references", REFERENCES_MAX);
    c->lens[c->n++] = name.space.len + name.kind.len + name.name.len + 2;
    name_put_key(name, &c->keys);
    return buf_status(&c->keys);
}

/* A full id of the field's kind, or a name in the namespace of the one that refers. */
static int add_text(struct collector *c, struct str text)
{
    bool is_file = str_eq(c->field->kind, STR("file"));
    struct err why = ERR_NULL;
    struct name name;
    int r;

    if (memchr(text.len ? text.data : "", '/', text.len)) {
        r = name_parse(text, &name, &why);
        if (!r && str_eq(name.kind, c->field->kind))
            return add_name(c, name);
        if (!is_file)
            return err_set(c->err, ERR_INVALID,
                           "field \"%.*s\": \"%.*s\" is neither a name nor the id of a "
                           "resource of kind %.*s",
                           STR_ARG(c->field->pointer), STR_ARG(text), STR_ARG(c->field->kind));
    }
    name = (struct name){c->from->name.space, c->field->kind, text};
    r = name_check(c->field->kind, text, &why);
    if (r)
        return err_set(c->err, r, "field \"%.*s\": \"%.*s\": %s", STR_ARG(c->field->pointer),
                       STR_ARG(text), why.text);
    return add_name(c, name);
}

static int refuse_type(const struct collector *c, const struct value *v)
{
    return err_set(c->err, ERR_INVALID,
                   "field \"%.*s\" is %s instead of the name of a resource of kind %.*s",
                   STR_ARG(c->field->pointer), value_type_name(value_type(v)),
                   STR_ARG(c->field->kind));
}

/* What a field leads to: a text, or an array of them. */
static int add_value(void *ctx, const struct value *v)
{
    struct collector *c = ctx;
    int r = 0;

    if (value_type(v) == VALUE_NULL)
        return 0;
    if (value_type(v) == VALUE_TEXT)
        return add_text(c, value_text(v));
    if (value_type(v) != VALUE_ARRAY)
        return refuse_type(c, v);
    for (size_t i = 0; i < value_count(v) && !r; i++)
        r = value_type(value_at(v, i)) == VALUE_TEXT ? add_text(c, value_text(value_at(v, i)))
                                                     : refuse_type(c, value_at(v, i));
    return r;
}

static int collect_fields(struct collector *c, const struct kind *k)
{
    const char *dialect = syntax_name(c->from->content_type);
    struct value *content = NULL;
    int r;

    if (!dialect || strcmp(dialect, "json") != 0)
        return err_set(
            c->err, ERR_INVALID,
            "the kind has fields that refer: its resources are application/json, not %.*s",
            STR_ARG(c->from->content_type));
    r = value_parse(c->from->content, &content, c->err);
    for (size_t i = 0; i < k->n_fields && !r; i++) {
        c->field = &k->fields[i];
        r = value_select(content, c->field->pointer, add_value, c);
    }
    (void)value_free(content);
    return r;
}

/* They are full ids: commit_check has seen to it. */
static int collect_meta(struct collector *c, const struct meta *m)
{
    for (size_t i = 0; i < m->n_depends_on; i++) {
        struct name name;
        int r = name_parse(m->depends_on[i], &name, c->err);

        if (!r)
            r = add_name(c, name);
        if (r)
            return r;
    }
    return 0;
}

static struct references *collected(struct collector *c, struct arena *a)
{
    struct str keys[REFERENCES_MAX];
    struct references *refs;
    size_t at = 0;

    for (size_t i = 0; i < c->n; i++) {
        keys[i] = str_part(buf_str(&c->keys), at, at + c->lens[i]);
        at += c->lens[i];
    }
    refs = arena_alloc(a, references_size(keys, c->n));
    if (refs)
        references_init(refs, keys, c->n);
    return refs;
}

int references_collect(const struct kind *k, const struct referrer *from, struct arena *a,
                       struct references **ret, struct err *err)
{
    struct err ignored = ERR_NULL;
    struct collector c = {.from = from,
                          .keys = BUF_NULL((size_t)REFERENCES_MAX * ID_BYTES_MAX),
                          .err = err ? err : &ignored};
    int r = k && k->n_fields ? collect_fields(&c, k) : 0;

    *ret = NULL;
    if (!r)
        r = collect_meta(&c, from->meta ? from->meta : &meta_none);
    if (!r && c.n) {
        *ret = collected(&c, a);
        r = *ret ? 0 : ERR_NOMEM;
    }
    buf_deinit(&c.keys);
    return r;
}

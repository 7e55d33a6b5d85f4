/*
 * Commits: every reason for which one is refused. See commit.h.
 */
#include "model/commit.h"

#include "base/alloc.h"
#include "base/map.h"
#include "codec/syntax.h"

const char *change_action_name(enum change_action a)
{
    static const char *const names[] = {"created", "updated", "deleted", "unchanged"};

    return names[a];
}

struct str content_type_guess(struct str kind, struct str name, struct str content)
{
    static const struct {
        struct str ending, type;
    } endings[] = {
        {STR(".json"), STR("application/json")},
        {STR(".yaml"), STR("application/yaml")},
        {STR(".yml"), STR("application/yaml")},
        {STR(".toml"), STR("application/toml")},
        {STR(".xml"), STR("application/xml")},
        {STR(".ini"), STR("text/x-ini")},
        {STR(".properties"), STR("text/x-java-properties")},
    };

    if (!str_eq(kind, STR("file")))
        return STR("application/json");
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        if (str_ends(name, endings[i].ending))
            return endings[i].type;
    return str_is_utf8(content) ? STR("text/plain") : STR("application/octet-stream");
}

/* ---- one change ---- */

static int check_based_on(const struct change *c, const struct version *old, struct err *err)
{
    uint64_t newest = old ? old->number : 0;

    if (c->create_only && version_is_live(old)) {
        (void)err_set(err, ERR_EXISTS, "exists already, at version %llu",
                      (unsigned long long)newest);
        err_hint(err, "leave out the wish to create it, to update it");
        return ERR_EXISTS;
    }
    if (c->based_on && c->based_on != newest) {
        (void)err_set(err, ERR_CONFLICT, "based on version %llu, but the newest is %llu",
                      (unsigned long long)c->based_on, (unsigned long long)newest);
        err_hint(err, "look at the difference, and publish again based on version %llu",
                 (unsigned long long)newest);
        return ERR_CONFLICT;
    }
    if (c->delete &&!version_is_live(old))
        return err_set(err, ERR_NOT_FOUND, "cannot delete what is not there");
    return 0;
}

static int check_content_type(struct str type, struct err *err)
{
    bool slash = false;

    if (type.len > CONTENT_TYPE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "content type longer than %d bytes",
                       CONTENT_TYPE_BYTES_MAX);
    for (size_t i = 0; i < type.len; i++) {
        if (type.data[i] <= 0x20 || type.data[i] >= 0x7f)
            return err_set(err, ERR_INVALID, "content type has a space or is not ASCII");
        slash |= type.data[i] == '/' && i > 0 && i + 1 < type.len;
    }
    if (!slash)
        return err_set(err, ERR_INVALID,
                       "content type \"%.*s\" is not of the form type/subtype", STR_ARG(type));
    return 0;
}

/* References are full ids. The story names the reference, so that the place can be the resource that has it. */
static int check_references(const struct change *c, struct err *err)
{
    struct name ignored;

    for (size_t i = 0; i < c->meta.n_depends_on; i++) {
        struct err why = ERR_NULL;
        int r = name_parse(c->meta.depends_on[i], &ignored, &why);

        if (r) {
            (void)err_set(err, r, "reference \"%s\": %s", why.place, why.text);
            if (why.hint[0])
                err_hint(err, "%s", why.hint);
            return r;
        }
    }
    return 0;
}

/* An item's content is one JSON value; anything else must be what its content type says. */
static int check_content(const struct change *c, struct name name, struct str type,
                         struct err *err)
{
    if (c->content.len > CONTENT_BYTES_MAX) {
        (void)err_set(err, ERR_LIMIT,
                      "content has %zu bytes, more than the %d that are allowed",
                      c->content.len, CONTENT_BYTES_MAX);
        return ERR_LIMIT;
    }
    if (str_eq(name.kind, STR("item")))
        type = STR("application/json");
    return syntax_check(type, c->content, err);
}

static struct str settle_type(const struct change *c, struct name name,
                              const struct version *old)
{
    if (c->content_type.len)
        return c->content_type;
    if (version_is_live(old))
        return old->content_type;
    return content_type_guess(name.kind, name.name, c->content);
}

static bool changes_nothing(const struct change *c, const struct change_plan *p)
{
    return version_is_live(p->old) && !c->delete &&str_eq(c->content, p->old->content) &&
           str_eq(p->content_type, p->old->content_type) && meta_eq(&p->meta, p->old->meta);
}

static void plan_change(const struct change *c, struct name name, struct version *old,
                        struct change_plan *plan)
{
    *plan = (struct change_plan){.old = old, .number = old ? old->number + 1 : 1};
    if (c->delete) {
        plan->action = CHANGE_DELETED;
        return;
    }
    plan->content_type = settle_type(c, name, old);
    plan->meta = !c->keep_meta                       ? c->meta
                 : version_is_live(old) && old->meta ? *old->meta
                                                     : meta_none;
    plan->action = version_is_live(old) ? CHANGE_UPDATED : CHANGE_CREATED;
    if (changes_nothing(c, plan)) {
        plan->action = CHANGE_UNCHANGED;
        plan->number = old->number;
    }
}

static int check_change(const struct state *s, struct change *c, struct change_plan *plan,
                        struct err *err)
{
    struct name name = key_name(c->key);
    struct version *old = state_newest(s, c->key);
    int r = check_based_on(c, old, err);

    if (r || c->delete) {
        plan_change(c, name, old, plan);
        return r;
    }
    r = check_content_type(settle_type(c, name, old), err);
    if (!r)
        r = meta_check(&c->meta, err);
    if (!r)
        r = check_references(c, err);
    if (!r)
        r = check_content(c, name, settle_type(c, name, old), err);
    plan_change(c, name, old, plan);
    return r;
}

/* ---- the commit ---- */

static int check_texts(const struct commit *c, struct err *err)
{
    size_t bytes = 0;

    if (c->n == 0)
        return err_set(err, ERR_INVALID, "a commit needs at least one change");
    if (c->n > COMMIT_CHANGES_MAX)
        return err_set(err, ERR_LIMIT, "%zu changes, more than the %d that a commit may hold",
                       c->n, COMMIT_CHANGES_MAX);
    if (c->message.len > MESSAGE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "message longer than %d bytes", MESSAGE_BYTES_MAX);
    if (!str_is_utf8(c->message))
        return err_set(err, ERR_INVALID, "message is not UTF-8");
    for (size_t i = 0; i < c->n; i++)
        bytes = size_add(bytes, c->changes[i].content.len);
    if (bytes > COMMIT_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "contents of %zu bytes, more than the %d of a commit",
                       bytes, COMMIT_BYTES_MAX);
    return 0;
}

/* Fills in all keys. They are written first and sliced afterwards, since the buffer moves while it grows. */
static int make_keys(struct commit *c, struct buf *keys, struct err *err)
{
    size_t at = 0;

    for (size_t i = 0; i < c->n; i++) {
        struct name name;
        int r = name_parse(c->changes[i].id, &name, err);

        if (r)
            return r;
        name_put_key(name, keys);
    }
    if (buf_status(keys))
        return buf_status(keys);
    for (size_t i = 0; i < c->n; i++) { /* a key is as long as its id */
        c->changes[i].key = str_part(buf_str(keys), at, at + c->changes[i].id.len);
        at += c->changes[i].id.len;
    }
    return 0;
}

static int check_twice(const struct commit *c, struct err *err)
{
    struct map seen = MAP_NULL;
    int r = 0;

    for (size_t i = 0; i < c->n && !r; i++) {
        void *old = NULL;

        if (!map_put(&seen, c->changes[i].key, &c->changes[i], &old))
            r = ERR_NOMEM;
        else if (old) {
            r = err_set(err, ERR_INVALID, "changed twice in one commit");
            err_place(err, "%.*s", STR_ARG(c->changes[i].id));
        }
    }
    map_deinit(&seen);
    return r;
}

int commit_check(const struct state *s, struct commit *c, struct change_plan *plans,
                 struct buf *keys, struct err *err)
{
    int r = check_texts(c, err);

    if (!r)
        r = make_keys(c, keys, err);
    if (!r)
        r = check_twice(c, err);
    for (size_t i = 0; i < c->n && !r; i++) {
        r = check_change(s, &c->changes[i], &plans[i], err);
        if (r)
            err_place(err, "%.*s", STR_ARG(c->changes[i].id));
    }
    return r;
}

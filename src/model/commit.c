/*
 * Commits: every reason for which one is refused. See commit.h.
 */
#include "model/commit.h"

#include "base/alloc.h"
#include "base/map.h"
#include "codec/syntax.h"
#include "model/kinds.h"
#include "model/moves.h"
#include "model/rights_commit.h"

enum { VERDICT_BYTES_MIN = 1024 }; /* of smaller contents the note would cost as much */

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

/* What a whole check needs. */
struct check {
    const struct state *state;
    const struct commit *commit;
    struct kinds kinds;
    struct arena *arena;
    bool starts; /* the changes are candidates */
    const struct rollout
        *confirms; /* the changes are this rollout's candidates; NULL: not so */
};

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
static int check_references(const struct meta *meta, struct err *err)
{
    struct name ignored;

    for (size_t i = 0; i < meta->n_depends_on; i++) {
        struct err why = ERR_NULL;
        int r = name_parse(meta->depends_on[i], &ignored, &why);

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
static struct str syntax_of(struct name name, struct str type)
{
    return str_eq(name.kind, STR("item")) ? STR("application/json") : type;
}

static int check_content(const struct change *c, struct name name, struct str type,
                         struct err *err)
{
    struct str syntax = syntax_of(name, type);

    if (c->content.len > CONTENT_BYTES_MAX) {
        (void)err_set(err, ERR_LIMIT,
                      "content has %zu bytes, more than the %d that are allowed",
                      c->content.len, CONTENT_BYTES_MAX);
        return ERR_LIMIT;
    }
    if (!c->verdict || !str_eq(c->verdict->type, syntax))
        return syntax_check(syntax, c->content, err);
    if (c->verdict->r)
        *err = c->verdict->err;
    return c->verdict->r;
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

/* Metadata that a change comes to on top of old. */
static int settle_meta(const struct change *c, const struct version *old, struct arena *a,
                       struct meta *ret)
{
    const struct meta *before = version_is_live(old) ? old->meta : NULL;

    if (c->patch)
        return meta_patched(before, c->patch, a, ret);
    *ret = !c->keep_meta ? c->meta : before ? *before : meta_none;
    return 0;
}

bool change_gives(const struct change *c, const struct version *v)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct meta meta;

    if (!version_is_live(v) || c->delete)
        return c->delete &&!version_is_live(v);
    return str_eq(c->content, v->content) &&
           (!c->content_type.len || str_eq(c->content_type, v->content_type)) &&
           settle_meta(c, v, &a, &meta) == 0 && meta_eq(&meta, v->meta);
}

/* A change that leaves what there is, of which only the number is told. */
static void plan_nothing(struct change_plan *plan, uint64_t number)
{
    plan->action = CHANGE_UNCHANGED;
    plan->number = number;
}

static int plan_change(const struct check *q, const struct change *c, struct version *old,
                       struct change_plan *plan, struct err *err)
{
    struct name name = key_name(c->key);
    int r;

    *plan = (struct change_plan){
        .old = old, .number = state_number(q->state, c->key) + 1, .is_candidate = q->starts};
    if (q->confirms) /* it took its number at the start */
        plan->number--;
    plan->action = c->delete              ? CHANGE_DELETED
                   : version_is_live(old) ? CHANGE_UPDATED
                                          : CHANGE_CREATED;
    if (c->delete)
        return 0;
    plan->content_type = settle_type(c, name, old);
    r = settle_meta(c, old, q->arena, &plan->meta);
    if (!r)
        r = meta_check(&plan->meta, err);
    if (!r && version_is_live(old) && change_gives(c, old))
        plan_nothing(plan, old->number);
    return r;
}

/* By the definition of its kind; what Trimtab itself is told has none. */
static int collect_references(struct check *q, const struct change *c, struct name name,
                              struct change_plan *plan, struct err *err)
{
    const struct kind *kind = NULL;
    int r = 0;

    if (space_is_system(name.space))
        r = kinds_check_change(&q->kinds, c, err);
    else if (!c->delete)
        r = kinds_get(&q->kinds, name.kind, &kind, err);
    if (r || c->delete)
        return r;
    return references_collect(
        kind, &(struct referrer){name, plan->content_type, c->content, &plan->meta}, q->arena,
        &plan->references, err);
}

/* That a rollout carries just this was found out earlier, on a state that may be overtaken. */
static int check_carried(const struct check *q, const struct change *c,
                         struct change_plan *plan, struct err *err)
{
    struct version *candidate = NULL;
    const struct rollout *r = state_carrier(q->state, c->key, &candidate);

    *plan = (struct change_plan){.old = state_newest(q->state, c->key)};
    if (!r || !change_gives(c, candidate)) {
        (void)err_set(err, ERR_CONFLICT, "the rollout that carried this has moved");
        err_hint(err, "publish again");
        return ERR_CONFLICT;
    }
    plan_nothing(plan, candidate->number);
    return 0;
}

static int check_new(struct check *q, struct change *c, struct change_plan *plan,
                     struct err *err)
{
    struct name name = key_name(c->key);
    int r = moves_check_change(q->state, q->commit, c, err);

    if (!r)
        r = check_based_on(c, plan->old, err);
    if (!r && !c->delete) {
        r = check_content_type(plan->content_type, err);
        if (!r)
            r = check_references(&plan->meta, err);
        if (!r)
            r = check_content(c, name, plan->content_type, err);
    }
    return r ? r : collect_references(q, c, name, plan, err);
}

static int check_change(struct check *q, struct change *c, struct change_plan *plan,
                        struct err *err)
{
    int r;

    if (c->is_carried)
        return check_carried(q, c, plan, err);
    r = plan_change(q, c, state_newest(q->state, c->key), plan, err);
    if (r)
        return r;
    return plan->action == CHANGE_UNCHANGED ? check_based_on(c, plan->old, err)
                                            : check_new(q, c, plan, err);
}

/* ---- the commit ---- */

static int check_texts(const struct commit *c, struct err *err)
{
    size_t bytes = 0;

    if (c->n == 0 && c->n_moves == 0 && !c->order && !c->restored)
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

/* Fills in all keys: a key is its id with two slashes made NUL. */
static int make_keys(struct commit *c, struct arena *a, struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        struct str id = c->changes[i].id;
        struct name name;
        char *key;
        int r = name_parse(id, &name, err);

        if (r)
            return r;
        key = arena_alloc(a, id.len);
        if (!key)
            return ERR_NOMEM;
        memcpy(key, id.data, id.len);
        key[name.space.len] = key[name.space.len + 1 + name.kind.len] = '\0';
        c->changes[i].key = str_of(key, id.len);
    }
    return 0;
}

/* Fills the map from keys to changes. */
static int check_twice(const struct commit *c, struct map *changes, struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        void *old = NULL;

        if (!map_put(changes, c->changes[i].key, &c->changes[i], &old))
            return ERR_NOMEM;
        if (old) {
            (void)err_set(err, ERR_INVALID, "changed twice in one commit");
            err_place(err, "%.*s", STR_ARG(c->changes[i].id));
            return ERR_INVALID;
        }
    }
    return 0;
}

static int check_changes(struct check *q, struct commit *c, struct change_plan *plans,
                         struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        int r = check_change(q, &c->changes[i], &plans[i], err);

        if (r) {
            err_place(err, "%.*s", STR_ARG(c->changes[i].id));
            return r;
        }
    }
    return kinds_check_others(&q->kinds, err);
}

/* A start carries something, a confirmation all that was carried. */
static int check_candidates(const struct check *q, const struct change_plan *plans,
                            struct err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < q->commit->n; i++)
        n += plans[i].action != CHANGE_UNCHANGED;
    if (q->starts && n == 0)
        return err_set(err, ERR_INVALID,
                       "nothing to roll out: the candidates are what is stable");
    if (q->confirms && n != q->confirms->n_candidates)
        return err_set(err, ERR_CONFLICT, "%zu of the %zu candidates of rollout %llu", n,
                       q->confirms->n_candidates, (unsigned long long)q->confirms->id);
    return 0;
}

static int check_order(const struct state *s, struct commit *c, struct err *err)
{
    struct order_request *q = c->order;
    int r;

    if (!q)
        return 0;
    q->author = c->author;
    q->time_ms = c->time_ms;
    if (c->n_moves || (c->n && q->kind != ORDER_RETRY))
        return err_set(err, ERR_INVALID, "an order comes alone");
    r = order_check(q, err);
    if (!r && order_is_of_fleet(q->kind) && (q->kind == ORDER_PAUSE) == state_is_paused(s)) {
        (void)err_set(err, ERR_CONFLICT, "the fleet is %s",
                      q->kind == ORDER_PAUSE ? "paused already" : "not paused");
        err_hint(err, "see: trimtab fleet status");
        return ERR_CONFLICT;
    }
    return r;
}

/* A restore that is noted already (revision) is released once. */
static int check_restored(const struct state *s, const struct commit *c, struct err *err)
{
    if (!c->restored || !c->restored->revision)
        return 0;
    if (c->restored->revision == s->restored.revision && !s->restored.deletes_newer)
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "what the log restored at revision %llu does not know may go already",
                   (unsigned long long)s->restored.revision);
}

static void make_verdict(const struct state *s, struct change *c, struct arena *a)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct syntax_verdict *v;
    struct name name;

    if (name_parse(c->id, &name, NULL))
        return;
    name_put_key(name, &key);
    v = buf_status(&key) ? NULL : ARENA_NEW(a, struct syntax_verdict);
    if (!v)
        return;
    *v = (struct syntax_verdict){.err = ERR_NULL};
    v->type =
        arena_str(a, syntax_of(name, settle_type(c, name, state_newest(s, buf_str(&key)))));
    if (arena_failed(a))
        return;
    v->r = syntax_check(v->type, c->content, &v->err);
    if (v->r != ERR_NOMEM)
        c->verdict = v;
}

void commit_check_contents(const struct state *s, struct commit *c, struct arena *a)
{
    for (size_t i = 0; i < c->n; i++) {
        struct change *change = &c->changes[i];

        if (!change->delete &&!change->verdict && change->content.len >= VERDICT_BYTES_MIN &&
            change->content.len <= CONTENT_BYTES_MAX)
            make_verdict(s, change, a);
    }
}

int commit_check(const struct state *s, struct commit *c, struct change_plan *plans,
                 struct arena *a, struct err *err)
{
    struct check q = {.state = s, .commit = c, .arena = a};
    struct map changes = MAP_NULL;
    int r = check_texts(c, err);

    if (!r)
        r = make_keys(c, a, err);
    if (!r)
        r = check_twice(c, &changes, err);
    if (!r)
        r = moves_check(s, c, a, err);
    if (!r)
        r = check_order(s, c, err);
    if (!r)
        r = check_restored(s, c, err);
    if (!r) {
        q.starts = moves_start(c);
        q.confirms = moves_confirm(s, c);
        kinds_init(&q.kinds, s, c, &changes);
        r = check_changes(&q, c, plans, err);
        kinds_deinit(&q.kinds);
    }
    if (!r)
        r = check_candidates(&q, plans, err);
    if (!r)
        r = rights_check_commit(s, c, plans, err);
    map_deinit(&changes);
    return r;
}

/*
 * What instances really run, resource by resource: of one instance everything in its view, or of one resource every
 * instance that has it. From the instances' own words only.
 */
#include "proto/convert.h"
#include "proto/subject.h"
#include "server/use/api.h"
#include "server/use/methods.h"
#include "server/use/instance_info.h"
#include "server/use/instance_page.h"
#include "server/rollout/view.h"

enum {
    ROWS_DEFAULT = 1000,
    ROWS_MAX = 10000, /* of one instance */
    ROWS_HERE = 100,       /* pages of more are made beside the loops */
    NAMES_SEEN_MAX = 30000 /* looked at for one page */
};

static const Trimtab__V1__RunningRequest *running_request(const struct api_call *call)
{
    return (const Trimtab__V1__RunningRequest *)call->request;
}

/* One instance as it is asked about. */
struct runner {
    const struct presence *presence;
    const struct state *state;
    struct moment at;
};

/* Who it is for rollouts; NULL: they do not take it. */
static const struct subject *viewer(const struct runner *q)
{
    const struct introduction *who = q->presence->introduction;

    return who->takes_rollouts ? who->subject : NULL;
}

static size_t n_scopes(const struct runner *q)
{
    return q->presence->introduction->n_scopes;
}

static bool is_withheld(const struct runner *q, size_t scope, const struct version *item)
{
    return item && withheld_has(q->presence->standing.withheld, scope, item->key);
}

static struct viewing viewing_of(const struct runner *q, size_t scope)
{
    return (struct viewing){q->presence->introduction->scopes[scope], q->state, viewer(q)};
}

/* ---- one row ---- */

/* A resource of an instance. item NULL: it should have none, because a rollout deletes it there. */
struct row {
    const struct runner *runner;
    struct str scope, key;
    const struct version *item;
    const struct rollout *rollout; /* that carries it and takes the instance, able to or not */
    uint64_t since;                /* revision of its step that does */
    bool is_withheld;              /* the view has it, and the instance is not given it */
};

static void find_rollout(struct row *row)
{
    const struct runner *q = row->runner;
    struct rollout *r = state_carrier(q->state, row->key, NULL);
    uint32_t step =
        r ? steps_taking(r->steps, r->n_begun, r->salt, q->presence->introduction->subject) : 0;

    if (!step)
        return;
    row->rollout = r;
    row->since = r->steps[step - 1].revision;
}

/* The exception of this very item, or of its deletion. */
static const Trimtab__V1__Refusal *find_exception(const struct row *row)
{
    struct binding_at at = {.is = BINDING_ACTS, .scope = row->scope, .item = row->item};

    return presence_exception_at(row->runner->presence, row->key, &at);
}

/* The revision from which on who has applied it has this item: its own, or that of the rollout that ended there. */
static uint64_t needed_revision(const struct row *row)
{
    const struct state *s = row->runner->state;
    const struct version *stable = state_newest(s, row->key);
    const struct candidate *c = candidate_of(tree_find(s->candidates, row->key));
    uint64_t revision = stable ? stable->revision : 0;

    if (row->rollout)
        return row->since;
    return c ? MAX(revision, c->node.revision) : revision;
}

static const char *state_text(const struct row *row, const char *stable, const char *gray)
{
    return row->rollout ? gray : stable;
}

static void put_refusal(const struct row *row, const Trimtab__V1__Refusal *f,
                        Trimtab__V1__RunningResource *m, struct arena *a)
{
    char text[TARGET_WHY_MAX];

    m->state = arena_c(a, str_c(state_text(row, "error", "gray_error")));
    m->running = f->serving_version;
    if (*f->held_by)
        text_format(text, sizeof(text), "held because of %s", f->held_by);
    else
        text_format(text, sizeof(text), "%s: %s", f->code, f->message);
    m->reason = arena_c(a, str_c(text));
}

/* It has not proved the item: what is known of why. */
static void put_awaited(const struct row *row, Trimtab__V1__RunningResource *m, struct arena *a)
{
    const struct runner *q = row->runner;
    const char *story = proof_story(q->presence->standing.proof);

    m->state = arena_c(a, *story                                  ? STR("unproven")
                          : presence_is_late(q->presence, &q->at) ? STR("stale")
                                                                  : STR("pending"));
    m->reason = arena_c(a, str_c(story));
}

static void put_state(const struct row *row, Trimtab__V1__RunningResource *m, struct arena *a)
{
    const struct runner *q = row->runner;
    const struct presence *p = q->presence;
    const Trimtab__V1__Refusal *exception = find_exception(row);
    const Trimtab__V1__Health *health = p->health ? p->health->health : NULL;
    const char *state;

    if (!p->is_connected) {
        m->state = arena_c(a, STR("offline"));
        return;
    }
    if (exception) {
        put_refusal(row, exception, m, a);
        return;
    }
    if (row->is_withheld) {
        m->state = arena_c(a, STR("withheld"));
        m->reason = arena_c(a, STR("refers to what the instance may not read"));
        return;
    }
    if (!presence_has_reached(p, needed_revision(row), &q->at)) {
        put_awaited(row, m, a);
        return;
    }
    m->running = m->version;
    state = state_text(row, "ok", "gray_ok");
    if (row->rollout && !viewer(q)) {
        state = "gray_error";
        m->reason = arena_c(a, STR("is too old for rollouts, and has what is stable"));
    } else if (health && health->failing && health->revision >= needed_revision(row)) {
        state = state_text(row, "ok", "gray_error"); /* whose fault it is is not known */
        m->reason = arena_c(a, str_c(health->reason));
    }
    m->state = arena_c(a, str_c(state));
}

static Trimtab__V1__RunningResource *row_message(const struct row *row, struct arena *a)
{
    Trimtab__V1__RunningResource *m = ARENA_NEW(a, Trimtab__V1__RunningResource);
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    if (!m)
        return NULL;
    trimtab__v1__running_resource__init(m);
    key_put_id(row->key, &id);
    m->instance = arena_c(a, str_c(presence_id(row->runner->presence)));
    m->scope = arena_c(a, row->scope);
    m->id = arena_c(a, buf_str(&id));
    m->version = row->item ? row->item->number : 0;
    m->rollout = row->rollout ? row->rollout->id : 0;
    put_state(row, m, a);
    return arena_failed(a) || buf_status(&id) ? NULL : m;
}

/* ---- all of one instance ---- */

/*
 * Where a list goes on: the number of the scope, and kind/name behind a colon. What the view refers to comes behind the last
 * scope, by whole ids.
 */
static int read_after(const char *text, const struct runner *q, size_t *ret_scope,
                      struct buf *from, struct err *err)
{
    struct str s = str_c(text), number;
    uint64_t scope = 0;
    size_t slash;
    struct name name;

    *ret_scope = 0;
    if (!s.len)
        return 0;
    (void)str_next(&s, ':', &number);
    slash = str_index(s, '/');
    if (!str_u64(number, &scope) || scope > n_scopes(q) || slash == s.len ||
        (scope == n_scopes(q) && name_parse(s, &name, NULL)))
        return err_set(err, ERR_INVALID, "after is what an answer gave as next");
    *ret_scope = scope;
    if (scope == n_scopes(q)) {
        name_put_key(name, from);
    } else {
        buf_put_str(from, str_part(s, 0, slash));
        buf_put_byte(from, '\0');
        buf_put_str(from, str_from(s, slash + 1));
    }
    if (buf_status(from) == ERR_LIMIT)
        return err_set(err, ERR_INVALID, "after is longer than an id");
    return buf_status(from);
}

struct list {
    struct runner runner;
    struct sight sight;
    Trimtab__V1__RunningResponse *m;
    size_t limit, n_seen;
    struct arena *arena;
};

/* Before a name is looked at. */
static bool is_full(struct list *l)
{
    return l->m->n_resources == l->limit || l->n_seen++ == NAMES_SEEN_MAX;
}

/* from: kind NUL name, or a whole key. */
static char *next_of(size_t scope, struct str from, struct arena *a)
{
    owned(buf) struct buf b = BUF_NULL(ID_BYTES_MAX + 24);

    buf_printf(&b, "%zu:", scope);
    for (size_t i = 0; i < from.len; i++)
        buf_put_byte(&b, (unsigned char)(from.data[i] ? from.data[i] : '/'));
    return arena_c(a, buf_str(&b));
}

/* Nothing is to be said of what it should not have, unless a rollout took it away. */
static int put_row(struct list *l, struct row *row)
{
    find_rollout(row);
    if ((!row->item && !row->rollout) || !sight_has_key(&l->sight, row->key))
        return 0;
    l->m->resources[l->m->n_resources] = row_message(row, l->arena);
    return l->m->resources[l->m->n_resources++] ? 0 : ERR_NOMEM;
}

/* The rows of one scope, from a name on. */
static int list_scope(struct list *l, size_t scope, struct str from)
{
    struct viewing v = viewing_of(&l->runner, scope);
    struct scope_walk *walk = mem_alloc(scope_walk_size(v.scope));
    struct scope_step step;
    int r = walk ? 0 : ERR_NOMEM;

    if (walk)
        scope_walk_init(walk, &v, 0);
    if (walk && from.len)
        scope_walk_seek(walk, from);
    while (!r && scope_walk_next(walk, &step)) {
        struct row row = {.runner = &l->runner,
                          .scope = v.scope->name,
                          .key = step.item->key,
                          .item = step.item,
                          .is_withheld = is_withheld(&l->runner, scope, step.item)};

        if (is_full(l)) {
            l->m->next = next_of(scope, step.key, l->arena);
            break;
        }
        r = put_row(l, &row);
    }
    (void)mem_free(walk);
    return r;
}

/* What the view refers to, from a key on. */
static int list_referred(struct list *l, struct str from)
{
    const struct tree *referred = l->runner.presence->standing.referred;
    struct tree_walk walk;
    const struct referred *at;
    int r = 0;

    tree_walk_from(&walk, referred, from, 0);
    while (!r && (at = referred_of(tree_walk_next(&walk)))) {
        struct row row = {.runner = &l->runner, .scope = SCOPE_REFERRED, .item = at->version};

        if (!at->version) /* a scope binds it */
            continue;
        row.key = at->version->key;
        if (is_full(l)) {
            l->m->next = next_of(n_scopes(&l->runner), row.key, l->arena);
            break;
        }
        r = put_row(l, &row);
    }
    return r;
}

static int list_instance(struct api_call *call, struct list *l)
{
    const Trimtab__V1__RunningRequest *q = running_request(call);
    const struct instance_page *page = call->page;
    owned(buf) struct buf from = BUF_NULL(ID_BYTES_MAX);
    size_t scope;
    int r;

    l->runner = (struct runner){page->at[0], call->state, page->moment};
    r = read_after(q->after, &l->runner, &scope, &from, &call->err);
    for (; !r && scope <= n_scopes(&l->runner) && !*l->m->next; scope++) {
        if (scope < n_scopes(&l->runner))
            r = list_scope(l, scope, buf_str(&from));
        else
            r = list_referred(l, buf_str(&from));
        buf_clear(&from);
    }
    l->m->info = instance_info(page->at[0], &page->moment, l->arena);
    if (!l->m->info)
        return ERR_NOMEM;
    sight_trim(&l->sight, page->at[0], l->m->info);
    return r;
}

/* ---- one resource of all instances ---- */

/* The row of the first scope in which the instance has it, or should have lost it. */
static int row_of_resource(struct list *l, struct str key)
{
    struct name name = key_name(key);
    const struct runner *q = &l->runner;
    const struct tree *tree = q->presence->standing.referred;
    const struct referred *referred;

    for (size_t s = 0; s < n_scopes(q); s++) {
        struct viewing v = viewing_of(q, s);
        struct version *item = NULL;
        size_t layer;

        if (!scope_has_layer(v.scope, name.space, &layer) ||
            !scope_selects(v.scope, name.kind, name.name))
            continue;
        item = scope_find(&v, name.kind, name.name);
        if (item && !str_eq(item->key, key))
            continue; /* a stronger layer has the name */
        return put_row(l, &(struct row){.runner = q,
                                        .scope = v.scope->name,
                                        .key = key,
                                        .item = item,
                                        .is_withheld = is_withheld(q, s, item)});
    }
    referred = tree ? referred_of(tree_find(tree, key)) : NULL;
    if (!referred || !referred->version)
        return 0;
    return put_row(
        l, &(struct row){
               .runner = q, .scope = SCOPE_REFERRED, .key = key, .item = referred->version});
}

static int list_resource(struct api_call *call, struct list *l)
{
    const struct instance_page *page = call->page;
    struct str key;
    int r = api_key(call, running_request(call)->resource, &key, &call->err);

    for (size_t i = 0; i < page->n && !r; i++) {
        l->runner = (struct runner){page->at[i], call->state, page->moment};
        r = row_of_resource(l, key);
    }
    l->m->next = page->next;
    return r;
}

/* ---- pages ---- */

static size_t limit_of(const Trimtab__V1__RunningRequest *q)
{
    return MIN(q->limit ? q->limit : ROWS_DEFAULT, (size_t)ROWS_MAX);
}

/* Who is asked about a resource. */
struct filter {
    const Trimtab__V1__RunningRequest *q;
    struct sight sight;
    struct name resource;
};

static bool is_asked_for(void *ctx, const struct presence *p)
{
    const struct filter *f = ctx;

    return (p->is_connected || f->q->offline) && presence_wants(p, f->resource) &&
           sight_has_instance(&f->sight, p);
}

static int find_instance(struct api_call *call)
{
    const Trimtab__V1__RunningRequest *q = running_request(call);
    const struct instance *i = roster_find(&call->hub->roster, str_c(q->instance));
    struct sight sight = api_sight(call);

    if (!i || !sight_has_instance(&sight, i->presence))
        return err_set(&call->err, ERR_NOT_FOUND, "there is no instance %.128s", q->instance);
    return instance_page_of(call, i->presence);
}

static int find_instances(struct api_call *call)
{
    const Trimtab__V1__RunningRequest *q = running_request(call);
    struct filter filter = {.q = q, .sight = api_sight(call)};
    int r = name_parse(str_c(q->resource), &filter.resource, &call->err);

    if (!r)
        r = api_require(call, RIGHT_TO_VIEW, filter.resource.space);
    return r ? r
             : instance_page_find(call, &(struct instance_page_opts){.after = q->after,
                                                                     .limit = limit_of(q),
                                                                     .is_wanted = is_asked_for,
                                                                     .ctx = &filter});
}

/* Of the page that was found; on any thread. */
static void make_rows(struct api_call *call, struct store *store)
{
    const Trimtab__V1__RunningRequest *q = running_request(call);
    struct list l = {.sight = api_sight(call),
                     .limit = limit_of(q),
                     .arena = &call->arena,
                     .m = ARENA_NEW(&call->arena, Trimtab__V1__RunningResponse)};

    (void)store; /* the records and the state have it */
    call->result = ERR_NOMEM;
    if (!l.m)
        return;
    trimtab__v1__running_response__init(l.m);
    l.m->revision = call->state->revision;
    l.m->resources = ARENA_ARRAY(l.arena, Trimtab__V1__RunningResource *, l.limit);
    if (l.m->resources)
        call->result = *q->instance ? list_instance(call, &l) : list_resource(call, &l);
    call->response = &l.m->base;
}

void api_running(struct api_call *call)
{
    const Trimtab__V1__RunningRequest *q = running_request(call);
    int r;

    call->state = state_ref(call->hub->state);
    if (!*q->instance == !*q->resource)
        r = err_set(&call->err, ERR_INVALID,
                    "give either the id of an instance or that of a resource");
    else
        r = *q->instance ? find_instance(call) : find_instances(call);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    if (limit_of(q) > ROWS_HERE) {
        api_read(call, make_rows, api_read_finish);
        return;
    }
    make_rows(call, NULL);
    api_read_finish(call);
}

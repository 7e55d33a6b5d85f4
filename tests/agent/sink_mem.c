/*
 * The engine for tests. See sink_mem.h.
 */
#include "sink_mem.h"

#include "agent/ledger.h"
#include "faults.h"

struct mem_plan {
    struct sink_plan plan;
    struct sink_mem_items wanted, before;
    struct sink_mem_items fresh; /* names that are not known to be there yet */
    bool has_bad;
    struct defer answer;
    sink_done_fn *done;
    void *ctx;
    bool does_fail;
};

static struct sink_mem *mem_of(const struct sink *s)
{
    return CONTAINER_OF((uintptr_t)s, struct sink_mem, sink);
}

static struct mem_plan *plan_of(const struct sink_plan *p)
{
    return CONTAINER_OF((uintptr_t)p, struct mem_plan, plan);
}

static bool add(struct sink_mem_items *items, struct str name, struct str content)
{
    struct sink_mem_item *item = &items->at[items->n];

    if (items->n == SINK_MEM_ITEMS)
        return false;
    items->n++;
    (void)snprintf(item->name, sizeof(item->name), "%.*s", STR_ARG(name));
    (void)snprintf(item->content, sizeof(item->content), "%.*s", STR_ARG(content));
    return true;
}

const char *sink_mem_content(const struct sink_mem_items *items, const char *name)
{
    for (size_t i = 0; i < items->n; i++)
        if (strcmp(items->at[i].name, name) == 0)
            return items->at[i].content;
    return NULL;
}

static bool are_same(const struct sink_mem_items *a, const struct sink_mem_items *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; i < a->n && same; i++) {
        const char *other = sink_mem_content(b, a->at[i].name);

        same = other && strcmp(other, a->at[i].content) == 0;
    }
    return same;
}

static bool is_to_fail(const struct sink_plan *p, enum sink_mem_step step)
{
    const struct sink_mem *s = mem_of(p->sink);

    return s->fails_at == step && (s->fails_always || plan_of(p)->has_bad);
}

static int fail(struct sink_plan *p, const char *code)
{
    p->fault = (struct sink_fault){.code = code, .text = STR("as it was told to")};
    return ERR_IO;
}

/* ---- operations ---- */

static bool takes(const struct sink *s, struct str key)
{
    return str_eq(key_scope(key), s->scope);
}

static struct sink_plan *finish(struct sink_plan *base)
{
    struct mem_plan *p = plan_of(base);

    defer_cancel(&p->answer);
    mem_of(base->sink)->n_plans--;
    (void)mem_free(p);
    return NULL;
}

static int make_plan(struct sink *base, const struct sink_item *items, size_t n,
                     enum sink_look look, struct sink_plan **ret_plan)
{
    struct sink_mem *s = mem_of(base);
    struct mem_plan *p = NEW(struct mem_plan);

    (void)look; /* it always looks */
    *ret_plan = NULL;
    if (!p)
        return ERR_NOMEM;
    p->plan.sink = base;
    p->plan.must_tell = p->plan.is_untold = s->is_untold;
    s->n_plans++;
    *ret_plan = &p->plan;
    for (size_t i = 0; i < n; i++) {
        struct str content = items[i].version->content;

        if (items[i].is_waiting)
            continue;
        ASSERT(add(&p->wanted, key_path(items[i].key), content));
        p->has_bad |= memmem(content.data, content.len, "BAD", 3) != NULL;
        if (!map_get(&s->delivered, key_path(items[i].key)))
            ASSERT(add(&p->fresh, key_path(items[i].key), content));
    }
    return is_to_fail(*ret_plan, SINK_MEM_PLAN) ? fail(*ret_plan, "INVALID_PATH") : 0;
}

static int stage(struct sink_plan *base)
{
    struct mem_plan *p = plan_of(base);
    struct sink_mem *s = mem_of(base->sink);

    if (is_to_fail(base, SINK_MEM_STAGE) || faults_call())
        return fail(base, "NO_SPACE");
    p->before = s->now;
    base->is_changed = !are_same(&s->now, &p->wanted);
    return 0;
}

static void answer(struct defer *d, void *ctx)
{
    struct mem_plan *p = ctx;
    struct sink_mem *s = mem_of(p->plan.sink);
    struct sink_fault fault = {.code = p->plan.is_switched ? "RELOAD_FAILED" : "CHECK_FAILED",
                               .text = STR("it will not")};

    (void)d;
    if (!p->does_fail && p->plan.is_switched)
        s->told = s->now;
    p->done(p->ctx, p->does_fail ? &fault : NULL);
}

static int ask(struct sink_plan *base, bool does_fail, sink_done_fn *done, void *ctx)
{
    struct mem_plan *p = plan_of(base);

    p->done = done;
    p->ctx = ctx;
    p->does_fail = does_fail;
    p->answer = (struct defer){.fn = answer, .ctx = p};
    if (!mem_of(base->sink)->is_silent)
        loop_defer(mem_of(base->sink)->loop, &p->answer);
    return SINK_ASKED;
}

static int check(struct sink_plan *base, sink_done_fn *done, void *ctx)
{
    mem_of(base->sink)->n_checks++;
    if (is_to_fail(base, SINK_MEM_NO_CHECK))
        return fail(base, "IO");
    return ask(base, is_to_fail(base, SINK_MEM_CHECK), done, ctx);
}

/* Item by item, and back when one of them fails. */
static int switch_over(struct sink_plan *base)
{
    struct mem_plan *p = plan_of(base);
    struct sink_mem *s = mem_of(base->sink);

    s->now.n = 0;
    for (size_t i = 0; i < p->wanted.n; i++) {
        if ((i + 1 == p->wanted.n && is_to_fail(base, SINK_MEM_SWITCH)) || faults_call()) {
            s->now = p->before;
            return fail(base, "IO");
        }
        s->now.at[s->now.n++] = p->wanted.at[i];
    }
    base->is_switched = true;
    return 0;
}

static int reload(struct sink_plan *base, sink_done_fn *done, void *ctx)
{
    bool is_new = base->is_switched; /* else it is told of what was there before */

    mem_of(base->sink)->n_reloads++;
    if ((is_new || mem_of(base->sink)->fails_always) && is_to_fail(base, SINK_MEM_NO_RELOAD))
        return fail(base, "IO");
    if (!is_new)
        mem_of(base->sink)->told = mem_of(base->sink)->now;
    return ask(base, is_new && is_to_fail(base, SINK_MEM_RELOAD), done, ctx);
}

static void cancel(struct sink_plan *base)
{
    defer_cancel(&plan_of(base)->answer);
}

static void undo(struct sink_plan *base)
{
    if (base->is_switched)
        mem_of(base->sink)->now = plan_of(base)->before;
    base->is_switched = false;
}

static int rows(const struct sink_plan *base, enum sink_rows_of which, struct sink_rows *out)
{
    const struct mem_plan *p = plan_of(base);
    const struct sink_mem_items *of = which == SINK_FINAL ? &p->wanted : &p->fresh;
    bool is_last = which == SINK_FINAL || which == SINK_TOLD;
    struct sha256 none = {{0}};
    struct map_slot *slot;
    size_t at = 0;

    if (which == SINK_INTENT && base->is_changed &&
        !sink_rows_add(out, base->sink, STR(""), &none))
        return ERR_NOMEM;
    if (is_last && !base->is_untold && !sink_rows_add(out, base->sink, STR(""), NULL))
        return ERR_NOMEM;
    for (size_t i = 0; which != SINK_TOLD && i < of->n; i++) {
        struct sha256 hash = sha256_of(str_c(of->at[i].content));

        if (!sink_rows_add(out, base->sink, str_c(of->at[i].name),
                           which == SINK_VOID ? NULL : &hash))
            return ERR_NOMEM;
    }
    while (which == SINK_FINAL && (slot = map_each(&mem_of(base->sink)->delivered, &at)))
        if (!sink_mem_content(&p->wanted, slot->value) &&
            !sink_rows_add(out, base->sink, slot->key, NULL))
            return ERR_NOMEM;
    return 0;
}

static int note(struct sink *base, const struct copy_file *row)
{
    struct sink_mem *s = mem_of(base);
    char *name = row->is_gone || !row->path.len ? NULL : mem_dup(row->path.data, row->path.len);
    void *old = NULL;

    if (!row->path.len) {
        s->is_untold = !row->is_gone;
        return 0;
    }
    if (row->is_gone)
        old = map_remove(&s->delivered, row->path);
    else if (map_get(&s->delivered, row->path))
        old = name; /* is known already */
    else if (!name || !map_put(&s->delivered, str_c(name), name, NULL))
        return ERR_NOMEM;
    (void)mem_free(old);
    return 0;
}

static struct sink *close_mem(struct sink *base)
{
    struct sink_mem *s = mem_of(base);
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&s->delivered, &at)))
        (void)mem_free(slot->value);
    map_deinit(&s->delivered);
    (void)mem_free(s);
    return NULL;
}

static const struct sink_ops ops = {.engine = "mem",
                                    .takes = takes,
                                    .plan = make_plan,
                                    .stage = stage,
                                    .check = check,
                                    .switch_over = switch_over,
                                    .reload = reload,
                                    .cancel = cancel,
                                    .undo = undo,
                                    .finish = finish,
                                    .rows = rows,
                                    .note = note,
                                    .close = close_mem};

struct sink_mem *sink_mem_open(struct loop *loop, const char *name)
{
    struct sink_mem *s = NEW(struct sink_mem);

    if (!s)
        return NULL;
    s->sink = (struct sink){&ops, str_c(name), str_c(name)};
    s->loop = loop;
    return s;
}

/*
 * Orders to instances. See order.h.
 */
#include "model/order.h"

#include "model/name.h"

static const char *const kind_names[ORDER_KINDS] = {"retry", "release", "pause", "resume"};

const char *order_kind_name(enum order_kind k)
{
    return kind_names[k];
}

bool order_kind_from_name(struct str name, enum order_kind *ret)
{
    for (int i = 0; i < ORDER_KINDS; i++)
        if (str_eq(name, str_c(kind_names[i]))) {
            *ret = (enum order_kind)i;
            return true;
        }
    return false;
}

/* ---- checking ---- */

static int check_whom(const struct order_request *q, struct err *err)
{
    const char *name = order_kind_name(q->kind);

    if (order_is_of_fleet(q->kind))
        return q->n_instances || q->n_resources
                   ? err_set(err, ERR_INVALID, "to %s is for the whole fleet", name)
                   : 0;
    if (!q->n_instances && !q->n_resources) {
        (void)err_set(err, ERR_INVALID, "to %s needs instances or resources", name);
        err_hint(err, "nothing given is never everybody");
        return ERR_INVALID;
    }
    if (q->kind == ORDER_RELEASE && !q->n_resources)
        return err_set(err, ERR_INVALID,
                       "to release names what is released, so that nothing else goes with it");
    return 0;
}

static int check_instances(const struct order_request *q, struct err *err)
{
    if (q->n_instances > ORDER_INSTANCES_MAX)
        return err_set(err, ERR_LIMIT, "an order names at most %d instances",
                       ORDER_INSTANCES_MAX);
    for (size_t i = 0; i < q->n_instances; i++) {
        struct str id = q->instances[i];

        if (!id.len || id.len > ORDER_INSTANCE_BYTES_MAX || !str_is_utf8(id))
            return err_set(err, ERR_INVALID, "an id of an instance has 1 to %d bytes of UTF-8",
                           ORDER_INSTANCE_BYTES_MAX);
    }
    return 0;
}

static int check_resources(const struct order_request *q, struct err *err)
{
    struct name ignored;

    if (q->n_resources > ORDER_RESOURCES_MAX)
        return err_set(err, ERR_LIMIT, "an order names at most %d resources",
                       ORDER_RESOURCES_MAX);
    for (size_t i = 0; i < q->n_resources; i++) {
        int r = name_parse(q->resources[i], &ignored, err);

        if (r)
            return r;
    }
    return 0;
}

static int check_reason(const struct order_request *q, struct err *err)
{
    if (q->reason.len > ORDER_REASON_MAX)
        return err_set(err, ERR_LIMIT, "a reason has at most %d bytes", ORDER_REASON_MAX);
    if (!str_is_utf8(q->reason))
        return err_set(err, ERR_INVALID, "a reason is not UTF-8");
    if (q->kind != ORDER_RETRY && !q->reason.len)
        return err_set(err, ERR_INVALID, "to %s needs a reason", order_kind_name(q->kind));
    return 0;
}

int order_check(const struct order_request *q, struct err *err)
{
    int r = check_whom(q, err);

    if (!r)
        r = check_instances(q, err);
    if (!r)
        r = check_resources(q, err);
    return r ? r : check_reason(q, err);
}

/* ---- life ---- */

void order_put_key(uint64_t revision, unsigned char key[ORDER_KEY_BYTES])
{
    for (int i = 0; i < ORDER_KEY_BYTES; i++)
        key[i] = (unsigned char)(revision >> (56 - 8 * i));
}

static void order_release(struct tree_item *item)
{
    struct order *o = order_of(item);

    arena_deinit(&o->arena);
    (void)mem_free(o);
}

struct order *order_unref(struct order *o)
{
    if (o)
        tree_item_unref(&o->node);
    return NULL;
}

static int by_bytes(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* A copy of the texts on the order's arena; counts their bytes. */
static const struct str *keep_texts(struct order *o, const struct str *texts, size_t n,
                                    bool is_sorted)
{
    struct str *list = ARENA_ARRAY(&o->arena, struct str, n);

    for (size_t i = 0; list && i < n; i++) {
        list[i] = arena_str(&o->arena, texts[i]);
        o->bytes += sizeof(*list) + texts[i].len;
    }
    if (list && n && is_sorted && !arena_failed(&o->arena))
        qsort(list, n, sizeof(*list), by_bytes);
    return list;
}

struct order *order_new(const struct order_request *q)
{
    struct order *o = NEW(struct order);

    if (!o)
        return NULL;
    atomic_init(&o->node.refs, 1);
    o->node.release = order_release;
    o->node.revision = q->revision;
    order_put_key(q->revision, o->key);
    o->node.key = str_of(o->key, ORDER_KEY_BYTES);
    o->what = *q;
    o->bytes = sizeof(*o) + q->author.len + q->reason.len;
    o->what.author = arena_str(&o->arena, q->author);
    o->what.reason = arena_str(&o->arena, q->reason);
    o->what.instances = keep_texts(o, q->instances, q->n_instances, true);
    o->what.resources = keep_texts(o, q->resources, q->n_resources, false);
    return arena_failed(&o->arena) ? order_unref(o) : o;
}

bool order_names(const struct order *o, struct str instance)
{
    return o->what.n_instances && bsearch(&instance, o->what.instances, o->what.n_instances,
                                          sizeof(instance), by_bytes) != NULL;
}

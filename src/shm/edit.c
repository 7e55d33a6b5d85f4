/*
 * Records and buckets in place. See edit.h and layout.h.
 *
 * A record keeps its place as long as it fits there. What it leaves is dead until the half is written anew (writer.c).
 */
#include "shm/edit.h"

/* ---- pages ---- */

static uint64_t *stamps(const struct shm_edit *e)
{
    return (uint64_t *)(void *)(e->half + SHM_PAGE);
}

static void touch_page(struct shm_edit *e, size_t page)
{
    uint64_t *stamp = &stamps(e)[page];

    if (*stamp == e->facts.generation)
        return;
    if (*stamp)
        e->facts.stamp_sum -= shm_stamp_check(e->shape, page, *stamp);
    e->facts.stamp_sum += shm_stamp_check(e->shape, page, e->facts.generation);
    __atomic_store_n(stamp, e->facts.generation, __ATOMIC_RELAXED);
    if (!VEC_PUSH(&e->touched->list, (uint32_t)page))
        e->touched->all = true;
}

/* Before bytes of the body are changed. */
static void touch(struct shm_edit *e, uint64_t at, uint64_t len)
{
    for (uint64_t page = at / SHM_PAGE; page <= (at + len - 1) / SHM_PAGE; page++)
        touch_page(e, (size_t)page);
    shm_fence_release(); /* who copies a page sees its stamp before its bytes */
}

static unsigned char *body(const struct shm_edit *e)
{
    return e->half + e->shape->body_at;
}

static struct shm_image image_of(const struct shm_edit *e)
{
    return (struct shm_image){e->shape, body(e)};
}

/* ---- buckets ---- */

static void bucket_store(struct shm_edit *e, uint32_t number, struct shm_bucket *b)
{
    size_t at = (size_t)number * sizeof(*b);

    b->check = shm_bucket_check(e->shape, b, number);
    touch(e, at, sizeof(*b));
    memcpy(body(e) + at, b, sizeof(*b));
}

/* A slot for a new name: in the first bucket with room, from its home on. */
static int slot_add(struct shm_edit *e, struct str name, uint64_t at)
{
    uint64_t hash = shm_name_hash(e->shape, name);
    struct shm_image image = image_of(e);

    for (uint32_t i = 0; i < SHM_PROBES; i++) {
        uint32_t number = ((uint32_t)hash + i) & (e->shape->buckets - 1);
        struct shm_bucket b;
        int r = shm_image_bucket(&image, number, &b);

        if (r)
            return r;
        if (b.n < SHM_SLOTS) {
            b.slots[b.n++] = (struct shm_slot){(uint32_t)(hash >> 32), (uint32_t)(at / 8)};
            bucket_store(e, number, &b);
            return 0;
        }
        if (!b.passed) {
            b.passed = 1;
            bucket_store(e, number, &b);
        }
    }
    return SHM_FULL;
}

/* Takes the slot out (at is NULL), or gives it another record. */
static int slot_change(struct shm_edit *e, const struct shm_place *place, const uint64_t *at)
{
    struct shm_image image = image_of(e);
    struct shm_bucket b;
    int r = shm_image_bucket(&image, place->bucket, &b);

    if (r)
        return r;
    if (at) {
        b.slots[place->slot].at = (uint32_t)(*at / 8);
    } else {
        b.slots[place->slot] = b.slots[--b.n];
        b.slots[b.n] = (struct shm_slot){0, 0};
    }
    bucket_store(e, place->bucket, &b);
    return 0;
}

/* ---- records ---- */

static uint64_t round8(uint64_t n)
{
    return (n + 7) / 8 * 8;
}

uint64_t shm_record_bytes(struct str name, struct str json)
{
    struct str trimmed = str_trim(json);
    bool has_text =
        trimmed.len && trimmed.data[0] == '"'; /* what it says is no longer than itself */

    return round8(sizeof(struct shm_record_head) + (uint64_t)name.len + (uint64_t)json.len +
                  (has_text ? trimmed.len : 0) + 3);
}

static uint64_t scalar_of(const struct shm_value *v)
{
    uint64_t bits;

    if (v->type != SHM_VALUE_FLOAT)
        return (uint64_t)v->integer;
    memcpy(&bits, &v->number, sizeof(bits));
    return bits;
}

/* A record on its way: its head without size and check, and its texts. */
struct draft {
    struct shm_record_head head;
    struct str name, json, text;
    uint64_t need;
};

static int draft_make(struct draft *d, struct arena *a, struct str name, struct str json)
{
    struct shm_value v = shm_value_parse(a, json);

    if (arena_failed(a))
        return ERR_NOMEM;
    d->name = name;
    d->json = json;
    d->text = v.text && v.text != v.json ? str_c(v.text) : STR_NULL;
    d->need = round8(sizeof(d->head) + name.len + json.len + d->text.len + 3);
    if (d->need > INT32_MAX)
        return SHM_FULL;
    d->head = (struct shm_record_head){.name_len = (uint32_t)name.len,
                                       .json_len = (uint32_t)json.len,
                                       .text_len = (uint32_t)d->text.len,
                                       .type = (uint8_t)v.type,
                                       .text_is_json = v.text && v.text == v.json,
                                       .scalar = scalar_of(&v)};
    return 0;
}

static char *put_text(char *at, struct str text)
{
    (void)str_keep(&at, text);
    *at++ = '\0';
    return at;
}

static void record_store(struct shm_edit *e, const struct draft *d, uint64_t at, uint32_t size)
{
    struct shm_record_head head = d->head;
    char *begin = (char *)body(e) + shm_buckets_bytes(e->shape) + at, *end;

    head.size = size;
    touch(e, shm_buckets_bytes(e->shape) + at, size);
    end = put_text(begin + sizeof(head), d->name);
    end = put_text(end, d->json);
    end = put_text(end, d->text);
    memset(end, 0, (size_t)(begin + size - end));
    head.check = shm_record_check(e->shape, &head, at,
                                  str_of(begin + sizeof(head), size - sizeof(head)));
    memcpy(begin, &head, sizeof(head));
    e->facts.record_sum += head.check;
}

static bool heap_take(struct shm_edit *e, uint64_t size, uint64_t *ret_at)
{
    if (e->facts.heap_used > e->shape->heap_bytes ||
        size > e->shape->heap_bytes - e->facts.heap_used)
        return false;
    *ret_at = e->facts.heap_used;
    e->facts.heap_used += size;
    return true;
}

static int put_new(struct shm_edit *e, const struct draft *d)
{
    uint64_t at;
    int r;

    if (!heap_take(e, d->need, &at))
        return SHM_FULL;
    r = slot_add(e, d->name, at);
    if (r)
        return r;
    record_store(e, d, at, (uint32_t)d->need);
    e->facts.count++;
    return 0;
}

static int put_over(struct shm_edit *e, const struct draft *d, const struct shm_record *old,
                    const struct shm_place *place)
{
    uint64_t at = old->at;
    uint32_t size = old->size;
    int r;

    e->facts.record_sum -= old->check;
    if (d->need > size) {
        e->facts.heap_dead += size;
        if (!heap_take(e, d->need, &at))
            return SHM_FULL;
        size = (uint32_t)d->need;
        r = slot_change(e, place, &at);
        if (r)
            return r;
    }
    record_store(e, d, at, size);
    return 0;
}

int shm_edit_put(struct shm_edit *e, struct str name, struct str json, bool *ret_changed)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct shm_image image = image_of(e);
    struct shm_place place;
    struct shm_record old;
    struct draft d;
    int there = shm_image_find(&image, name, &old, &place), r;

    if (there < 0)
        return there;
    if (there && str_eq(str_of(old.value.json, old.json_len), json))
        return 0;
    r = draft_make(&d, &a, name, json);
    if (!r)
        r = there ? put_over(e, &d, &old, &place) : put_new(e, &d);
    if (!r && ret_changed)
        *ret_changed = true;
    return r;
}

int shm_edit_drop(struct shm_edit *e, struct str name)
{
    struct shm_image image = image_of(e);
    struct shm_place place;
    struct shm_record old;
    int r = shm_image_find(&image, name, &old, &place);

    if (r <= 0)
        return r;
    e->facts.count--;
    e->facts.record_sum -= old.check;
    e->facts.heap_dead += old.size;
    return slot_change(e, &place, NULL);
}

/* ---- the whole ---- */

static void begin_writing(struct shm_edit *e)
{
    struct shm_half *h = (struct shm_half *)(void *)e->half;
    uint64_t sequence = atomic_load_explicit(&h->sequence, memory_order_relaxed);

    atomic_store_explicit(&h->sequence, sequence | 1, memory_order_relaxed);
    shm_fence_release(); /* whoever sees what follows sees this */
}

static void copy_page(struct shm_edit *e, const unsigned char *other, size_t page)
{
    size_t at = e->shape->body_at + page * SHM_PAGE;
    const uint64_t *from = (const uint64_t *)(const void *)(other + SHM_PAGE);

    __atomic_store_n(&stamps(e)[page], from[page], __ATOMIC_RELAXED);
    shm_fence_release(); /* as in touch() */
    memcpy(e->half + at, other + at, SHM_PAGE);
}

static void catch_up(struct shm_edit *e, const unsigned char *other)
{
    struct shm_pages *p = e->touched;

    for (size_t page = 0; p->all && page < e->shape->pages; page++)
        copy_page(e, other, page);
    for (size_t i = 0; !p->all && i < p->list.n; i++)
        copy_page(e, other, p->list.at[i]);
    p->all = false;
    p->list.n = 0;
}

void shm_edit_begin(struct shm_edit *e, const struct shm_shape *shape, unsigned char *half,
                    const struct shm_facts *facts, const unsigned char *other,
                    struct shm_pages *touched)
{
    *e = (struct shm_edit){.shape = shape, .half = half, .facts = *facts, .touched = touched};
    begin_writing(e);
    catch_up(e, other);
}

void shm_edit_begin_empty(struct shm_edit *e, const struct shm_shape *shape,
                          unsigned char *half, const struct shm_facts *facts,
                          struct shm_pages *touched)
{
    *e = (struct shm_edit){.shape = shape, .half = half, .touched = touched};
    e->facts.generation = facts->generation;
    e->facts.revision = facts->revision;
    touched->list.n = 0;
    touched->all = true; /* what was there is not known */
    begin_writing(e);
    memset(stamps(e), 0, shape->pages * sizeof(uint64_t));
    for (uint32_t number = 0; number < shape->buckets; number++) {
        struct shm_bucket empty = {0};

        bucket_store(e, number, &empty);
    }
}

void shm_edit_end(struct shm_edit *e)
{
    struct shm_half *h = (struct shm_half *)(void *)e->half;
    uint64_t sequence = atomic_load_explicit(&h->sequence, memory_order_relaxed);

    memcpy(&h->facts, &e->facts, sizeof(h->facts));
    h->check = shm_facts_check(e->shape, &e->facts);
    atomic_store_explicit(&h->sequence, sequence + 1, memory_order_release);
}

/*
 * Looking up, walking and proving. See image.h.
 *
 * What decides about a further access is first copied to where nobody else writes, so that it is what was checked.
 */
#include "shm/image.h"

int shm_image_bucket(const struct shm_image *im, uint32_t number, struct shm_bucket *ret)
{
    memcpy(ret, im->body + (size_t)number * sizeof(*ret), sizeof(*ret));
    __asm__ volatile("" : : : "memory"); /* not read again */
    if (ret->check != shm_bucket_check(im->shape, ret, number) || ret->n > SHM_SLOTS)
        return ERR_CORRUPT;
    return 0;
}

/* Whether the lengths that a record states lie within it, and it in the heap. */
static bool record_is_bounded(const struct shm_shape *s, const struct shm_record_head *h,
                              uint64_t at)
{
    uint64_t need = sizeof(*h) + (uint64_t)h->name_len + h->json_len + h->text_len +
                    3; /* with their NULs */

    return h->size % 8 == 0 && at + h->size <= s->heap_bytes && need <= h->size &&
           h->type <= SHM_VALUE_TYPE_LAST;
}

/* The texts are C strings also for whoever does not look at their lengths. */
static bool texts_are_closed(const struct shm_record_head *h, const char *bytes)
{
    const char *json = bytes + h->name_len + 1, *text = json + h->json_len + 1;

    return bytes[h->name_len] == '\0' && json[h->json_len] == '\0' && text[h->text_len] == '\0';
}

static void describe(const struct shm_record_head *h, const char *bytes, uint64_t at,
                     struct shm_record *r)
{
    const char *json = bytes + h->name_len + 1;

    *r = (struct shm_record){.name = str_of(bytes, h->name_len),
                             .value = {.type = (enum shm_value_type)h->type, .json = json},
                             .json_len = h->json_len,
                             .text_len = h->text_is_json ? h->json_len : h->text_len,
                             .check = h->check,
                             .at = at,
                             .size = h->size};
    if (r->value.type == SHM_VALUE_TEXT) {
        r->value.text = h->text_is_json ? json : json + h->json_len + 1;
    } else if (r->value.type == SHM_VALUE_FLOAT) {
        memcpy(&r->value.number, &h->scalar, sizeof(h->scalar));
    } else if (r->value.type != SHM_VALUE_NONE) {
        r->value.integer = (int64_t)h->scalar;
        r->value.number = r->value.type == SHM_VALUE_INT ? (double)r->value.integer : 0;
    }
}

int shm_image_record(const struct shm_image *im, const struct shm_slot *slot,
                     struct shm_record *ret)
{
    const struct shm_shape *s = im->shape;
    uint64_t at = (uint64_t)slot->at * 8;
    const char *bytes = (const char *)im->body + shm_buckets_bytes(s) + at;
    struct shm_record_head h;

    if (at + sizeof(h) > s->heap_bytes)
        return ERR_CORRUPT;
    memcpy(&h, bytes, sizeof(h));
    __asm__ volatile("" : : : "memory"); /* not read again */
    if (!record_is_bounded(s, &h, at) ||
        h.check != shm_record_check(s, &h, at, str_of(bytes + sizeof(h), h.size - sizeof(h))) ||
        !texts_are_closed(&h, bytes + sizeof(h)))
        return ERR_CORRUPT;
    describe(&h, bytes + sizeof(h), at, ret);
    return 0;
}

/* In one bucket: 1 there, 0 not there. */
static int find_in(const struct shm_image *im, const struct shm_bucket *b, struct str name,
                   uint32_t tag, struct shm_record *ret, unsigned *ret_slot)
{
    for (unsigned i = 0; i < b->n; i++) {
        if (b->slots[i].tag != tag)
            continue;
        if (shm_image_record(im, &b->slots[i], ret))
            return ERR_CORRUPT;
        *ret_slot = i;
        if (str_eq(ret->name, name))
            return 1;
    }
    return 0;
}

int shm_image_find(const struct shm_image *im, struct str name, struct shm_record *ret,
                   struct shm_place *ret_place)
{
    uint64_t hash = shm_name_hash(im->shape, name);
    uint32_t mask = im->shape->buckets - 1;

    for (uint32_t i = 0; i < SHM_PROBES; i++) {
        uint32_t number = ((uint32_t)hash + i) & mask;
        struct shm_bucket b;
        unsigned slot = 0;
        int r = shm_image_bucket(im, number, &b);

        if (!r)
            r = find_in(im, &b, name, (uint32_t)(hash >> 32), ret, &slot);
        if (r == 1 && ret_place)
            *ret_place = (struct shm_place){number, slot};
        if (r || !b.passed)
            return r;
    }
    return 0;
}

int shm_image_each(const struct shm_image *im, shm_record_fn *fn, void *ctx)
{
    for (uint32_t number = 0; number < im->shape->buckets; number++) {
        struct shm_bucket b;
        int r = shm_image_bucket(im, number, &b);

        for (unsigned i = 0; !r && i < b.n; i++) {
            struct shm_record record;

            r = shm_image_record(im, &b.slots[i], &record);
            if (!r)
                r = fn(ctx, &record);
        }
        if (r)
            return r;
    }
    return 0;
}

struct tally {
    uint64_t count, sum;
};

static int count(void *ctx, const struct shm_record *r)
{
    struct tally *t = ctx;

    t->count++;
    t->sum += r->check;
    return 0;
}

int shm_image_prove(const struct shm_image *im, const struct shm_facts *facts, struct err *err)
{
    struct tally t = {0, 0};

    if (shm_image_each(im, count, &t))
        return err_set(err, ERR_CORRUPT, "a record or its index is not what was written");
    if (t.count != facts->count || t.sum != facts->record_sum)
        return err_set(err, ERR_CORRUPT,
                       "the records are not those that were written together");
    return 0;
}

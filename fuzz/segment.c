/*
 * A segment whose bytes are anything: a file as it is mapped, and a body whose checks are right, so that what lies behind
 * them is reached. No read may leave the bytes, and what was found must be found again.
 */
#include "shm/reader.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAP_BYTES = 8192 };

static void take_all(void *ctx, const struct shm_record *r)
{
    uint64_t *sum = ctx;

    *sum += hash_seeded(r->name) + hash_seeded(str_of(r->value.json, r->json_len));
    if (r->value.text)
        *sum += hash_seeded(str_of(r->value.text, r->text_len));
}

/* ---- a whole file ---- */

static void read_map(struct shm_map *m)
{
    struct shm_copy *c = shm_copy_new(m);
    struct shm_facts facts;
    uint64_t sum = 0;

    (void)!shm_map_read(m, STR("a"), take_all, &sum, NULL);
    (void)!shm_map_facts(m, &facts);
    if (c && shm_copy_follow(c, m) == 0) {
        struct shm_image image = shm_copy_image(c);

        (void)!shm_image_prove(&image, &c->facts, NULL);
    }
    (void)shm_copy_free(c);
}

/* The head's own check is put right, so that the fuzzer need not guess it. */
static void try_file(const uint8_t *data, size_t size)
{
    int fd = memfd_create("segment", MFD_CLOEXEC);
    struct shm_head head;
    struct shm_map *m;

    if (size >= sizeof(head)) {
        memcpy(&head, data, sizeof(head));
        memcpy(head.magic, SHM_MAGIC, sizeof(head.magic));
        head.check = shm_head_check(&head);
    }
    if (fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, data, size) == (ssize_t)size &&
        (size < sizeof(head) || pwrite(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head)) &&
        ftruncate(fd, (off_t)((size + SHM_PAGE - 1) / SHM_PAGE * SHM_PAGE)) == 0 &&
        shm_map_fd(fd, &m, NULL) == 0) {
        read_map(m);
        (void)shm_map_close(m);
    }
    (void)close(fd);
}

/* ---- a body ---- */

static void right_record(const struct shm_shape *s, unsigned char *body, uint64_t at)
{
    struct shm_record_head h;
    char *bytes = (char *)body + shm_buckets_bytes(s) + at;

    if (at + sizeof(h) > s->heap_bytes)
        return;
    memcpy(&h, bytes, sizeof(h));
    if (h.size < sizeof(h) || at + h.size > s->heap_bytes)
        return;
    h.check = shm_record_check(s, &h, at, str_of(bytes + sizeof(h), h.size - sizeof(h)));
    memcpy(bytes, &h.check, sizeof(h.check));
}

static void right_bucket(const struct shm_shape *s, unsigned char *body, uint32_t number)
{
    struct shm_bucket b;

    memcpy(&b, body + number * sizeof(b), sizeof(b));
    for (unsigned i = 0; i < b.n && i < SHM_SLOTS; i++)
        right_record(s, body, (uint64_t)b.slots[i].at * 8);
    b.check = shm_bucket_check(s, &b, number);
    memcpy(body + number * sizeof(b), &b, sizeof(b));
}

static int find_again(void *ctx, const struct shm_record *r)
{
    const struct shm_image *image = ctx;
    struct shm_record other;
    uint64_t sum = 0;

    take_all(&sum, r);
    if (r->name.data[r->name.len] || r->value.json[r->json_len] ||
        (r->value.text && r->value.text[r->text_len]))
        __builtin_trap();
    if (shm_image_find(image, r->name, &other, NULL) == 1 && !str_eq(other.name, r->name))
        __builtin_trap();
    return 0;
}

static void try_body(const uint8_t *data, size_t size)
{
    struct shm_shape s;
    unsigned char *body;
    struct shm_image image;
    struct shm_record r;
    size_t bytes;

    if (!shm_shape_of(SHM_BUCKETS_MIN, HEAP_BYTES, 0x5eed, &s))
        __builtin_trap();
    bytes = s.pages * SHM_PAGE;
    body = calloc(1, bytes); /* exactly as large, so that a step over the end is seen */
    if (!body)
        return;
    /* the first half of the input goes to the buckets, the other to the heap */
    memcpy(body, data, MIN(size / 2, shm_buckets_bytes(&s)));
    memcpy(body + shm_buckets_bytes(&s), data + size / 2, MIN(size - size / 2, s.heap_bytes));
    for (uint32_t number = 0; number < s.buckets; number++)
        right_bucket(&s, body, number);
    image = (struct shm_image){&s, body};
    (void)!shm_image_each(&image, find_again, &image);
    (void)!shm_image_find(&image, str_of(data, MIN(size, (size_t)8)), &r, NULL);
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 100000)
        return 0;
    if (data[0] & 1)
        try_file(data + 1, size - 1);
    else
        try_body(data + 1, size - 1);
    return 0;
}

/*
 * Mapping, reading in place, copying. See reader.h.
 */
#include "shm/reader.h"

#include "base/alloc.h"
#include "shm/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SAME_MAX =
        100, /* beginnings at one generation that lead nowhere: no writer does that, damaged bytes do */
    TRIES_MAX = 1 << 20
};

/* ---- opening ---- */

/* The shape of a file from its head, which is copied first: what was proved is what is used. */
static int prove_head(const struct shm_head *head, size_t file_bytes, struct shm_shape *ret,
                      struct err *err)
{
    uint64_t key;
    struct shm_head h;

    memcpy(&h, head, offsetof(struct shm_head, generation));
    if (memcmp(h.magic, SHM_MAGIC, sizeof(h.magic)) != 0)
        return err_set(err, ERR_CORRUPT, "it is no segment");
    if (h.layout != SHM_LAYOUT)
        return err_set(err, ERR_UNSUPPORTED,
                       "it has layout %u, and this program reads layout %d", h.layout,
                       SHM_LAYOUT);
    memcpy(&key, h.id, sizeof(key));
    if (h.check != shm_head_check(&h) || !shm_shape_of(h.buckets, h.heap_bytes, key, ret))
        return err_set(err, ERR_CORRUPT, "its head is not what was written");
    if (ret->file_bytes != file_bytes)
        return err_set(err, ERR_CORRUPT, "it has %zu bytes instead of %zu", file_bytes,
                       ret->file_bytes);
    return 0;
}

/* Only a file that nobody but its owner may change is believed. */
static int prove_file(int fd, struct stat *st, struct err *err)
{
    if (fstat(fd, st))
        return err_set_errno(err, "cannot look at it");
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_CORRUPT, "it is no file");
    if (st->st_mode & (S_IWGRP | S_IWOTH)) {
        (void)err_set(err, ERR_DENIED, "others than its owner may write to it (mode %03o)",
                      st->st_mode & 0777u);
        err_hint(err, "give the segment a mode such as 0640");
        return ERR_DENIED;
    }
    if (st->st_size < SHM_PAGE)
        return err_set(err, ERR_CORRUPT, "it has only %lld bytes", (long long)st->st_size);
    return 0;
}

static int open_file(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

    if (fd >= 0)
        return fd;
    if (errno == ENOENT || errno == ENOTDIR)
        return err_set(err, ERR_NOT_FOUND, "there is no such file");
    if (errno == EACCES || errno == EPERM)
        return err_set(err, ERR_DENIED, "this program may not read it");
    if (errno == ELOOP)
        return err_set(err, ERR_DENIED, "it is a symbolic link");
    return err_set_errno(err, "cannot open it");
}

/* Bytes of an earlier boot may have been torn by the end of it, page by page: all of them are looked at. */
static int prove_survivor(struct shm_map *m, struct err *err)
{
    unsigned char now[SHM_ID_BYTES];
    struct shm_copy *copy;
    int r;

    if (shm_boot_id(now) && memcmp(now, shm_map_head(m)->boot, sizeof(now)) == 0)
        return 0;
    copy = shm_copy_new(m);
    r = copy ? shm_copy_follow(copy, m) : err_set(err, ERR_NOMEM, "out of memory");
    if (!r) {
        struct shm_image image = shm_copy_image(copy);

        r = shm_image_prove(&image, &copy->facts, err);
    } else if (r == ERR_CORRUPT) {
        (void)err_set(err, r, "its bytes are not what was written");
    }
    (void)shm_copy_free(copy);
    return r;
}

int shm_map_fd(int fd, struct shm_map **ret, struct err *err)
{
    struct shm_map *m = NULL;
    struct shm_shape shape;
    struct stat st;
    void *at;
    int r = prove_file(fd, &st, err);

    *ret = NULL;
    if (r)
        return r;
    at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return err_set_errno(err, "cannot map it");
    r = prove_head(at, (size_t)st.st_size, &shape, err);
    if (!r) {
        m = NEW(struct shm_map);
        if (!m)
            r = err_set(err, ERR_NOMEM, "out of memory");
    }
    if (r) {
        (void)munmap(at, (size_t)st.st_size);
        return r;
    }
    m->at = at;
    m->shape = shape;
    m->device = st.st_dev;
    m->inode = st.st_ino;
    r = prove_survivor(m, err);
    if (r)
        m = shm_map_close(m);
    *ret = m;
    return r;
}

int shm_map_open(const char *path, struct shm_map **ret, struct err *err)
{
    int fd = open_file(path, err), r;

    *ret = NULL;
    r = fd < 0 ? fd : shm_map_fd(fd, ret, err);
    if (fd >= 0)
        (void)close(fd); /* the mapping stays */
    if (r)
        err_place(err, "%s", path);
    return r;
}

struct shm_map *shm_map_close(struct shm_map *m)
{
    if (m)
        (void)munmap((void *)(uintptr_t)m->at, m->shape.file_bytes);
    return mem_free(m);
}

bool shm_map_is_replaced(const struct shm_map *m, const char *path)
{
    struct stat st;

    return lstat(path, &st) != 0 || st.st_dev != m->device || st.st_ino != m->inode;
}

/* ---- reading in place ---- */

/* A section in which one half is read. */
struct section {
    const struct shm_half *half;
    uint64_t generation, sequence;
};

/* False: the words that lead to the half do not fit together, for the writer switched between them, or for ever. */
static inline bool section_begin(const struct shm_map *m, struct section *s)
{
    const struct shm_head *head = shm_map_head(m);
    uint64_t is;

    s->generation = atomic_load_explicit(&head->generation, memory_order_acquire);
    s->half = (const void *)(m->at + shm_half_at(&m->shape, s->generation));
    s->sequence = atomic_load_explicit(&s->half->sequence, memory_order_acquire);
    is = __atomic_load_n(&s->half->facts.generation, __ATOMIC_ACQUIRE);
    if (s->sequence & 1)
        return false;
    /* the last word of a file that moved raises its generation over the half's */
    return is == s->generation || (is + 2 == s->generation &&
                                   atomic_load_explicit(&head->moved, memory_order_acquire));
}

/* How often it was tried in vain. */
struct tries {
    uint64_t generation;
    unsigned same, all;
};

/* Whether a writer may be the reason that it was in vain: it made a step since the last time. */
static bool is_worth_another(struct tries *t, const struct section *s)
{
    t->same = s->generation == t->generation ? t->same + 1 : 0;
    t->generation = s->generation;
    return t->same < SAME_MAX && ++t->all < TRIES_MAX;
}

static inline bool section_end(const struct section *s)
{
    shm_fence_acquire();
    return atomic_load_explicit(&s->half->sequence, memory_order_relaxed) == s->sequence;
}

static struct shm_image image_of(const struct shm_map *m, const struct section *s)
{
    return (struct shm_image){&m->shape, (const unsigned char *)s->half + m->shape.body_at};
}

static int damaged(struct shm_map *m)
{
    atomic_store_explicit(&m->is_damaged, true, memory_order_relaxed);
    return ERR_CORRUPT;
}

int shm_map_read(struct shm_map *m, struct str name, shm_take_fn *fn, void *ctx,
                 uint64_t *ret_generation)
{
    struct tries tries = {0};
    struct section s;

    do {
        struct shm_image image;
        struct shm_record record;
        int r;

        if (!section_begin(m, &s))
            continue;
        image = image_of(m, &s);
        r = shm_image_find(&image, name, &record, NULL);
        if (r == 1)
            fn(ctx, &record);
        if (!section_end(&s))
            continue;
        if (ret_generation)
            *ret_generation = s.generation;
        return r < 0 ? damaged(m) : r;
    } while (is_worth_another(&tries, &s));
    return damaged(m);
}

int shm_map_facts(struct shm_map *m, struct shm_facts *ret)
{
    struct tries tries = {0};
    struct section s;

    do {
        uint64_t check;

        if (!section_begin(m, &s))
            continue;
        memcpy(ret, &s.half->facts, sizeof(*ret));
        check = s.half->check;
        if (section_end(&s))
            return check == shm_facts_check(&m->shape, ret) ? 0 : damaged(m);
    } while (is_worth_another(&tries, &s));
    return damaged(m);
}

/* ---- waiting ---- */

static const uint32_t *futex_word(const struct shm_head *head)
{
    const uint32_t *words = (const uint32_t *)(uintptr_t)&head->generation;

    return words + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

void shm_wait(const struct shm_head *head, uint64_t generation, nsec_t timeout)
{
    struct timespec t = {(time_t)(timeout / NSEC_PER_S), (long)(timeout % NSEC_PER_S)};

    /* whatever ended it, the caller looks again */
    (void)syscall(SYS_futex, futex_word(head), FUTEX_WAIT, (uint32_t)generation, &t, NULL, 0);
}

void shm_wake(const struct shm_head *head)
{
    (void)syscall(SYS_futex, futex_word(head), FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* ---- copies ---- */

struct shm_copy *shm_copy_new(const struct shm_map *m)
{
    struct shm_copy *c = NEW(struct shm_copy);

    if (!c)
        return NULL;
    c->shape = m->shape;
    c->body =
        mem_zalloc(m->shape.pages * SHM_PAGE); /* pages that were never written have no stamp */
    c->stamps = mem_zalloc(m->shape.pages * sizeof(*c->stamps));
    return c->body && c->stamps ? c : shm_copy_free(c);
}

struct shm_copy *shm_copy_clone(const struct shm_copy *other)
{
    struct shm_copy *c = NEW(struct shm_copy);
    size_t stamps = other->shape.pages * sizeof(*other->stamps);

    if (!c)
        return NULL;
    *c = (struct shm_copy){.shape = other->shape, .facts = other->facts};
    c->body = mem_alloc_array(c->shape.pages, SHM_PAGE);
    c->stamps = mem_alloc(stamps);
    if (!c->body || !c->stamps)
        return shm_copy_free(c);
    memcpy(c->body, other->body, c->shape.pages * SHM_PAGE);
    memcpy(c->stamps, other->stamps, stamps);
    return c;
}

struct shm_copy *shm_copy_free(struct shm_copy *c)
{
    if (c) {
        (void)mem_free(c->body);
        (void)mem_free(c->stamps);
    }
    return mem_free(c);
}

/*
 * One pass over all pages. 1: the writer came by. What was taken over before stays of use: a page that has the stamp of a
 * generation up to that of the section was whole when it was copied, or gets a newer stamp by whoever is writing to it.
 */
static int copy_pass(struct shm_copy *c, const struct section *s, const struct shm_head *head)
{
    const unsigned char *half = (const unsigned char *)s->half;
    const uint64_t *stamps = (const uint64_t *)(const void *)(half + SHM_PAGE);

    for (size_t page = 0; page < c->shape.pages; page++) {
        uint64_t stamp = __atomic_load_n(&stamps[page], __ATOMIC_ACQUIRE);

        if (stamp == c->stamps[page])
            continue;
        if (stamp > s->generation) /* at most the generation that is being written now */
            return stamp > atomic_load(&head->generation) + 1 ? ERR_CORRUPT : 1;
        memcpy(c->body + page * SHM_PAGE, half + c->shape.body_at + page * SHM_PAGE, SHM_PAGE);
        shm_fence_acquire();
        /* whoever wrote to it meanwhile had set the stamp before */
        c->stamps[page] = __atomic_load_n(&stamps[page], __ATOMIC_RELAXED) == stamp ? stamp : 0;
    }
    return 0;
}

static uint64_t stamps_of(const struct shm_copy *c)
{
    uint64_t sum = 0;

    for (size_t page = 0; page < c->shape.pages; page++)
        sum += c->stamps[page] ? shm_stamp_check(&c->shape, page, c->stamps[page]) : 0;
    return sum;
}

static bool copy_is_sound(const struct shm_copy *c, uint64_t check)
{
    return check == shm_facts_check(&c->shape, &c->facts) && c->facts.stamp_sum == stamps_of(c);
}

/* 0: up to date; 1: overtaken; ERR_CORRUPT. */
static int copy_once(struct shm_copy *c, const struct shm_map *m, struct section *s)
{
    uint64_t check;
    int r;

    if (!section_begin(m, s))
        return 1;
    r = copy_pass(c, s, shm_map_head(m));
    if (r)
        return r;
    memcpy(&c->facts, &s->half->facts, sizeof(c->facts));
    check = s->half->check;
    if (!section_end(s))
        return 1;
    return copy_is_sound(c, check) ? 0 : ERR_CORRUPT;
}

int shm_copy_follow(struct shm_copy *c, struct shm_map *m)
{
    struct tries tries = {0};
    struct section s;
    int r;

    do {
        r = copy_once(c, m, &s);
    } while (r == 1 && is_worth_another(&tries, &s));
    if (r == 0)
        return 0;
    memset(c->stamps, 0,
           c->shape.pages * sizeof(*c->stamps)); /* nothing of it is known any more */
    return damaged(m);
}

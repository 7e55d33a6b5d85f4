/*
 * The life of a segment's file, and its changes. See writer.h; the bytes are edit.c's.
 */
#include "shm/writer.h"

#include "base/clock.h"
#include "base/map.h"
#include "shm/boot.h"
#include "shm/edit.h"
#include "shm/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file, mapped to be written. */
struct file {
    unsigned char *at; /* NULL: none */
    struct shm_shape shape;
    struct shm_facts facts; /* of the half that is read: what was written, not what is there */
    dev_t device;
    ino_t inode;
};

struct shm_writer {
    struct shm_writer_opts opts;
    char name[SHM_NAME_MAX + 1];
    char draft[SHM_NAME_MAX + 16]; /* name of a file that is not ready */
    int lock;
    struct file file;
    bool
        is_altered; /* the file that was found is not what was written: it can only be replaced */
    struct shm_pages behind; /* in which the half that is not read differs from the other one */
};

static struct shm_head *head_of(const struct file *f)
{
    return (struct shm_head *)(void *)f->at;
}

static unsigned char *half_of(const struct file *f, uint64_t generation)
{
    return f->at + shm_half_at(&f->shape, generation);
}

/* The values that are read; of no file, nothing that may be read. */
static struct shm_image image_of(const struct file *f)
{
    const unsigned char *body =
        f->at ? half_of(f, f->facts.generation) + f->shape.body_at : NULL;

    return (struct shm_image){&f->shape, body};
}

static void file_unmap(struct file *f)
{
    if (f->at)
        (void)munmap(f->at, f->shape.file_bytes);
    *f = (struct file){0};
}

/* ---- a new file ---- */

/* Mode and owner, on the descriptor: before the file has its name, or to put them right. */
static int set_rights(const struct shm_writer *w, int fd, struct err *err)
{
    if (fchown(fd, w->opts.owner, w->opts.group))
        return err_set_errno(err, "cannot give %s to user %lld and group %lld", w->name,
                             (long long)(int)w->opts.owner, (long long)(int)w->opts.group);
    if (fchmod(fd, w->opts.mode))
        return err_set_errno(err, "cannot give %s the mode %03o", w->name,
                             (unsigned)w->opts.mode);
    return 0;
}

/* A file of its whole size: a write to the mapping must never find the disk full. */
static int make_file(const struct shm_writer *w, const struct shm_shape *shape, int *ret_fd,
                     struct err *err)
{
    int fd, r;

    fd = openat(w->opts.folder, w->draft, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                0600);
    if (fd < 0)
        return err_set_errno(err, "cannot make a file beside %s", w->name);
    do {
        r = posix_fallocate(fd, 0, (off_t)shape->file_bytes);
    } while (r == EINTR);
    if (r) {
        errno = r;
        (void)err_set_errno(err, "cannot make %s of %zu bytes", w->name, shape->file_bytes);
        (void)close(fd);
        (void)unlinkat(w->opts.folder, w->draft, 0);
        return ERR_IO;
    }
    *ret_fd = fd;
    return 0;
}

static int map_file(int fd, const struct shm_shape *shape, struct file *f, struct err *err)
{
    struct stat st;
    void *at;

    if (fstat(fd, &st))
        return err_set_errno(err, "cannot look at the new segment");
    at = mmap(NULL, shape->file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return err_set_errno(err, "cannot map the new segment");
    *f = (struct file){.at = at, .shape = *shape, .device = st.st_dev, .inode = st.st_ino};
    return 0;
}

static int write_head(struct file *f, const unsigned char id[SHM_ID_BYTES])
{
    struct shm_head *h = head_of(f);

    memcpy(h->magic, SHM_MAGIC, sizeof(h->magic));
    h->layout = SHM_LAYOUT;
    h->buckets = f->shape.buckets;
    h->heap_bytes = f->shape.heap_bytes;
    memcpy(h->id, id, SHM_ID_BYTES);
    if (!shm_boot_id(h->boot))
        memset(h->boot, 0, sizeof(h->boot));
    h->check = shm_head_check(h);
    return 0;
}

static int make(const struct shm_writer *w, struct shm_shape shape, struct file *f,
                struct err *err)
{
    unsigned char id[SHM_ID_BYTES];
    int fd = -1, r = random_bytes(id, sizeof(id));

    if (r)
        return err_set(err, r, "the system has no random numbers");
    memcpy(&shape.key, id, sizeof(shape.key));
    r = make_file(w, &shape, &fd, err);
    if (r)
        return r;
    r = map_file(fd, &shape, f, err);
    if (!r)
        r = set_rights(w, fd, err);
    (void)close(fd); /* the mapping stays, and nothing was written by the descriptor */
    if (!r)
        return write_head(f, id);
    file_unmap(f);
    (void)unlinkat(w->opts.folder, w->draft, 0);
    return r;
}

/* ---- switching ---- */

static void leave(struct file *f)
{
    struct shm_head *h = head_of(f);

    if (f->at) {
        atomic_store(&h->moved, 1);
        atomic_fetch_add(&h->generation, 2);
        shm_wake(h);
    }
    file_unmap(f);
}

/* Whether the name still leads to this file: readers that come now would open another one, or none. */
static bool has_name(const struct shm_writer *w)
{
    struct stat st;

    return fstatat(w->opts.folder, w->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           st.st_dev == w->file.device && st.st_ino == w->file.inode;
}

/* Whether somebody has cut the file short: whoever touches what is missing is ended by SIGBUS. */
static bool is_cut(const struct shm_writer *w)
{
    struct stat st;

    return has_name(w) && fstatat(w->opts.folder, w->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           (uint64_t)st.st_size < w->file.shape.file_bytes;
}

/* The new file takes the name; readers of the old one are sent to it. */
static int take_name(struct shm_writer *w, struct file *f, struct err *err)
{
    bool was_cut = w->file.at && is_cut(w);

    if (renameat(w->opts.folder, w->draft, w->opts.folder, w->name)) {
        (void)err_set_errno(err, "cannot give the new segment the name %s", w->name);
        file_unmap(f);
        (void)unlinkat(w->opts.folder, w->draft, 0);
        return ERR_IO;
    }
    if (was_cut)
        file_unmap(&w->file);
    else
        leave(&w->file);
    w->file = *f;
    w->is_altered = false;
    w->behind.all = true;
    return 0;
}

/* The other half is closed: should the index ever lead there by accident, nobody takes older values for these. */
static void switch_to(struct file *f, const struct shm_facts *facts)
{
    struct shm_half *other = (struct shm_half *)(void *)half_of(f, facts->generation + 1);

    f->facts = *facts;
    atomic_store(&head_of(f)->generation, facts->generation);
    atomic_fetch_or(&other->sequence, 1);
    shm_wake(head_of(f));
}

/* A first generation that no file of this name had: by chance, so that no reader takes it for the one that it knows. */
static int first_generation(uint64_t *ret, struct err *err)
{
    if (random_bytes(ret, sizeof(*ret)))
        return err_set(err, ERR_IO, "the system has no random numbers");
    *ret = (*ret >> 2) + 1; /* far from where it would begin anew */
    return 0;
}

/* ---- a whole half anew ---- */

/* What is to stand in a new half: the records of another one (or none), with these changes. */
struct content {
    const struct shm_image *base;
    const struct shm_item *items;
    size_t n;
    uint64_t revision;
};

static int put_record(void *ctx, const struct shm_record *r)
{
    return shm_edit_put(ctx, r->name, str_of(r->value.json, r->json_len), NULL);
}

static int put_items(struct shm_edit *e, const struct content *c)
{
    int r = 0;

    for (size_t i = 0; !r && i < c->n; i++)
        r = c->items[i].is_drop ? shm_edit_drop(e, c->items[i].name)
                                : shm_edit_put(e, c->items[i].name, c->items[i].json, NULL);
    return r;
}

static int fill(struct file *f, const struct content *c, uint64_t generation,
                struct shm_pages *touched)
{
    struct shm_facts facts = {.generation = generation, .revision = c->revision};
    struct shm_edit e;
    int r;

    shm_edit_begin_empty(&e, &f->shape, half_of(f, generation), &facts, touched);
    r = c->base ? shm_image_each(c->base, put_record, &e) : 0;
    if (!r)
        r = put_items(&e, c);
    if (r)
        return r;
    shm_edit_end(&e);
    switch_to(f, &e.facts);
    return 0;
}

struct needs {
    uint64_t records, bytes;
};

static int add_record(void *ctx, const struct shm_record *r)
{
    struct needs *n = ctx;

    n->records++;
    n->bytes += r->size;
    return 0;
}

/* The shape for a content; what it drops counts too, so that a segment does not shrink by the last bytes. */
static int shape_of(const struct shm_writer *w, const struct content *c, uint64_t factor,
                    struct shm_shape *ret, struct err *err)
{
    struct needs n = {c->n, 0};
    int r = c->base ? shm_image_each(c->base, add_record, &n) : 0;

    if (r)
        return err_set(err, r, "the segment %s was altered", w->name);
    for (size_t i = 0; i < c->n; i++)
        n.bytes += shm_record_bytes(c->items[i].name, c->items[i].json);
    if (shm_shape_for(n.records * factor, n.bytes * factor, 0, ret) &&
        ret->file_bytes <= w->opts.max_bytes)
        return 0;
    (void)err_set(err, ERR_LIMIT, "%llu items of %llu bytes do not fit into the segment %s",
                  (unsigned long long)n.records, (unsigned long long)n.bytes, w->name);
    err_hint(err, "raise its limit of %llu bytes", (unsigned long long)w->opts.max_bytes);
    return ERR_LIMIT;
}

/* Everything into a new file; twice as large again if names happen to fall together. */
static int write_anew(struct shm_writer *w, const struct content *c, struct err *err)
{
    uint64_t generation = w->file.facts.generation + 4; /* over what leave() adds */

    if (!shm_writer_has_values(w) && first_generation(&generation, err))
        return ERR_IO;
    for (uint64_t factor = 1;; factor *= 2) {
        struct shm_shape shape;
        struct file f = {0};
        int r = shape_of(w, c, factor, &shape, err);

        if (!r)
            r = make(w, shape, &f, err);
        if (r)
            return r;
        r = fill(&f, c, generation, &w->behind);
        if (!r)
            return take_name(w, &f, err);
        file_unmap(&f);
        (void)unlinkat(w->opts.folder, w->draft, 0);
        w->behind.all = true;
        if (r != SHM_FULL)
            return err_set(err, r, "cannot write the segment %s: %s", w->name,
                           err_info(r)->name);
    }
}

/* ---- changing ---- */

static int prove_stamps(const struct shm_shape *shape, const unsigned char *half,
                        const struct shm_facts *facts, struct err *err)
{
    const uint64_t *stamps = (const uint64_t *)(const void *)(half + SHM_PAGE);
    uint64_t sum = 0;

    for (size_t page = 0; page < shape->pages; page++)
        sum += stamps[page] ? shm_stamp_check(shape, page, stamps[page]) : 0;
    return sum == facts->stamp_sum
               ? 0
               : err_set(err, ERR_CORRUPT, "the stamps of the pages were altered");
}

/* That a half holds what the facts say, whoever else may have written to it. */
static int prove_half(const struct shm_shape *shape, const unsigned char *half,
                      const struct shm_facts *facts, struct err *err)
{
    struct shm_image image = {shape, half + shape->body_at};
    int r = prove_stamps(shape, half, facts, err);

    return r ? r : shm_image_prove(&image, facts, err);
}

static void edit_begin(struct shm_writer *w, uint64_t revision, struct shm_edit *e)
{
    struct file *f = &w->file;
    struct shm_facts facts = f->facts;

    facts.generation++;
    facts.revision = revision;
    shm_edit_begin(e, &f->shape, half_of(f, facts.generation), &facts,
                   half_of(f, f->facts.generation), &w->behind);
}

/* Dead records are a good part of a half that is full: it is enough to write it anew. */
static bool is_worth_tidying(const struct shm_writer *w)
{
    return w->file.facts.heap_dead > w->file.shape.heap_bytes / 8;
}

/* The half that is not read is filled from the other one, without its dead records. */
static int tidy(struct shm_writer *w, const struct content *c)
{
    return fill(&w->file, c, w->file.facts.generation + 1, &w->behind);
}

static int make_room(struct shm_writer *w, const struct content *c, struct err *err)
{
    int r = is_worth_tidying(w) ? tidy(w, c) : SHM_FULL;

    w->behind.all = w->behind.all || r != 0;
    if (r == SHM_FULL)
        return write_anew(w, c, err);
    return r ? err_set(err, r, "cannot change the segment %s: %s", w->name, err_info(r)->name)
             : 0;
}

int shm_writer_apply(struct shm_writer *w, const struct shm_item *items, size_t n,
                     uint64_t revision, struct err *err)
{
    struct shm_image image = image_of(&w->file);
    struct content c = {w->file.at ? &image : NULL, items, n, revision};
    struct shm_edit e;
    int r;

    if (w->is_altered)
        return err_set(err, ERR_CORRUPT, "the segment %s was altered", w->name);
    if (!w->file.at || !has_name(w))
        return write_anew(w, &c, err);
    edit_begin(w, revision, &e);
    r = put_items(&e, &c);
    if (!r) {
        shm_edit_end(&e);
        switch_to(&w->file, &e.facts);
        return 0;
    }
    w->behind.all = true; /* what was begun is given up */
    if (r == SHM_FULL)
        r = make_room(w, &c, err);
    else
        (void)err_set(err, r, "cannot change the segment %s: %s", w->name,
                      r == ERR_CORRUPT ? "it was altered" : err_info(r)->name);
    return r;
}

struct leftovers {
    struct map keep;
    struct shm_edit *e;
    VEC(struct str) drop;
};

static int note_leftover(void *ctx, const struct shm_record *r)
{
    struct leftovers *l = ctx;

    if (map_get(&l->keep, r->name))
        return 0;
    return VEC_PUSH(&l->drop, r->name) ? 0 : ERR_NOMEM;
}

/* The names that are there and not among the items go. */
static int drop_others(struct shm_edit *e, const struct content *c)
{
    struct shm_image image = {e->shape, e->half + e->shape->body_at};
    struct leftovers l = {.e = e};
    int r = map_reserve(&l.keep, c->n) ? 0 : ERR_NOMEM;

    for (size_t i = 0; !r && i < c->n; i++)
        if (!map_put(&l.keep, c->items[i].name, l.e, NULL))
            r = ERR_NOMEM;
    if (!r)
        r = shm_image_each(&image, note_leftover, &l);
    for (size_t i = 0; !r && i < l.drop.n; i++)
        r = shm_edit_drop(e, l.drop.at[i]);
    VEC_DEINIT(&l.drop);
    map_deinit(&l.keep);
    return r;
}

int shm_writer_replace(struct shm_writer *w, const struct shm_item *items, size_t n,
                       uint64_t revision, struct err *err)
{
    struct content c = {NULL, items, n, revision};
    struct shm_edit e;
    int r;

    if (shm_writer_prove(w, NULL, NULL, NULL))
        return write_anew(w, &c, err);
    edit_begin(w, revision, &e);
    r = put_items(&e, &c);
    if (!r)
        r = drop_others(&e, &c);
    if (!r)
        r = prove_half(e.shape, e.half, &e.facts,
                       NULL); /* that half was not read since the last change */
    if (!r) {
        shm_edit_end(&e);
        switch_to(&w->file, &e.facts);
        return 0;
    }
    w->behind.all = true; /* what was begun is given up */
    if (r == SHM_FULL || r == ERR_CORRUPT)
        return write_anew(w, &c, err);
    return err_set(err, r, "cannot change the segment %s: %s", w->name, err_info(r)->name);
}

int shm_writer_put_back(struct shm_writer *w, const struct shm_item *items, size_t n,
                        uint64_t revision, struct err *err)
{
    struct content c = {NULL, items, n, revision};
    int r = SHM_FULL;

    if (shm_writer_has_values(w) && has_name(w) && !is_cut(w))
        r = tidy(w, &c);
    w->behind.all = w->behind.all || r != 0;
    if (r == SHM_FULL)
        return write_anew(w, &c, err);
    return r ? err_set(err, r, "cannot change the segment %s: %s", w->name, err_info(r)->name)
             : 0;
}

/* ---- what there is ---- */

bool shm_writer_has_values(const struct shm_writer *w)
{
    return w->file.at && !w->is_altered;
}

uint64_t shm_writer_revision(const struct shm_writer *w)
{
    return shm_writer_has_values(w) ? w->file.facts.revision : 0;
}

static int prove_rights(const struct shm_writer *w, struct err *err)
{
    struct stat st;

    if (!has_name(w) || fstatat(w->opts.folder, w->name, &st, AT_SYMLINK_NOFOLLOW))
        return err_set(err, ERR_CORRUPT, "the name %s leads to another file, or to none",
                       w->name);
    if ((uint64_t)st.st_size < w->file.shape.file_bytes)
        return err_set(err, ERR_CORRUPT, "%s was cut short", w->name);
    if ((st.st_mode & 07777) != w->opts.mode)
        return err_set(err, ERR_CORRUPT, "%s has the mode %03o instead of %03o", w->name,
                       st.st_mode & 07777u, (unsigned)w->opts.mode);
    if ((w->opts.owner != SHM_OWNER_KEEP && st.st_uid != w->opts.owner) ||
        (w->opts.group != SHM_GROUP_KEEP && st.st_gid != w->opts.group))
        return err_set(err, ERR_CORRUPT, "%s belongs to user %u and group %u", w->name,
                       st.st_uid, st.st_gid);
    return 0;
}

/* The words that lead readers to the half. */
static int prove_lead(const struct shm_writer *w, struct err *err)
{
    const struct shm_head *h = head_of(&w->file);
    const struct shm_facts *facts = &w->file.facts;
    const struct shm_half *half =
        (const struct shm_half *)(const void *)half_of(&w->file, facts->generation);
    uint64_t key;

    memcpy(&key, h->id, sizeof(key));
    if (memcmp(h->magic, SHM_MAGIC, sizeof(h->magic)) != 0 || h->layout != SHM_LAYOUT ||
        key != w->file.shape.key || h->check != shm_head_check(h) ||
        atomic_load(&h->generation) != facts->generation || atomic_load(&h->moved))
        return err_set(err, ERR_CORRUPT, "the head of %s was altered", w->name);
    if ((atomic_load(&half->sequence) & 1) ||
        memcmp(&half->facts, facts, sizeof(*facts)) != 0 ||
        half->check != shm_facts_check(&w->file.shape, facts))
        return err_set(err, ERR_CORRUPT, "the head of the half of %s that is read was altered",
                       w->name);
    return 0;
}

int shm_writer_prove(const struct shm_writer *w, shm_record_fn *fn, void *ctx, struct err *err)
{
    struct shm_image image = image_of(&w->file);
    int r;

    if (!w->file.at)
        return err_set(err, ERR_NOT_FOUND, "the segment %s has no values yet", w->name);
    if (w->is_altered)
        return err_set(err, ERR_CORRUPT, "the segment %s was altered", w->name);
    r = prove_rights(w, err);
    if (!r)
        r = prove_lead(w, err);
    if (!r)
        r = prove_half(&w->file.shape, half_of(&w->file, w->file.facts.generation),
                       &w->file.facts, err);
    if (!r && fn)
        r = shm_image_each(&image, fn, ctx);
    return r;
}

/* ---- opening ---- */

static int take_lock(struct shm_writer *w, struct err *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char name[SHM_NAME_MAX + 16];

    (void)snprintf(name, sizeof(name), ".%s.lock", w->name);
    w->lock = openat(w->opts.folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (w->lock < 0)
        return err_set_errno(err, "cannot make the file %s", name);
    if (fcntl(w->lock, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return err_set_errno(err, "cannot lock the file %s", name);
    (void)err_set(err, ERR_LOCKED, "another process writes the segment %s", w->name);
    err_hint(err, "give each agent names of its own");
    return ERR_LOCKED;
}

/* Takes over what is there as far as a reader would believe it. */
static int adopt_fd(struct shm_writer *w, int fd, bool *ret_is_of_this_boot, struct err *err)
{
    unsigned char boot[SHM_ID_BYTES];
    struct shm_shape shape;
    struct shm_facts facts;
    struct shm_map *m;
    struct stat st;
    int r;

    if (fstat(fd, &st) || (st.st_uid != geteuid() && st.st_uid != w->opts.owner))
        return err_set(err, ERR_DENIED, "it belongs to somebody else");
    r = set_rights(w, fd, err);
    if (!r)
        r = shm_map_fd(fd, &m, err);
    if (r)
        return r;
    shape = m->shape;
    *ret_is_of_this_boot =
        shm_boot_id(boot) && memcmp(boot, shm_map_head(m)->boot, sizeof(boot)) == 0;
    if (shm_map_facts(m, &facts) || atomic_load(&shm_map_head(m)->moved))
        r = err_set(err, ERR_CORRUPT, "the head of its half is not what was written");
    (void)shm_map_close(m);
    if (!r)
        r = map_file(fd, &shape, &w->file, err);
    if (r)
        return r;
    w->file.facts = facts;
    return shm_writer_prove(w, NULL, NULL, err);
}

/* Bytes that an earlier boot left are proved once, now: from here on they lie in a file of this boot. */
static int adopt(struct shm_writer *w, struct err *err)
{
    bool is_of_this_boot = true;
    int fd = openat(w->opts.folder, w->name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK), r;

    if (fd < 0)
        return errno == ENOENT ? 0 : err_set_errno(err, "cannot open it");
    r = adopt_fd(w, fd, &is_of_this_boot, err);
    (void)close(fd); /* the mapping stays */
    if (!r && !is_of_this_boot) {
        struct shm_image image = image_of(&w->file);
        struct content c = {&image, NULL, 0, w->file.facts.revision};

        r = write_anew(w, &c, err);
    }
    return r;
}

/* What was not believed is left to its readers, who notice, until there is something to send them to. */
static void give_up(struct shm_writer *w, const struct err *why, struct err *ret_story)
{
    if (ret_story) {
        *ret_story = *why;
        err_place(ret_story, "%s", w->name);
    }
    w->is_altered = true;
}

static int check_opts(const struct shm_writer_opts *o, struct err *err)
{
    size_t len = strlen(o->name);

    if (len == 0 || len > SHM_NAME_MAX || o->name[0] == '.' || strchr(o->name, '/'))
        return err_set(err, ERR_INVALID,
                       "the name of a segment has 1 to %d bytes, no \"/\" and no \".\" first",
                       SHM_NAME_MAX);
    if (o->mode & ~(mode_t)0755)
        return err_set(err, ERR_INVALID,
                       "a segment of mode %03o could be written by others than its owner",
                       (unsigned)o->mode);
    return 0;
}

int shm_writer_open(const struct shm_writer_opts *opts, struct shm_writer **ret,
                    struct err *ret_story, struct err *err)
{
    struct err story = ERR_NULL;
    struct shm_writer *w;
    int r = check_opts(opts, err);

    *ret = NULL;
    if (r)
        return r;
    w = NEW(struct shm_writer);
    if (!w)
        return err_set(err, ERR_NOMEM, "out of memory");
    w->opts = *opts;
    w->behind.all = true;
    (void)snprintf(w->name, sizeof(w->name), "%s", opts->name);
    (void)snprintf(w->draft, sizeof(w->draft), ".%s.new", opts->name);
    r = take_lock(w, err);
    if (r) {
        *ret = shm_writer_close(w);
        return r;
    }
    (void)unlinkat(w->opts.folder, w->draft, 0); /* what a writer that was killed left */
    if (adopt(w, &story))
        give_up(w, &story, ret_story);
    *ret = w;
    return 0;
}

struct shm_writer *shm_writer_close(struct shm_writer *w)
{
    if (!w)
        return NULL;
    file_unmap(&w->file);
    VEC_DEINIT(&w->behind.list);
    if (w->lock >= 0)
        (void)close(w->lock); /* and with it the lock */
    return mem_free(w);
}

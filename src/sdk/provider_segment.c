/*
 * Values from a segment that an agent of this host keeps: read in place, without a thread and without a word to anybody.
 * See client.h, and shm/reader.h for how a read in place is sure.
 *
 * The table that readers find stands for the mapped file. Handles look at the generation in a mapping of the head alone,
 * which has one address for as long as the client is open: when the name leads to another file, the page of that one is put in
 * its place.
 *
 * That it leads to another file is told by `moved` of the older one. Where nobody could tell (the file was removed while
 * no agent ran), readers find out themselves: they look at the name LOOK_NS after the last time.
 */
#include "sdk/client.h"

#include <sys/mman.h>

enum { WAIT_STEP_MS = 5, PROBLEM_MAX = 1024 };
#define LOOK_NS ((nsec_t)250 * NSEC_PER_MS)

struct segment {
    struct trimtab *client;
    char *path;
    void *head; /* a page: the head of the file that is read, zeros before the first */
    _Atomic nsec_t look_at;    /* when to look at the name */
    _Atomic bool was_sent;     /* has looked since the file said that it moved */
    char problem[PROBLEM_MAX]; /* why there is no newer file; guarded by values.mutex */
    pthread_mutex_t copying;   /* guards what follows */
    struct table *copy;        /* the newest; NULL: none yet */
    pthread_t thread;          /* of the watches */
    bool has_thread;
    _Atomic bool stops;
};

static const struct shm_head *head_of(const struct segment *s)
{
    return (const struct shm_head *)s->head;
}

static bool was_moved(const struct segment *s)
{
    return atomic_load_explicit(&head_of(s)->moved, memory_order_relaxed) != 0;
}

/* ---- following the name ---- */

/* The page of the new file's head takes the place of the old one's, at one moment for all threads. */
static int show_head(struct segment *s, const struct shm_map *m, struct err *err)
{
    void *from = (void *)(uintptr_t)m->at;

    /* of nothing of a shared mapping: a second mapping of the same bytes */
    if (mremap(from, 0, SHM_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, s->head) == MAP_FAILED)
        return err_set_errno(err, "cannot map its head");
    return 0;
}

static int adopt(struct segment *s, struct shm_map *m, struct err *err)
{
    struct table *table = table_of_segment(m, NULL);
    int r = table ? show_head(s, m, err) : err_set(err, ERR_NOMEM, "out of memory");

    if (r) {
        (void)mem_free(table);
        (void)shm_map_close(m);
        return r;
    }
    (void)values_publish_locked(&s->client->values, table);
    atomic_store(&s->was_sent, false);
    return 0;
}

/* With the mutex of the values. */
static void look(struct segment *s)
{
    const struct table *table = atomic_load(&s->client->values.table);
    struct err err = ERR_NULL;
    struct shm_map *m;
    int r;

    atomic_store(&s->was_sent, was_moved(s));
    atomic_store(&s->look_at, clock_coarse() + LOOK_NS);
    if (table->map && !shm_map_is_replaced(table->map, s->path)) {
        s->problem[0] = '\0';
        return;
    }
    r = shm_map_open(s->path, &m, &err);
    if (!r)
        r = adopt(s, m, &err);
    s->problem[0] = '\0';
    if (r)
        (void)err_describe(&err, s->problem, sizeof(s->problem));
}

void segment_tend(struct trimtab *t)
{
    struct segment *s = t->segment;
    bool is_sent = was_moved(s) && !atomic_load_explicit(&s->was_sent, memory_order_relaxed);

    if (!is_sent && clock_coarse() < atomic_load_explicit(&s->look_at, memory_order_relaxed))
        return;
    if (pthread_mutex_trylock(&t->values.mutex))
        return; /* another thread is at it; what there is can be read meanwhile */
    look(s);
    (void)pthread_mutex_unlock(&t->values.mutex);
}

/* ---- reading ---- */

static void take_value(void *ctx, const struct shm_record *r)
{
    struct segment_want *want = ctx;

    want->value = r->value;
    want->text_len = 0;
    if (r->value.text && want->out)
        want->text_len = copy_text(str_of(r->value.text, r->text_len), want->out, want->size);
    want->value.text = want->value.json = NULL; /* they do not stay */
}

int segment_get(struct trimtab *t, const char *name, struct segment_want *want)
{
    const struct table *table;
    int r = ERR_NOT_FOUND;

    want->value = (struct shm_value){.type = SHM_VALUE_NONE};
    segment_tend(t);
    table = values_enter(&t->values);
    if (!table)
        return ERR_NOMEM;
    if (table->map)
        r = shm_map_read(table->map, str_c(name), take_value, want, &want->generation);
    values_leave();
    return r;
}

/* ---- snapshots ---- */

static void unref(struct table *copy)
{
    if (copy && atomic_fetch_sub(&copy->refs, 1) == 1)
        (void)table_free(copy);
}

static struct table *new_copy(const struct shm_map *map, const struct table *older)
{
    struct shm_copy *copy = older && older->copy->shape.key == map->shape.key
                                ? shm_copy_clone(older->copy)
                                : shm_copy_new(map);
    struct table *table = copy ? table_of_segment(NULL, copy) : NULL;

    if (!table)
        (void)shm_copy_free(copy);
    else
        atomic_init(&table->refs, 1);
    return table;
}

/* The copy to bring up to date: the newest if nobody reads it, else another one. */
static struct table *copy_to_follow(struct segment *s, const struct shm_map *map)
{
    struct table *c = s->copy;

    if (!c || atomic_load(&c->refs) > 1 || c->copy->shape.key != map->shape.key)
        c = new_copy(map, c);
    if (c && c != s->copy) {
        unref(s->copy);
        s->copy = c;
    }
    return c;
}

static bool is_newest(const struct table *c, const struct shm_map *map)
{
    return c && c->copy->shape.key == map->shape.key &&
           c->copy->facts.generation == atomic_load(&shm_map_head(map)->generation);
}

static const struct table *acquire(struct segment *s, struct shm_map *map)
{
    struct table *c = s->copy;

    if (!is_newest(c, map)) {
        c = copy_to_follow(s, map);
        if (!c || shm_copy_follow(c->copy, map))
            return NULL;
        c->revision = c->copy->facts.revision;
    }
    atomic_fetch_add(&c->refs, 1);
    return c;
}

const struct table *segment_acquire(struct trimtab *t)
{
    struct segment *s = t->segment;
    const struct table *table, *copy;

    segment_tend(t);
    table = values_enter(&t->values);
    if (!table || !table->map)
        return table; /* empty, for values_leave */
    (void)pthread_mutex_lock(&s->copying);
    copy = acquire(s, table->map);
    (void)pthread_mutex_unlock(&s->copying);
    values_leave();
    return copy;
}

void segment_release(const struct table *table)
{
    unref((struct table *)(uintptr_t)table);
}

/* ---- watches: the only thing that needs a thread ---- */

static const struct table *tell_changes(struct segment *s, const struct table *before)
{
    const struct table *now = segment_acquire(s->client);

    if (now && !now->copy) {
        values_leave();
        now = NULL;
    }
    if (!now)
        return before;
    watches_tell(s->client, now == before ? NULL : before, now);
    if (before)
        segment_release(before);
    return now;
}

static void *watch(void *arg)
{
    struct segment *s = arg;
    const struct table *told = NULL;

    while (!atomic_load(&s->stops)) {
        uint64_t generation = atomic_load(&head_of(s)->generation);

        told = tell_changes(s, told);
        if (!atomic_load(&s->stops))
            shm_wait(head_of(s), generation, LOOK_NS);
    }
    if (told)
        segment_release(told);
    return NULL;
}

static bool segment_watched(struct trimtab *t)
{
    struct segment *s = t->segment;
    bool runs;

    (void)pthread_mutex_lock(&s->copying);
    if (!s->has_thread)
        s->has_thread = client_thread(&s->thread, watch, s, NULL) == 0;
    runs = s->has_thread;
    (void)pthread_mutex_unlock(&s->copying);
    shm_wake(head_of(s)); /* if that is missed, it looks by itself a moment later */
    return runs;
}

/* Should it be about to sleep just now, it misses this and looks LOOK_NS later. */
static void stop_thread(struct segment *s)
{
    atomic_store(&s->stops, true);
    shm_wake(head_of(s));
    (void)pthread_join(s->thread, NULL);
}

/* ---- asking ---- */

static bool has_map(struct segment *s)
{
    return ((const struct table *)atomic_load(&s->client->values.table))->map != NULL;
}

/* Nobody tells that a file comes that was never there. */
static bool segment_wait(struct trimtab *t, unsigned timeout_ms)
{
    nsec_t until = clock_now() + timeout_ms * NSEC_PER_MS;
    struct timespec step = {0, WAIT_STEP_MS * (long)NSEC_PER_MS};
    bool is_there;

    for (;;) {
        (void)pthread_mutex_lock(&t->values.mutex);
        if (!has_map(t->segment))
            look(t->segment);
        is_there = has_map(t->segment);
        (void)pthread_mutex_unlock(&t->values.mutex);
        if (is_there || clock_now() >= until)
            return is_there;
        (void)nanosleep(&step, NULL);
    }
}

static size_t segment_problem(struct trimtab *t, char *out, size_t size)
{
    struct segment *s = t->segment;
    char text[PROBLEM_MAX + 100] = "";
    const struct table *table;

    segment_tend(t);
    (void)pthread_mutex_lock(&t->values.mutex);
    table = atomic_load(&t->values.table);
    if (s->problem[0])
        text_format(text, sizeof(text), "%s", s->problem);
    else if (table->map && atomic_load(&table->map->is_damaged))
        text_format(text, sizeof(text),
                    "%s: there are bytes in it that its agent did not write", s->path);
    (void)pthread_mutex_unlock(&t->values.mutex);
    return copy_text(str_c(text), out, size);
}

static bool segment_is_connected(struct trimtab *t)
{
    return segment_problem(t, NULL, 0) == 0;
}

static uint64_t segment_revision(struct trimtab *t)
{
    struct shm_facts facts = {.revision = 0};
    const struct table *table;

    segment_tend(t);
    table = values_enter(&t->values);
    if (!table)
        return 0;
    if (table->map && shm_map_facts(table->map, &facts))
        facts.revision = 0;
    values_leave();
    return facts.revision;
}

static bool segment_report_health(struct trimtab *t, bool failing, const char *reason)
{
    (void)t;
    (void)failing;
    (void)reason;
    return false; /* nothing goes back by a segment */
}

/* ---- life ---- */

static void segment_free(struct segment *s)
{
    unref(s->copy);
    if (s->head && s->head != MAP_FAILED)
        (void)munmap(s->head, SHM_PAGE);
    (void)pthread_mutex_destroy(&s->copying);
    (void)mem_free(s->path);
    (void)mem_free(s);
}

static void segment_close(struct trimtab *t)
{
    if (t->segment->has_thread)
        stop_thread(t->segment);
    segment_free(t->segment);
}

/* The copy may be half written by a thread that is not here, or be read by this one: it is left alone. */
static void segment_after_fork(struct trimtab *t)
{
    struct segment *s = t->segment;

    (void)pthread_mutex_init(&s->copying, NULL);
    s->copy = NULL;
    s->has_thread = false;
    atomic_store(&s->stops, false);
}

static const struct provider provider = {
    .wait = segment_wait,
    .is_connected = segment_is_connected,
    .revision = segment_revision,
    .problem = segment_problem,
    .report_health = segment_report_health,
    .watched = segment_watched,
    .close = segment_close,
    .after_fork = segment_after_fork,
};

int segment_open(struct trimtab *t, const struct trimtab_options *o, struct err *err)
{
    struct segment *s = NEW(struct segment);

    if (!s)
        return err_set(err, ERR_NOMEM, "out of memory");
    (void)pthread_mutex_init(&s->copying, NULL);
    s->client = t;
    s->path = mem_dup(o->segment, strlen(o->segment));
    s->head = mmap(NULL, SHM_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!s->path || s->head == MAP_FAILED) {
        segment_free(s);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    t->segment = s;
    t->provider = &provider;
    t->values.generation = &head_of(s)->generation;
    (void)pthread_mutex_lock(&t->values.mutex);
    look(s);
    (void)pthread_mutex_unlock(&t->values.mutex);
    return 0;
}

/*
 * The engine of sinks for segments: whatever was done to its file is found, told and put right, before it is claimed and
 * between any two steps.
 */
#include "tap.h"

#include "agent/sink_shm.h"
#include "base/file.h"
#include "model/name.h"
#include "shm/reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct bench {
    struct config_segment segment;
    struct sink *sink;
    char folder[300], path[400];
};

static bool bench_open(struct bench *b)
{
    struct sink_shm_opts opts = {.segment = &b->segment};

    *b = (struct bench){.sink = NULL};
    (void)snprintf(b->folder, sizeof(b->folder), "%s/run", tap_tmpdir());
    (void)snprintf(b->path, sizeof(b->path), "%s/shop.segment", b->folder);
    b->segment = (struct config_segment){.name = STR("s"),
                                         .scope = STR("s"),
                                         .file = b->path,
                                         .mode = 0640,
                                         .owner = (uid_t)-1,
                                         .group = (gid_t)-1,
                                         .max_bytes = 256 * KIB};
    b->sink = sink_shm_open(&opts);
    return CHECK(b->sink != NULL);
}

/* ---- plans ---- */

static struct version *make(const char *name, struct str json)
{
    owned(buf) struct buf key = BUF_NULL(4096);
    struct shared *bytes = shared_copy(json);
    struct version_opts o = {
        .content_type = STR("application/json"), .wire = bytes, .number = 1, .revision = 1};
    struct version *v;

    name_put_key((struct name){STR("n"), STR("item"), str_c(name)}, &key);
    o.key = buf_str(&key);
    o.content = shared_str(bytes);
    v = version_new(&o);
    (void)shared_unref(bytes);
    return v;
}

/* What is to be there: a, which was served before, and b. */
static struct sink_plan *plan(struct bench *b, struct str a, struct str other)
{
    static const char key_a[] = "s\0item\0a", key_b[] = "s\0item\0b";
    struct sink_item items[] = {
        {str_of(key_a, sizeof(key_a) - 1), make("a", a), .is_served = true},
        {str_of(key_b, sizeof(key_b) - 1), make("b", other)}};
    struct sink_plan *p = NULL;

    CHECK_I64(b->sink->ops->plan(b->sink, items, other.len ? 2 : 1, SINK_LOOK_FOR_CHANGES, &p),
              0);
    (void)version_unref(items[0].version);
    (void)version_unref(items[1].version);
    return p;
}

static bool deliver(struct bench *b, struct str a, struct str other)
{
    struct sink_plan *p = plan(b, a, other);
    bool ok = CHECK_I64(b->sink->ops->stage(p), 0) &&
              (!p->is_changed || CHECK_I64(b->sink->ops->switch_over(p), 0));

    if (!ok)
        tap_note("%.*s", STR_ARG(p->fault.text));
    (void)b->sink->ops->finish(p);
    return ok;
}

/* ---- what a reader has ---- */

static void take_json(void *ctx, const struct shm_record *r)
{
    struct buf *out = ctx;

    buf_clear(out);
    buf_put_str(out, str_of(r->value.json, r->json_len));
}

static bool reads(struct bench *b, const char *name, const char *json)
{
    owned(buf) struct buf found = BUF_NULL(65536);
    struct shm_map *m = NULL;
    struct err err = ERR_NULL;
    bool is_there = shm_map_open(b->path, &m, &err) == 0 &&
                    shm_map_read(m, str_c(name), take_json, &found, NULL) == 1;

    if (m)
        (void)shm_map_close(m);
    if (json ? !is_there || !str_eq(buf_str(&found), str_c(json)) : is_there) {
        tap_note("%s is \"%.*s\"; %s", name, STR_ARG(buf_str(&found)), err.text);
        return false;
    }
    return true;
}

/* ---- what others do to the file ---- */

static bool find(struct bench *b, const char *text, off_t *ret)
{
    owned(buf) struct buf bytes = BUF_NULL(4 * MIB);
    const char *at;

    if (file_read(b->path, &bytes, NULL))
        return false;
    at = memmem(bytes.data, bytes.len, text, strlen(text));
    *ret = at ? at - (const char *)bytes.data : 0;
    return at != NULL;
}

/* In every place where it is, so that it is also where it is read. */
static void alter(struct bench *b)
{
    int fd = open(b->path, O_WRONLY | O_CLOEXEC);
    off_t at;

    while (fd >= 0 && find(b, "\"first\"", &at))
        CHECK(pwrite(fd, "\"forged", 7, at) == 7);
    (void)close(fd);
}

static void remove_file(struct bench *b)
{
    CHECK(unlink(b->path) == 0);
}

static void remove_folder(struct bench *b)
{
    char command[500];

    (void)snprintf(command, sizeof(command), "rm -rf %s", b->folder);
    CHECK(system(command) == 0);
}

static void replace_file(struct bench *b)
{
    int fd;

    remove_file(b);
    fd = open(b->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    CHECK(fd >= 0 && write(fd, "something else", 14) == 14);
    (void)close(fd);
}

static void cut(struct bench *b)
{
    CHECK(truncate(b->path, 4096) == 0);
}

static void cut_off(struct bench *b)
{
    CHECK(truncate(b->path, 0) == 0);
}

static void open_to_all(struct bench *b)
{
    CHECK(chmod(b->path, 0666) == 0);
}

static const struct {
    const char *name;
    void (*fn)(struct bench *b);
} deeds[] = {{"altered", alter},
             {"removed", remove_file},
             {"its folder removed", remove_folder},
             {"replaced", replace_file},
             {"cut short", cut},
             {"emptied", cut_off},
             {"writable for all", open_to_all}};

static void found_and_put_right(size_t deed)
{
    struct bench b;
    struct sink_plan *p;
    struct stat st;

    if (!bench_open(&b) || !deliver(&b, STR("\"first\""), STR("\"second\"")))
        return;
    deeds[deed].fn(&b);
    p = plan(&b, STR("\"first\""), STR("\"second\""));
    CHECK_I64(b.sink->ops->stage(p), 0);
    if (!CHECK(p->is_changed) || !CHECK_U64(p->n_restored, 1))
        tap_note("%s: it was not found", deeds[deed].name);
    CHECK_I64(b.sink->ops->switch_over(p), 0);
    (void)b.sink->ops->finish(p);
    if (!CHECK(reads(&b, "a", "\"first\"") && reads(&b, "b", "\"second\"")))
        tap_note("%s: it was not put right", deeds[deed].name);
    CHECK(stat(b.path, &st) == 0 && (st.st_mode & 07777) == 0640);
    p = plan(&b, STR("\"first\""), STR("\"second\""));
    CHECK_I64(b.sink->ops->stage(p), 0);
    CHECK(!p->is_changed && !p->n_restored);
    (void)b.sink->ops->finish(p);
    b.sink = b.sink->ops->close(b.sink);
    remove_folder(&b);
}

TEST("whatever was done to the file is found by the next plan, which puts it right")
{
    for (size_t i = 0; i < ARRAY_LEN(deeds); i++)
        found_and_put_right(i);
}

static void done_before_the_switch(size_t deed)
{
    struct bench b;
    struct sink_plan *p;

    if (!bench_open(&b) || !deliver(&b, STR("\"first\""), STR("\"second\"")))
        return;
    p = plan(&b, STR("\"first\""), STR("\"third\""));
    CHECK_I64(b.sink->ops->stage(p), 0);
    deeds[deed].fn(&b);
    if (b.sink->ops->switch_over(p) == 0)
        CHECK(p->is_switched && reads(&b, "a", "\"first\"") && reads(&b, "b", "\"third\""));
    else if (!CHECK(!p->is_switched && p->fault.code && p->fault.text.len))
        tap_note("%s: it is claimed", deeds[deed].name);
    (void)b.sink->ops->finish(p);
    CHECK(deliver(&b, STR("\"first\""), STR("\"third\"")));
    CHECK(reads(&b, "a", "\"first\"") && reads(&b, "b", "\"third\""));
    b.sink = b.sink->ops->close(b.sink);
    remove_folder(&b);
}

TEST("nothing is claimed of a file that was altered after it was looked at")
{
    for (size_t i = 0; i < ARRAY_LEN(deeds); i++)
        if (deeds[i].fn != cut && deeds[i].fn != cut_off) /* that ends who has it mapped */
            done_before_the_switch(i);
}

TEST("an older file, and one of nobody, are brought to what shall be there by the next process")
{
    struct bench b;

    REQUIRE(bench_open(&b));
    CHECK(deliver(&b, STR("\"first\""), STR("\"second\"")));
    b.sink = b.sink->ops->close(b.sink);
    REQUIRE(bench_open(&b));
    CHECK(reads(&b, "a", "\"first\""));
    CHECK(deliver(&b, STR("\"newer\""), STR_NULL));
    CHECK(reads(&b, "a", "\"newer\"") && reads(&b, "b", NULL));
    b.sink = b.sink->ops->close(b.sink);
    replace_file(&b);
    REQUIRE(bench_open(&b));
    CHECK(deliver(&b, STR("\"newer\""), STR_NULL));
    CHECK(reads(&b, "a", "\"newer\""));
    b.sink = b.sink->ops->close(b.sink);
}

TEST("what does not fit is refused with the limit, and what was there stays")
{
    static char large[300000];
    struct bench b;
    struct sink_plan *p;

    memset(large, 'v', sizeof(large));
    REQUIRE(bench_open(&b));
    CHECK(deliver(&b, STR("\"first\""), STR_NULL));
    p = plan(&b, STR("\"first\""), str_of(large, sizeof(large)));
    CHECK_I64(b.sink->ops->stage(p), 0);
    CHECK(b.sink->ops->switch_over(p) != 0);
    CHECK_STR(str_c(p->fault.code), STR("SEGMENT_FULL"));
    CHECK(!p->fault.is_passing && memmem(p->fault.text.data, p->fault.text.len, "262144", 6));
    (void)b.sink->ops->finish(p);
    CHECK(reads(&b, "a", "\"first\"") && reads(&b, "b", NULL));
    b.sink = b.sink->ops->close(b.sink);
}

TEST("of a file that could not be believed an undo leaves what was served, and nothing that "
     "was tried")
{
    struct bench b;
    struct sink_plan *p;

    REQUIRE(bench_open(&b));
    CHECK(deliver(&b, STR("\"first\""), STR_NULL));
    alter(&b);
    p = plan(&b, STR("\"first\""), STR("\"tried\""));
    CHECK_I64(b.sink->ops->stage(p), 0);
    CHECK_I64(b.sink->ops->switch_over(p), 0);
    CHECK(reads(&b, "b", "\"tried\""));
    b.sink->ops->undo(p);
    (void)b.sink->ops->finish(p);
    CHECK(reads(&b, "a", "\"first\"") && reads(&b, "b", NULL));
    b.sink = b.sink->ops->close(b.sink);
}

TEST("a second agent is kept off, and told why")
{
    struct bench b, other;
    struct sink_plan *p;

    REQUIRE(bench_open(&b) && deliver(&b, STR("\"first\""), STR_NULL));
    REQUIRE(bench_open(&other));
    p = plan(&other, STR("\"other\""), STR_NULL);
    CHECK(other.sink->ops->stage(p) != 0);
    CHECK_STR(str_c(p->fault.code), STR("LOCKED"));
    CHECK(p->fault.is_passing);
    (void)other.sink->ops->finish(p);
    other.sink = other.sink->ops->close(other.sink);
    CHECK(reads(&b, "a", "\"first\""));
    b.sink = b.sink->ops->close(b.sink);
}

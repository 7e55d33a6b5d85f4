/*
 * The file sink on a real file system: what it puts in place, what it takes back, and where it never goes.
 */
#include "tap.h"

#include "agent/files.h"
#include "base/file.h"
#include "model/name.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In place of the system's: no case looks at the disk after a power cut. */
__attribute__((visibility("default"))) int fsync(int fd)
{
    (void)fd;
    return 0;
}

__attribute__((visibility("default"))) int syncfs(int fd)
{
    (void)fd;
    return 0;
}

/* Where links are put in the place of what was made just now, in folders that somebody else owns. NULL: nowhere. */
static const char *exchanged_for;
enum { SOMEBODY = 65534 };

/* The quickest that an attacker could ever be. */
__attribute__((visibility("default"))) int mkdirat(int at, const char *name, mode_t mode)
{
    int r = (int)syscall(SYS_mkdirat, at, name, mode);
    struct stat st;

    if (r == 0 && exchanged_for && fstat(at, &st) == 0 && st.st_uid == SOMEBODY) {
        (void)unlinkat(at, "evil", 0);
        if (symlinkat(exchanged_for, at, "evil") == 0)
            (void)renameat2(at, "evil", at, name, RENAME_EXCHANGE);
    }
    return r;
}

/* ---- helpers ---- */

static const char *in_dir(const char *fmt, const char *name)
{
    static char paths[8][4096];
    static int at;

    at = (at + 1) % 8;
    (void)snprintf(paths[at], sizeof(paths[at]), "%s/", tap_tmpdir());
    (void)snprintf(paths[at] + strlen(paths[at]), 2048, "%s%s", fmt, name);
    return paths[at];
}

static const char *target(const char *name)
{
    return in_dir("target/", name);
}

static struct config_files config(void)
{
    return (struct config_files){.name = STR("t"),
                                 .scope = STR("s"),
                                 .target = in_dir("target", ""),
                                 .mode = 0640,
                                 .folder_mode = 0750,
                                 .owner = (uid_t)-1,
                                 .group = (gid_t)-1};
}

static struct version *make(const char *name, struct str content)
{
    owned(buf) struct buf key = BUF_NULL(4096);
    struct shared *bytes = shared_copy(content);
    struct version_opts o = {
        .content_type = STR("text/plain"), .wire = bytes, .number = 1, .revision = 1};
    struct version *v;

    name_put_key((struct name){STR("n"), STR("file"), str_c(name)}, &key);
    o.key = buf_str(&key);
    o.content = shared_str(bytes);
    v = version_new(&o);
    (void)shared_unref(bytes);
    return v;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file_wanted *)a)->path, ((const struct file_wanted *)b)->path);
}

enum knows { IS_NEW, IS_KNOWN };

static void want_bytes(struct files_plan *p, const char *path, struct str content,
                       enum knows knows)
{
    struct file_wanted f = {.path = path,
                            .version = make(path, content),
                            .attr = {p->config->mode, p->config->owner, p->config->group},
                            .was_delivered = knows == IS_KNOWN,
                            .is_noted = knows == IS_KNOWN,
                            .is_served = knows == IS_KNOWN,
                            .may_restore = true,
                            .is_changed = knows == IS_NEW};

    CHECK(VEC_PUSH(&p->files, f));
    qsort(p->files.at, p->files.n, sizeof(*p->files.at), by_path);
}

static void want(struct files_plan *p, const char *path, const char *content, enum knows knows)
{
    want_bytes(p, path, str_c(content), knows);
}

/* A known file whose content is another now. */
static void change(struct files_plan *p, const char *path, const char *content)
{
    want(p, path, content, IS_KNOWN);
    for (size_t i = 0; i < p->files.n; i++)
        if (strcmp(p->files.at[i].path, path) == 0)
            p->files.at[i].is_served = p->files.at[i].is_noted = false;
}

static bool holds(const char *path, const char *content)
{
    owned(buf) struct buf bytes = BUF_NULL(1 * MIB);

    return file_read(path, &bytes, NULL) == 0 && str_eq(buf_str(&bytes), str_c(content));
}

static bool put(const char *path, const char *content)
{
    return file_replace(path, str_c(content), 0644, NULL) == 0;
}

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static ino_t inode_of(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 ? st.st_ino : 0;
}

/* How many names of ours are left beside and in the target. */
static bool is_clean(void)
{
    char command[8400];

    (void)snprintf(command, sizeof(command), "test -z \"$(find %s -name '*.trimtab-*')\"",
                   tap_tmpdir());
    return system(command) == 0;
}

static int deliver(struct files_plan *p)
{
    int r = files_stage(p);

    return r ? r : files_switch(p);
}

/* Delivers two files as the state before. */
static bool before(const struct config_files *c)
{
    struct files_plan p;
    bool ok;

    files_plan_init(&p, c);
    want(&p, "main.conf", "main 1", IS_NEW);
    want(&p, "conf.d/a.conf", "a 1", IS_NEW);
    ok = CHECK(deliver(&p) == 0);
    if (!ok)
        tap_note("%s", p.err.text);
    files_plan_deinit(&p);
    return ok;
}

/* ---- plain ---- */

TEST("files come with folders, bytes and modes as configured, and nothing else stays")
{
    struct config_files c = config();

    REQUIRE(before(&c));
    CHECK(holds(target("main.conf"), "main 1"));
    CHECK(holds(target("conf.d/a.conf"), "a 1"));
    CHECK_U64(mode_of(target("main.conf")), 0640);
    CHECK_U64(mode_of(target("conf.d")), 0750);
    CHECK(is_clean());
}

TEST("changes, additions and removals are one switch; what does not change is not touched")
{
    struct config_files c = config();
    struct files_plan p;
    ino_t inode;

    REQUIRE(before(&c));
    inode = inode_of(target("main.conf"));
    files_plan_init(&p, &c);
    want(&p, "main.conf", "main 1", IS_KNOWN);
    want(&p, "b/c/d.conf", "d", IS_NEW);
    CHECK(VEC_PUSH(&p.removals, "conf.d/a.conf"));
    CHECK(VEC_PUSH(&p.old_folders, "conf.d"));
    CHECK_I64(deliver(&p), 0);
    CHECK_U64(p.new_folders.n, 2);
    files_plan_deinit(&p);
    CHECK(holds(target("b/c/d.conf"), "d"));
    CHECK(!is_there(target("conf.d")));
    CHECK_U64(inode_of(target("main.conf")), inode);
    CHECK(is_clean());
}

TEST("when nothing differs nothing is staged")
{
    struct config_files c = config();
    struct files_plan p;

    REQUIRE(before(&c));
    files_plan_init(&p, &c);
    want(&p, "main.conf", "main 1", IS_KNOWN);
    want(&p, "conf.d/a.conf", "a 1", IS_KNOWN);
    p.must_read = true;
    CHECK_I64(files_stage(&p), 0);
    CHECK(!p.is_changed);
    CHECK(p.base[0] == '\0');
    files_plan_deinit(&p);
}

TEST("a switch can be taken back: bytes, inodes and folders are as before")
{
    struct config_files c = config();
    struct files_plan p;
    ino_t inode;

    REQUIRE(before(&c));
    inode = inode_of(target("main.conf"));
    files_plan_init(&p, &c);
    change(&p, "main.conf", "main 2");
    want(&p, "new/x.conf", "x", IS_NEW);
    CHECK(VEC_PUSH(&p.removals, "conf.d/a.conf"));
    CHECK(VEC_PUSH(&p.old_folders, "conf.d"));
    CHECK_I64(deliver(&p), 0);
    CHECK(holds(target("main.conf"), "main 2"));
    files_undo(&p);
    files_plan_deinit(&p);
    CHECK(holds(target("main.conf"), "main 1"));
    CHECK_U64(inode_of(target("main.conf")), inode);
    CHECK(holds(target("conf.d/a.conf"), "a 1"));
    CHECK(!is_there(target("new")));
    CHECK(is_clean());
}

TEST("a file may become a folder, and a folder a file")
{
    struct config_files c = config();
    struct files_plan p;

    REQUIRE(before(&c));
    files_plan_init(&p, &c);
    want(&p, "main.conf/part", "below", IS_NEW);
    want(&p, "conf.d", "a file now", IS_NEW);
    CHECK(VEC_PUSH(&p.removals, "main.conf"));
    CHECK(VEC_PUSH(&p.removals, "conf.d/a.conf"));
    CHECK(VEC_PUSH(&p.old_folders, "conf.d"));
    CHECK_I64(deliver(&p), 0);
    CHECK(holds(target("main.conf/part"), "below"));
    CHECK(holds(target("conf.d"), "a file now"));
    files_undo(&p);
    CHECK(holds(target("main.conf"), "main 1"));
    CHECK(holds(target("conf.d/a.conf"), "a 1"));
    files_plan_deinit(&p);
}

TEST("a file that is not ours is refused by name and stays as it is, unless it is the same or "
     "given up")
{
    struct config_files c = config();
    struct files_plan p;

    REQUIRE(before(&c));
    REQUIRE(put(target("theirs.conf"), "theirs"));
    files_plan_init(&p, &c);
    change(&p, "main.conf", "main 2");
    want(&p, "theirs.conf", "ours", IS_NEW);
    CHECK_I64(files_stage(&p), ERR_EXISTS);
    CHECK_STR(str_c(p.code), STR("FOREIGN_FILE"));
    CHECK_STR(str_c(p.culprit), STR("theirs.conf"));
    files_plan_deinit(&p);
    CHECK(holds(target("theirs.conf"), "theirs"));
    CHECK(holds(target("main.conf"), "main 1"));
    CHECK(chmod(target("theirs.conf"), 0640) == 0);
    files_plan_init(&p, &c);
    want(&p, "theirs.conf", "theirs", IS_NEW);
    CHECK_I64(deliver(&p), 0);
    CHECK(!p.is_changed);
    files_plan_deinit(&p);
    c.replace_foreign = true;
    files_plan_init(&p, &c);
    want(&p, "theirs.conf", "ours", IS_NEW);
    CHECK_I64(deliver(&p), 0);
    CHECK(holds(target("theirs.conf"), "ours"));
    files_undo(&p);
    CHECK(holds(target("theirs.conf"), "theirs"));
    files_plan_deinit(&p);
    CHECK(is_clean());
}

TEST("a folder with files that are not ours stays when ours are gone")
{
    struct config_files c = config();
    struct files_plan p;

    REQUIRE(before(&c));
    REQUIRE(put(target("conf.d/theirs"), "theirs"));
    files_plan_init(&p, &c);
    want(&p, "main.conf", "main 1", IS_KNOWN);
    CHECK(VEC_PUSH(&p.removals, "conf.d/a.conf"));
    CHECK(VEC_PUSH(&p.old_folders, "conf.d"));
    CHECK_I64(deliver(&p), 0);
    files_plan_deinit(&p);
    CHECK(!is_there(target("conf.d/a.conf")));
    CHECK(holds(target("conf.d/theirs"), "theirs"));
}

TEST("local edits, removals and modes are put right when they are looked for")
{
    struct config_files c = config();
    struct files_plan p;

    REQUIRE(before(&c));
    REQUIRE(put(target("main.conf"), "edited"));
    REQUIRE(unlink(target("conf.d/a.conf")) == 0);
    files_plan_init(&p, &c);
    want(&p, "main.conf", "main 1", IS_KNOWN);
    want(&p, "conf.d/a.conf", "a 1", IS_KNOWN);
    p.must_read = true;
    CHECK_I64(deliver(&p), 0);
    CHECK_U64(p.n_restored, 2);
    files_plan_deinit(&p);
    CHECK(holds(target("main.conf"), "main 1"));
    CHECK(holds(target("conf.d/a.conf"), "a 1"));
    CHECK(chmod(target("main.conf"), 0666) == 0);
    files_plan_init(&p, &c);
    want(&p, "main.conf", "main 1", IS_KNOWN);
    p.must_read = true;
    CHECK_I64(deliver(&p), 0);
    files_plan_deinit(&p);
    CHECK_U64(mode_of(target("main.conf")), 0640);
}

TEST("the staged tree is the whole tree as it would be, with what is not ours in it")
{
    struct config_files c = config();
    struct files_plan p;
    char path[8192];

    c.check = "true";
    REQUIRE(before(&c));
    REQUIRE(put(target("theirs.conf"), "theirs"));
    REQUIRE(put(target("conf.d/theirs"), "theirs too"));
    files_plan_init(&p, &c);
    change(&p, "main.conf", "main 2");
    CHECK(VEC_PUSH(&p.removals, "conf.d/a.conf"));
    CHECK_I64(files_stage(&p), 0);
    (void)snprintf(path, sizeof(path), "%s/main.conf", p.stage);
    CHECK(holds(path, "main 2"));
    (void)snprintf(path, sizeof(path), "%s/conf.d/a.conf", p.stage);
    CHECK(!is_there(path));
    (void)snprintf(path, sizeof(path), "%s/theirs.conf", p.stage);
    CHECK(holds(path, "theirs"));
    (void)snprintf(path, sizeof(path), "%s/conf.d/theirs", p.stage);
    CHECK(holds(path, "theirs too"));
    CHECK(holds(target("main.conf"), "main 1"));
    files_plan_deinit(&p);
    CHECK(holds(target("theirs.conf"), "theirs"));
    CHECK(is_clean());
}

/* ---- where it never goes ---- */

TEST("paths that leave the folder, or are ours, are no paths")
{
    static const char *const bad[] = {
        "",     "/etc/passwd", "../x",     "a/../b",         "a/..", "./a",
        "a//b", "a/",          "..data/x", ".trimtab-abc/x", "a/./b"};
    static const char *const good[] = {"a", "a/b.conf", ".hidden", "a b", "a.b/c..d", "ä"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (!CHECK(!place_path_is_safe(str_c(bad[i]))))
            tap_note("%s", bad[i]);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        CHECK(place_path_is_safe(str_c(good[i])));
}

TEST("a plan with such a path is refused, nothing is written")
{
    struct config_files c = config();
    struct files_plan p;

    REQUIRE(before(&c));
    files_plan_init(&p, &c);
    want(&p, "../escape", "x", IS_NEW);
    CHECK_I64(files_stage(&p), ERR_DENIED);
    CHECK_STR(str_c(p.code), STR("UNSAFE_PATH"));
    files_plan_deinit(&p);
    CHECK(!is_there(in_dir("escape", "")));
}

TEST("a link to a folder elsewhere is never followed, neither to write nor to remove")
{
    struct config_files c = config();
    struct files_plan p;

    REQUIRE(before(&c));
    REQUIRE(mkdir(in_dir("outside", ""), 0755) == 0);
    REQUIRE(put(in_dir("outside/", "a.conf"), "outside"));
    REQUIRE(symlink(in_dir("outside", ""), target("way")) == 0);
    files_plan_init(&p, &c);
    want(&p, "way/new.conf", "x", IS_NEW);
    CHECK_I64(files_stage(&p), ERR_DENIED);
    CHECK_STR(str_c(p.code), STR("UNSAFE_PATH"));
    CHECK_STR(str_c(p.culprit), STR("way/new.conf"));
    files_plan_deinit(&p);
    CHECK(!is_there(in_dir("outside/", "new.conf")));
    REQUIRE(unlink(target("conf.d/a.conf")) == 0 && rmdir(target("conf.d")) == 0);
    REQUIRE(symlink(in_dir("outside", ""), target("conf.d")) == 0);
    files_plan_init(&p, &c);
    CHECK(VEC_PUSH(&p.removals, "conf.d/a.conf"));
    CHECK_I64(deliver(&p), 0);
    files_plan_deinit(&p);
    CHECK(holds(in_dir("outside/", "a.conf"), "outside"));
}

TEST("a link that took the place of our file is replaced, not followed")
{
    struct config_files c = config();
    struct files_plan p;

    REQUIRE(before(&c));
    REQUIRE(put(in_dir("outside", ""), "outside"));
    REQUIRE(unlink(target("main.conf")) == 0);
    REQUIRE(symlink(in_dir("outside", ""), target("main.conf")) == 0);
    files_plan_init(&p, &c);
    want(&p, "main.conf", "main 1", IS_KNOWN);
    p.must_read = true;
    CHECK_I64(deliver(&p), 0);
    files_plan_deinit(&p);
    CHECK(holds(target("main.conf"), "main 1"));
    CHECK(holds(in_dir("outside", ""), "outside"));
}

TEST("a folder swapped for a link between staging and switching leads nowhere, and all is "
     "taken back")
{
    struct config_files c = config();
    struct files_plan p;

    REQUIRE(before(&c));
    REQUIRE(mkdir(in_dir("outside", ""), 0755) == 0);
    files_plan_init(&p, &c);
    change(&p, "main.conf", "main 2");
    change(&p, "conf.d/a.conf", "a 2");
    change(&p, "zzz.conf", "z");
    CHECK_I64(files_stage(&p), 0);
    REQUIRE(rename(target("conf.d"), target("moved")) == 0);
    REQUIRE(symlink(in_dir("outside", ""), target("conf.d")) == 0);
    CHECK(files_switch(&p) != 0);
    CHECK_STR(str_c(p.code), STR("UNSAFE_PATH"));
    files_plan_deinit(&p);
    CHECK(holds(target("main.conf"), "main 1"));
    CHECK(!is_there(in_dir("outside/", "a.conf")));
    CHECK(is_clean());
}

TEST("a disk that is full refuses by name, and the old files are intact")
{
    struct config_files c = config();
    struct files_plan p;
    char command[8400];
    char *large = mem_alloc(400000);

    if (geteuid() != 0) {
        tap_skip("needs root for a small file system");
        (void)mem_free(large);
        return;
    }
    (void)snprintf(command, sizeof(command), "mkdir %s && mount -t tmpfs -o size=128k none %s",
                   target(""), target(""));
    if (system(command) != 0) {
        tap_skip("cannot mount a small file system");
        (void)mem_free(large);
        return;
    }
    memset(large, 'x', 400000);
    if (before(&c)) {
        files_plan_init(&p, &c);
        change(&p, "main.conf", "main 2");
        want_bytes(&p, "large.bin", str_of(large, 400000), IS_NEW);
        CHECK_I64(files_stage(&p), ERR_LIMIT);
        CHECK_STR(str_c(p.code), STR("NO_SPACE"));
        CHECK_STR(str_c(p.culprit), STR("large.bin"));
        files_plan_deinit(&p);
        CHECK(holds(target("main.conf"), "main 1"));
        CHECK(holds(target("conf.d/a.conf"), "a 1"));
        CHECK(!is_there(target("large.bin")));
        CHECK(is_clean());
    }
    (void)mem_free(large);
    (void)snprintf(command, sizeof(command), "umount %s", target(""));
    CHECK(system(command) == 0);
}

/* ---- symlink ---- */

TEST("in the layout with links all files change by one rename, and the old tree goes")
{
    struct config_files c = config();
    struct files_plan p;
    char first[256], second[256];
    ssize_t n;

    c.layout = FILES_SYMLINK;
    REQUIRE(before(&c));
    CHECK(holds(target("main.conf"), "main 1"));
    CHECK(holds(target("conf.d/a.conf"), "a 1"));
    n = readlink(target("..data"), first, sizeof(first) - 1);
    first[MAX(n, 0)] = '\0';
    files_plan_init(&p, &c);
    change(&p, "main.conf", "main 2");
    want(&p, "new.conf", "new", IS_NEW);
    CHECK(VEC_PUSH(&p.removals, "conf.d/a.conf"));
    CHECK_I64(deliver(&p), 0);
    files_plan_deinit(&p);
    n = readlink(target("..data"), second, sizeof(second) - 1);
    second[MAX(n, 0)] = '\0';
    CHECK(holds(target("main.conf"), "main 2"));
    CHECK(holds(target("new.conf"), "new"));
    CHECK(!is_there(target("conf.d")));
    CHECK(strcmp(first, second) != 0 && !is_there(target(first)) && is_there(target(second)));
}

TEST("in that layout too, a switch can be taken back, edits are found, and what is not ours is "
     "refused")
{
    struct config_files c = config();
    struct files_plan p;
    char data[256], path[512];
    ssize_t n;

    c.layout = FILES_SYMLINK;
    REQUIRE(before(&c));
    files_plan_init(&p, &c);
    change(&p, "main.conf", "main 2");
    want(&p, "new.conf", "new", IS_NEW);
    CHECK(VEC_PUSH(&p.removals, "conf.d/a.conf"));
    CHECK_I64(deliver(&p), 0);
    files_undo(&p);
    files_plan_deinit(&p);
    CHECK(holds(target("main.conf"), "main 1"));
    CHECK(holds(target("conf.d/a.conf"), "a 1"));
    CHECK(!is_there(target("new.conf")));
    n = readlink(target("..data"), data, sizeof(data) - 1);
    data[MAX(n, 0)] = '\0';
    (void)snprintf(path, sizeof(path), "%s/main.conf", data);
    REQUIRE(put(target(path), "edited"));
    files_plan_init(&p, &c);
    want(&p, "main.conf", "main 1", IS_KNOWN);
    want(&p, "conf.d/a.conf", "a 1", IS_KNOWN);
    p.must_read = true;
    CHECK_I64(deliver(&p), 0);
    CHECK_U64(p.n_restored, 1);
    files_plan_deinit(&p);
    CHECK(holds(target("main.conf"), "main 1"));
    REQUIRE(put(target("theirs"), "theirs"));
    files_plan_init(&p, &c);
    want(&p, "theirs", "ours", IS_NEW);
    CHECK_I64(files_stage(&p), ERR_EXISTS);
    files_plan_deinit(&p);
    CHECK(holds(target("theirs"), "theirs"));
}

TEST("what a killed agent left is swept away, and only that")
{
    struct config_files c = config();

    REQUIRE(before(&c));
    REQUIRE(mkdir(target(".trimtab-abcdef"), 0755) == 0 &&
            put(target(".trimtab-abcdef/x"), "x"));
    REQUIRE(mkdir(in_dir(".target.trimtab-abcdef", ""), 0755) == 0);
    REQUIRE(mkdir(in_dir(".other.trimtab-abcdef", ""), 0755) == 0);
    c.target = in_dir("target", "");
    files_sweep(&c);
    CHECK(!is_there(target(".trimtab-abcdef")));
    CHECK(!is_there(in_dir(".target.trimtab-abcdef", "")));
    CHECK(is_there(in_dir(".other.trimtab-abcdef", "")));
    CHECK(holds(target("main.conf"), "main 1"));
}

TEST("in the layout with links what somebody put in the place of our link goes, and comes back "
     "when the switch is taken back")
{
    struct config_files c = config();
    struct files_plan p;

    c.layout = FILES_SYMLINK;
    for (int undone = 1; undone >= 0; undone--) {
        if (undone) {
            REQUIRE(before(&c));
            REQUIRE(unlink(target("main.conf")) == 0 && put(target("main.conf"), "theirs"));
            REQUIRE(unlink(target("conf.d")) == 0 && mkdir(target("conf.d"), 0755) == 0 &&
                    put(target("conf.d/x"), "theirs too"));
        }
        c.target = in_dir("target", ""); /* texts of in_dir do not last */
        files_plan_init(&p, &c);
        want(&p, "main.conf", "main 1", IS_KNOWN);
        want(&p, "conf.d/a.conf", "a 1", IS_KNOWN);
        p.must_read = true;
        CHECK_I64(deliver(&p), 0);
        c.target = in_dir("target", "");
        CHECK(holds(target("main.conf"), "main 1"));
        CHECK(holds(target("conf.d/a.conf"), "a 1"));
        if (undone)
            files_undo(&p);
        files_plan_deinit(&p);
        CHECK(holds(target("main.conf"), undone ? "theirs" : "main 1"));
        CHECK(holds(target("conf.d/x"), "theirs too") == (undone == 1));
    }
    CHECK(!is_there(target("..kept_trimtab-0")) && !is_there(target("..kept_trimtab-1")));
}

/* ---- a host with somebody else on it ---- */

enum { NOBODY = 65534, ROUNDS = 60 };

/* Exchanges whatever is made in the folder for a link to the victim, or for a folder of its own, as fast as it can. */
static void exchange_all(const char *folder, const char *victim)
{
    char buf[65536] __attribute__((aligned(8)));
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), n = 0;
    struct pollfd poll_fd = {.fd = watch, .events = POLLIN};

    if (chdir(folder) || setgid(NOBODY) || setuid(NOBODY) ||
        inotify_add_watch(watch, ".", IN_CREATE | IN_MOVED_TO) < 0)
        _exit(1);
    for (;;) {
        ssize_t len = read(watch, buf, sizeof(buf));

        if (len <= 0)
            (void)poll(&poll_fd, 1, -1);
        for (char *at = buf; len > 0 && at < buf + len;) {
            const struct inotify_event *e = (const void *)at;
            char evil[32];

            (void)snprintf(evil, sizeof(evil), "evil%d", ++n);
            if (e->len && strncmp(e->name, "evil", 4) != 0 &&
                (n % 3 ? symlink(victim, evil) : mkdir(evil, 0777)) == 0)
                (void)renameat2(AT_FDCWD, evil, AT_FDCWD, e->name, RENAME_EXCHANGE);
            at += sizeof(*e) + e->len;
        }
    }
}

static pid_t start_racer(const char *folder, const char *victim)
{
    pid_t pid = fork();

    if (pid == 0)
        exchange_all(folder, victim);
    return pid;
}

static bool is_untouched(const char *victim)
{
    struct stat st;
    char command[8400];

    (void)snprintf(command, sizeof(command), "test -z \"$(ls -A %s)\"", victim);
    return lstat(victim, &st) == 0 && (st.st_mode & 07777) == 0700 && st.st_uid == 0 &&
           system(command) == 0;
}

static void race(enum files_layout layout)
{
    struct config_files c = config();
    char home[300], victim[300], folder[700];
    unsigned n_done = 0;
    pid_t racer;

    (void)snprintf(home, sizeof(home), "%s/home", tap_tmpdir());
    (void)snprintf(victim, sizeof(victim), "%s/victim", tap_tmpdir());
    (void)snprintf(folder, sizeof(folder), "%s/conf", home);
    REQUIRE(chmod(tap_tmpdir(), 0755) == 0 && mkdir(home, 0755) == 0 &&
            mkdir(victim, 0700) == 0 && mkdir(folder, 0755) == 0);
    REQUIRE(chown(home, NOBODY, NOBODY) == 0 && chown(folder, NOBODY, NOBODY) == 0);
    c.target = folder;
    c.layout = layout;
    c.owner = c.group = NOBODY;
    racer = start_racer(layout == FILES_SYMLINK ? folder : home, victim);
    for (unsigned i = 0; i < ROUNDS && is_untouched(victim); i++) {
        struct files_plan p;

        files_plan_init(&p, &c);
        want(&p, "app.conf", "content", IS_NEW);
        want(&p, "sub/deep/x.conf", "content", IS_NEW);
        p.files.at[0].was_delivered = p.files.at[1].was_delivered = true;
        n_done += deliver(&p) == 0;
        if (i % 2)
            files_undo(&p);
        files_plan_deinit(&p);
    }
    (void)kill(racer, SIGKILL);
    (void)waitpid(racer, NULL, 0);
    CHECK(is_untouched(victim));
    tap_note("%u of %d deliveries went through", n_done, (int)ROUNDS);
    (void)snprintf(folder, sizeof(folder), "rm -rf %s %s", home, victim);
    CHECK(system(folder) == 0);
}

/* Each folder that the agent makes where somebody else may write is a link to the victim when it looks again. */
static void exchange_each(enum files_layout layout)
{
    struct config_files c = config();
    char home[300], victim[300], folder[700];
    struct files_plan p;

    (void)snprintf(home, sizeof(home), "%s/home", tap_tmpdir());
    (void)snprintf(victim, sizeof(victim), "%s/victim", tap_tmpdir());
    (void)snprintf(folder, sizeof(folder), "%s/conf", home);
    REQUIRE(mkdir(home, 0755) == 0 && mkdir(victim, 0700) == 0 && mkdir(folder, 0755) == 0);
    REQUIRE(chown(home, NOBODY, NOBODY) == 0 && chown(folder, NOBODY, NOBODY) == 0);
    c.target = folder;
    c.layout = layout;
    c.owner = c.group = NOBODY;
    exchanged_for = victim;
    files_plan_init(&p, &c);
    want(&p, "sub/deep/x.conf", "content", IS_NEW);
    p.files.at[0].was_delivered = true;
    CHECK(deliver(&p) != 0);
    files_plan_deinit(&p);
    exchanged_for = NULL;
    CHECK(is_untouched(victim));
    (void)snprintf(folder, sizeof(folder), "rm -rf %s %s", home, victim);
    CHECK(system(folder) == 0);
}

TEST("a folder that is exchanged for a link as soon as it is made leads nowhere")
{
    if (geteuid() != 0) {
        tap_skip("needs root, to have somebody else's folder");
        return;
    }
    exchange_each(FILES_PLAIN);
    exchange_each(FILES_SYMLINK);
}

TEST("whoever owns the target or its folder leads the agent nowhere else")
{
    if (geteuid() != 0) {
        tap_skip("needs root, to be nobody beside");
        return;
    }
    race(FILES_PLAIN);
    race(FILES_SYMLINK);
}

TEST("the target is reached over links of root, and over nobody else's")
{
    struct config_files c = config();
    char home[300], link_path[400], command[4000];
    struct files_plan p;

    if (geteuid() != 0) {
        tap_skip("needs root, to be nobody beside");
        return;
    }
    (void)snprintf(home, sizeof(home), "%s/home", tap_tmpdir());
    (void)snprintf(link_path, sizeof(link_path), "%s/way/conf", home);
    (void)snprintf(command, sizeof(command), "mkdir -p %s %s/real/conf && ln -s %s/real %s/way",
                   home, tap_tmpdir(), tap_tmpdir(), home);
    REQUIRE(system(command) == 0);
    c.target = link_path;
    for (int by_nobody = 0; by_nobody <= 1; by_nobody++) {
        if (by_nobody)
            CHECK(chown(home, NOBODY, NOBODY) == 0);
        files_plan_init(&p, &c);
        want(&p, "a", "content", IS_NEW);
        p.files.at[0].was_delivered = true;
        CHECK_I64(deliver(&p), by_nobody ? ERR_DENIED : 0);
        if (by_nobody)
            CHECK_STR(str_c(p.code), STR("UNSAFE_PATH"));
        files_plan_deinit(&p);
    }
}

TEST("a file that is a mount of its own is written over, and back; or refused by name")
{
    struct config_files c = config();
    char outer[300], inner[300], command[900];
    struct files_plan p;

    c.in_place = true;
    REQUIRE(before(&c));
    (void)snprintf(outer, sizeof(outer), "%s/outer", tap_tmpdir());
    (void)snprintf(inner, sizeof(inner), "%s/target/main.conf", tap_tmpdir());
    REQUIRE(put(outer, "a longer text that was there before"));
    (void)snprintf(command, sizeof(command), "mount --bind %s %s 2>/dev/null", outer, inner);
    if (system(command) != 0) {
        tap_skip("cannot mount here");
        return;
    }
    for (int in_place = 1; in_place >= 0; in_place--) {
        c = config();
        c.in_place = in_place == 1;
        files_plan_init(&p, &c);
        change(&p, "main.conf", "main 2");
        CHECK_I64(deliver(&p), in_place ? 0 : ERR_DENIED);
        CHECK(holds(outer, in_place ? "main 2" : "a longer text that was there before"));
        if (in_place)
            files_undo(&p);
        else
            CHECK_STR(str_c(p.code), STR("MOUNTED_FILE"));
        files_plan_deinit(&p);
        CHECK(holds(outer, "a longer text that was there before"));
    }
    CHECK(is_clean());
    (void)snprintf(command, sizeof(command), "umount %s", inner);
    CHECK(system(command) == 0);
}

TEST("files in a folder that is a mount of its own change, come back and go like others")
{
    struct config_files c = config();
    char inner[300], command[900];
    struct files_plan p;

    REQUIRE(before(&c));
    (void)snprintf(inner, sizeof(inner), "%s/target/conf.d", tap_tmpdir());
    (void)snprintf(
        command, sizeof(command),
        "mkdir %s/volume && cp %s/a.conf %s/volume && mount --bind %s/volume %s 2>/dev/null",
        tap_tmpdir(), inner, tap_tmpdir(), tap_tmpdir(), inner);
    if (system(command) != 0) {
        tap_skip("cannot mount here");
        return;
    }
    for (int undone = 1; undone >= 0; undone--) {
        c = config();
        files_plan_init(&p, &c);
        change(&p, "main.conf", "main 2");
        change(&p, "conf.d/a.conf", "a 2");
        want(&p, "conf.d/new/b.conf", "b", IS_NEW);
        CHECK_I64(deliver(&p), 0);
        CHECK(holds(target("conf.d/a.conf"), "a 2"));
        CHECK(holds(target("conf.d/new/b.conf"), "b"));
        if (undone)
            files_undo(&p);
        files_plan_deinit(&p);
        CHECK(holds(target("conf.d/a.conf"), undone ? "a 1" : "a 2"));
        CHECK(is_there(target("conf.d/new/b.conf")) == !undone);
        CHECK(is_clean());
    }
    c = config();
    files_plan_init(&p, &c);
    CHECK(VEC_PUSH(&p.removals, "conf.d/a.conf"));
    CHECK(VEC_PUSH(&p.old_folders, "conf.d"));
    CHECK_I64(deliver(&p), 0);
    files_plan_deinit(&p);
    CHECK(!is_there(target("conf.d/a.conf")) && is_there(target("conf.d")));
    CHECK(is_clean());
    (void)snprintf(command, sizeof(command), "umount %s", inner);
    CHECK(system(command) == 0);
}

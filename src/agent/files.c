/*
 * The file sink. See files.h.
 *
 *   plain     PARENT/.NAME.trimtab-XXXXXX/new/...   the staged tree        (inside the target when PARENT will not do)
 *                                        /old/N     replaced and removed files, under second names
 *   symlink   TARGET/..trimtab-XXXXXX/...           the staged tree, which is then the tree
 *             TARGET/..data -> ..trimtab-XXXXXX
 *             TARGET/NAME   -> ..data/NAME          one for each first segment
 */
#include "agent/files.h"

#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SYNC_ONE_BY_ONE_MAX = 64 };

static const char data_link[] = "..data", data_link_new[] = "..data_trimtab",
                  data_link_old[] = "..data_trimtab_old", kept_prefix[] = "..kept_trimtab-",
                  stage_prefix[] = ".trimtab-", tree_prefix[] = "..trimtab-";

void files_plan_init(struct files_plan *p, const struct config_files *config)
{
    *p = (struct files_plan){.config = config, .parent_fd = -1, .base_fd = -1};
    p->target = (struct place){.fd = -1,
                               .folder_mode = config->folder_mode,
                               .owner = config->owner,
                               .group = config->group,
                               .workshop = -1};
    p->fresh = p->target;
    p->fresh.is_private = true;
    p->old = PLACE_NULL;
    p->old.is_private = true;
}

void files_plan_deinit(struct files_plan *p)
{
    files_finish(p);
    for (size_t i = 0; i < p->files.n; i++)
        (void)version_unref(p->files.at[i].version);
    VEC_DEINIT(&p->files);
    VEC_DEINIT(&p->waiting);
    VEC_DEINIT(&p->removals);
    VEC_DEINIT(&p->old_folders);
    VEC_DEINIT(&p->undo);
    VEC_DEINIT(&p->new_folders);
    arena_deinit(&p->arena);
}

static bool is_symlink_layout(const struct files_plan *p)
{
    return p->config->layout == FILES_SYMLINK;
}

/* Names the code of a failure, for the refusal. */
static int refuse(struct files_plan *p, int r, const char *path)
{
    p->culprit = path;
    p->code = r == ERR_LIMIT    ? "NO_SPACE"
              : r == ERR_DENIED ? "UNSAFE_PATH"
              : r == ERR_NOMEM  ? "NO_MEMORY"
                                : "IO";
    if (!p->err.code)
        (void)err_set(&p->err, r, "out of memory");
    return r;
}

/* The story of errno about something in the target. */
static int refuse_errno(struct files_plan *p, const char *verb, const char *name)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_LIMIT : ERR_IO;
    char what[PLACE_PATH_MAX * 2];

    (void)snprintf(what, sizeof(what), "%s/%s", p->config->target, name);
    (void)err_set_errno(&p->err, "cannot %s %s", verb, what);
    p->err.code = code;
    return code;
}

static int refuse_foreign(struct files_plan *p, const char *path)
{
    p->culprit = path;
    p->code = "FOREIGN_FILE";
    (void)err_set(&p->err, ERR_EXISTS,
                  "%s/%s is there already and was not put there by this agent",
                  p->config->target, path);
    err_hint(&p->err, "move it away, or set replace_foreign = yes in [files \"%.*s\"]",
             STR_ARG(p->config->name));
    return ERR_EXISTS;
}

/* ---- what differs ---- */

/* In the layout with links, the first segment must be our link or nothing. */
static int look_link(struct files_plan *p, const char *path, struct place_info *info)
{
    char first[256], to[300], expected[300];
    size_t len = strcspn(path, "/");
    ssize_t n;

    if (len >= sizeof(first))
        return refuse(p, ERR_DENIED, path);
    memcpy(first, path, len);
    first[len] = '\0';
    n = readlinkat(p->target.fd, first, to, sizeof(to) - 1);
    *info = (struct place_info){.sort = PLACE_NOTHING};
    if (n < 0 && errno == ENOENT)
        return 0;
    to[n > 0 ? n : 0] = '\0'; /* what is no link is not ours */
    (void)snprintf(expected, sizeof(expected), "%s/%s", data_link, first);
    info->sort = strcmp(to, expected) == 0 ? PLACE_FILE : PLACE_OTHER;
    return 0;
}

/* The file behind ..data, for verifying. */
static int look_data(struct files_plan *p, const struct file_wanted *f,
                     const struct place_stamp *seen, struct place_info *info)
{
    struct place data = p->target;
    int r;

    *info = (struct place_info){.sort = PLACE_NOTHING};
    if (!*p->previous)
        return 0;
    data.fd =
        openat(p->target.fd, p->previous, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (data.fd < 0)
        return 0;
    r = place_look(&data, f->path, seen, info, &p->err);
    place_close(&data);
    return r;
}

/* What was seen before has the content that was noted then. */
static bool is_as_it_shall_be(const struct place_info *info, const struct file_wanted *f)
{
    bool is_content =
        info->is_seen ? f->is_noted : sha256_eq(&info->hash, &f->version->content_hash);

    return info->sort == PLACE_FILE && is_content && place_attr_fits(&f->attr, &info->attr);
}

static void tell_edit(struct files_plan *p, const struct file_wanted *f,
                      const struct place_info *info)
{
    LOG(WARN, info->sort == PLACE_NOTHING ? "local_removal" : "local_edit",
        LOG_STR("sink", p->config->name), LOG_C("file", f->path),
        LOG_C("action", f->may_restore ? "restored" : "told"));
}

/* What is served differs from what is there. */
static void take_edit(struct files_plan *p, struct file_wanted *f,
                      const struct place_info *info)
{
    bool is_news = !f->is_altered;

    f->is_changed = f->was_restored = f->may_restore;
    f->is_altered = !f->may_restore;
    p->n_restored += f->was_restored;
    if (is_news || f->was_restored)
        tell_edit(p, f, info);
}

/* A file that we believe to have delivered: is it what it shall be? */
static int verify_file(struct files_plan *p, struct file_wanted *f)
{
    struct place_info info, link_info = {.sort = PLACE_FILE};
    const struct place_stamp *seen = p->must_read ? NULL : &f->seen;
    int r = is_symlink_layout(p) ? look_data(p, f, seen, &info)
                                 : place_look(&p->target, f->path, seen, &info, &p->err);

    if (!r && is_symlink_layout(p))
        r = look_link(p, f->path, &link_info);
    if (r)
        return refuse(p, r, f->path);
    if (is_as_it_shall_be(&info, f) && link_info.sort == PLACE_FILE) {
        f->is_changed = f->is_altered = false;
        f->seen = info.stamp;
        return 0;
    }
    f->seen = (struct place_stamp){.inode = 0};
    if (link_info.sort == PLACE_OTHER)
        info.sort = PLACE_OTHER; /* the tree is whole, but what is seen of it is not */
    if (f->is_served)
        take_edit(p, f, &info);
    else
        f->is_changed = true;
    return 0;
}

/* Whether what is in the way of path is ours, and goes in the same switch. */
static bool makes_room(const struct files_plan *p, const char *path)
{
    for (size_t i = 0; i < p->removals.n; i++) {
        size_t len = strlen(p->removals.at[i]);

        if (strncmp(p->removals.at[i], path, len) == 0 && path[len] == '/')
            return true;
    }
    for (size_t i = 0; i < p->old_folders.n; i++)
        if (strcmp(p->old_folders.at[i], path) == 0)
            return true;
    return false;
}

/* A file that is taken over keeps its mode and owner, but for what the configuration or an annotation says. */
static void keep_attr(struct file_wanted *f, const struct place_attr *attr)
{
    f->is_kept = true;
    if (f->may_keep_mode)
        f->attr.mode = attr->mode;
    if (f->attr.owner == (uid_t)-1 && geteuid() == 0)
        f->attr.owner = attr->owner;
    if (f->attr.group == (gid_t)-1 && geteuid() == 0)
        f->attr.group = attr->group;
}

/* A file that we have not delivered: is the place free? */
static int verify_free(struct files_plan *p, struct file_wanted *f)
{
    struct place_info info;
    int r = is_symlink_layout(p) ? look_link(p, f->path, &info)
                                 : place_look(&p->target, f->path, NULL, &info, &p->err);

    if ((r == ERR_DENIED || (!r && info.sort == PLACE_FOLDER)) && makes_room(p, f->path)) {
        p->err = ERR_NULL;
        return 0; /* a folder that is not empty then fails the switch */
    }
    if (r)
        return p->code ? r : refuse(p, r, f->path);
    if (info.sort == PLACE_NOTHING || (is_symlink_layout(p) && info.sort == PLACE_FILE))
        return 0;
    if (is_symlink_layout(p) || info.sort != PLACE_FILE)
        return refuse_foreign(p, f->path);
    if (place_is_intact(
            &info)) { /* ours after all, by its own mark, and nobody has altered it */
        f->is_changed = !is_as_it_shall_be(&info, f);
        return 0;
    }
    if (sha256_eq(&info.hash, &f->version->content_hash) || p->config->replace_foreign)
        keep_attr(f, &info.attr);
    if (is_as_it_shall_be(&info, f)) {
        f->is_changed = false; /* it is there already, as it shall be: taken over */
        return 0;
    }
    return p->config->replace_foreign ? 0 : refuse_foreign(p, f->path);
}

/* Whether one of our files lies below this folder. */
static bool has_ours(const struct files_plan *p, const char *folder)
{
    size_t len = strlen(folder);

    for (size_t i = 0; i < p->files.n; i++)
        if (strncmp(p->files.at[i].path, folder, len) == 0 && p->files.at[i].path[len] == '/')
            return true;
    return false;
}

/* A tree that is exchanged whole has none of what was altered in the one before. */
static void restore_altered(struct files_plan *p)
{
    for (size_t i = 0; i < p->files.n; i++) {
        struct file_wanted *f = &p->files.at[i];

        f->is_changed |= f->is_altered;
        f->was_restored |= f->is_altered;
        p->n_restored += f->is_altered;
        f->is_altered = false;
    }
}

static bool is_wanted(const struct files_plan *p, const char *path)
{
    for (size_t i = 0; i < p->files.n; i++)
        if (strcmp(p->files.at[i].path, path) == 0)
            return true;
    for (size_t i = 0; i < p->waiting.n; i++)
        if (strcmp(p->waiting.at[i], path) == 0)
            return true;
    return false;
}

/* A file of ours of which nothing was known: of this history, so it was deleted there. */
static bool adopt_one(void *ctx, const char *path, const struct sha256 *hash)
{
    struct files_plan *p = ctx;
    const char *kept;

    (void)hash;
    if (is_wanted(p, path))
        return true;
    kept = arena_c(&p->arena, str_c(path));
    LOG(INFO, "own_file_found", LOG_STR("sink", p->config->name), LOG_C("file", path),
        LOG_C("action", "removed, since it is no longer published"));
    return !arena_failed(&p->arena) && VEC_PUSH(&p->removals, kept);
}

/* Links of first segments that are ours and that nobody wants. */
static void adopt_links(struct files_plan *p)
{
    int fd = openat(p->target.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    while (dir && (e = readdir(dir))) {
        struct place_info info;

        if (e->d_type == DT_LNK && look_link(p, e->d_name, &info) == 0 &&
            info.sort == PLACE_FILE && !is_wanted(p, e->d_name) && !has_ours(p, e->d_name))
            (void)adopt_one(p, e->d_name, NULL);
    }
    if (dir)
        (void)closedir(dir);
    else if (fd >= 0)
        (void)close(fd);
}

/* What an agent that has lost its notes had delivered. */
static int adopt(struct files_plan *p)
{
    static const unsigned char unknown[PLACE_HISTORY_BYTES];

    if (!p->must_adopt || memcmp(p->history, unknown, sizeof(unknown)) == 0)
        return 0;
    if (is_symlink_layout(p))
        adopt_links(p);
    else
        place_each_marked(&p->target, p->history, adopt_one, p);
    p->has_adopted = true;
    return arena_failed(&p->arena) ? ERR_NOMEM : 0;
}

static int find_changes(struct files_plan *p)
{
    int r = adopt(p);

    p->is_changed = p->removals.n > 0;
    for (size_t i = 0; i < p->files.n && !r; i++) {
        struct file_wanted *f = &p->files.at[i];

        if (!place_path_is_safe(str_c(f->path))) {
            (void)err_set(&p->err, ERR_DENIED, "the path %s is not safe", f->path);
            return refuse(p, ERR_DENIED, f->path);
        }
        r = f->was_delivered ? verify_file(p, f) : verify_free(p, f);
        p->is_changed |= f->is_changed;
    }
    if (!r && p->is_changed && is_symlink_layout(p))
        restore_altered(p);
    return r;
}

/* ---- the folder of the stage ---- */

/* Whether the stage can be beside the target: files can be moved from there, and we may write there. */
static bool can_be_beside(struct files_plan *p, const char **ret_name)
{
    return place_open_parent(p->config->target, &p->parent_fd, ret_name, NULL) == 0 &&
           place_is_same_mount(p->parent_fd, p->target.fd) &&
           faccessat(p->parent_fd, ".", W_OK, AT_EACCESS) == 0;
}

/* Beside the target when that is on the same mount and we may; else inside it. */
static int make_base(struct files_plan *p)
{
    char prefix[sizeof(p->base) - 8], folder[PLACE_PATH_MAX * 2];
    const char *name = "";
    int r;

    p->base_at = p->target.fd;
    (void)snprintf(folder, sizeof(folder), "%s", p->config->target);
    if (is_symlink_layout(p)) {
        (void)snprintf(prefix, sizeof(prefix), "%s", tree_prefix);
    } else if (can_be_beside(p, &name)) {
        p->base_at = p->parent_fd;
        folder[name - p->config->target] = '\0';
        (void)snprintf(prefix, sizeof(prefix), ".%s%s", name, stage_prefix);
    } else {
        (void)snprintf(prefix, sizeof(prefix), "%s", stage_prefix);
    }
    r = place_make_private(p->base_at, prefix, p->config->folder_mode, p->base, sizeof(p->base),
                           &p->base_fd, &p->err);
    (void)snprintf(p->stage, sizeof(p->stage), "%s/%s%s", folder, p->base,
                   is_symlink_layout(p) ? "" : "/new");
    return r;
}

/* A folder of the stage, whose own folder is nobody else's. */
static int open_part(struct files_plan *p, const char *name, struct place *part)
{
    if (mkdirat(p->base_fd, name, 0700))
        return refuse_errno(p, "make the folder", name);
    part->fd = openat(p->base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (part->fd < 0 || fchmod(part->fd, p->config->folder_mode))
        return refuse_errno(p, "open the folder", name);
    return 0;
}

static int open_stage(struct files_plan *p)
{
    int r = make_base(p);

    if (r)
        return r;
    p->target.workshop = p->base_fd;
    if (is_symlink_layout(p)) {
        p->fresh.fd = fcntl(p->base_fd, F_DUPFD_CLOEXEC, 0);
        return p->fresh.fd < 0 ? refuse_errno(p, "open the folder", p->base) : 0;
    }
    r = open_part(p, "new", &p->fresh);
    return r ? r : open_part(p, "old", &p->old);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* only read */
    *fd = -1;
}

/* By its descriptor: under its name there may be something else by now. */
static void remove_base(struct files_plan *p)
{
    place_close(&p->fresh);
    place_close(&p->old);
    if (*p->base && p->base_fd >= 0)
        place_remove_content(p->base_fd);
    if (*p->base && p->base_at >= 0)
        (void)unlinkat(p->base_at, p->base, AT_REMOVEDIR);
    p->base[0] = '\0';
    p->target.workshop = -1;
    close_fd(&p->base_fd);
    close_fd(&p->parent_fd);
}

/* ---- the staged tree ---- */

static bool is_delivered(const struct files_plan *p, const char *path)
{
    size_t lo = 0, hi = p->files.n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp(p->files.at[mid].path, path);

        if (c == 0)
            return !p->files.at[mid].is_altered;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (size_t i = 0; i < p->removals.n; i++)
        if (strcmp(p->removals.at[i], path) == 0)
            return true;
    return false;
}

/* Whether something that goes lies below this folder. */
static bool has_removed(const struct files_plan *p, const char *folder)
{
    size_t len = strlen(folder);

    for (size_t i = 0; i < p->removals.n; i++)
        if (strncmp(p->removals.at[i], folder, len) == 0 && p->removals.at[i][len] == '/')
            return true;
    return false;
}

/* What is in the target and not ours is shown to the check by links, so that it sees the tree as it would be. */
static int link_foreign(struct files_plan *p, int folder, const char *prefix)
{
    DIR *dir = fdopendir(folder);
    struct dirent *e;
    int r = 0;

    if (!dir) {
        (void)close(folder);
        return err_set_errno(&p->err, "cannot read the folder %s", p->config->target);
    }
    while (!r && (e = readdir(dir))) {
        char path[PLACE_PATH_MAX * 2], to[PLACE_PATH_MAX * 4];
        int below;

        if (e->d_name[0] == '.' && (!e->d_name[1] || e->d_name[1] == '.' ||
                                    str_starts(str_c(e->d_name), STR(".trimtab-"))))
            continue;
        if (snprintf(path, sizeof(path), "%s%s", prefix, e->d_name) >= PLACE_PATH_MAX ||
            is_delivered(p, path))
            continue;
        (void)snprintf(to, sizeof(to), "%s/%s", p->config->target, path);
        if (!has_ours(p, path) && !has_removed(p, path)) {
            r = place_symlink(&p->fresh, path, to, &p->err);
            continue;
        }
        below = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0)
            continue; /* it is in the way; the switch would say so, and staging has looked at it */
        (void)snprintf(path + strlen(path), 2, "/");
        r = link_foreign(p, below, path);
    }
    (void)closedir(dir);
    return r;
}

/*
 * The folders of a tree that is to be served get their owner when all is in them, deepest first: until then everything
 * above is the agent's own, and nobody can exchange anything.
 */
static int give_folders(struct files_plan *p)
{
    return place_give_tree(&p->fresh) ? refuse_errno(p, "give away the folder", p->base) : 0;
}

static struct place_file file_of(const struct files_plan *p, const struct file_wanted *f)
{
    struct place_file file = {
        f->version->content, f->attr, {.is_there = true, .hash = f->version->content_hash}};

    memcpy(file.mark.history, p->history, sizeof(p->history));
    return file;
}

static int write_tree(struct files_plan *p)
{
    bool whole = p->config->check || is_symlink_layout(p);
    size_t n_changed = 0;
    bool one_by_one;
    int r = 0;

    for (size_t i = 0; i < p->files.n; i++)
        n_changed += p->files.at[i].is_changed || is_symlink_layout(p);
    one_by_one = n_changed <= SYNC_ONE_BY_ONE_MAX;
    for (size_t i = 0; i < p->files.n && !r; i++) {
        struct file_wanted *f = &p->files.at[i];
        bool durable = one_by_one && (f->is_changed || is_symlink_layout(p));

        struct place_file file = file_of(p, f);

        if (f->is_altered || (!f->is_changed && !whole))
            continue;
        r = place_write(&p->fresh, f->path, &file, durable ? PLACE_SYNC : PLACE_NO_SYNC,
                        &p->err);
        if (r)
            return refuse(p, r, f->path);
    }
    if (is_symlink_layout(p))
        r = give_folders(p);
    if (r)
        return r;
    if (!one_by_one && syncfs(p->fresh.fd))
        return err_set_errno(&p->err, "cannot sync %s", p->stage);
    return 0;
}

static int stage(struct files_plan *p)
{
    int r = place_open(p->config->target, &p->target, &p->err);
    ssize_t n;

    if (r)
        return r;
    n = is_symlink_layout(p)
            ? readlinkat(p->target.fd, data_link, p->previous, sizeof(p->previous) - 1)
            : 0;
    p->previous[n > 0 ? n : 0] = '\0';
    if (strchr(p->previous, '/')) /* not one of ours */
        p->previous[0] = '\0';
    r = find_changes(p);
    if (r || !p->is_changed)
        return r;
    r = open_stage(p);
    if (!r)
        r = write_tree(p);
    if (!r && p->config->check && !is_symlink_layout(p)) {
        int folder = openat(p->target.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        r = folder < 0 ? err_set_errno(&p->err, "cannot read the folder %s", p->config->target)
                       : link_foreign(p, folder, "");
    }
    return r;
}

int files_stage(struct files_plan *p)
{
    int r = stage(p);

    if (!r)
        return 0;
    if (!p->code)
        (void)refuse(p, r, NULL);
    remove_base(p);
    place_close(&p->target);
    return r;
}

/* ---- the switch, plain ---- */

static int note(struct files_plan *p, struct files_step undo)
{
    return VEC_PUSH(&p->undo, undo) ? 0 : ERR_NOMEM;
}

/* The folders above path that are not there yet are made and noted. */
static int make_folders(struct files_plan *p, const char *path)
{
    const char *slash = path;

    while ((slash = strchr(slash, '/'))) {
        char *folder = arena_c(&p->arena, str_of(path, (size_t)(slash - path)));
        bool made = false;
        int r = arena_failed(&p->arena) ? ERR_NOMEM
                                        : place_make_folder(&p->target, folder, &made, &p->err);

        if (!r && made)
            r = VEC_PUSH(&p->new_folders, folder)
                    ? note(p, (struct files_step){UNDO_MADE_FOLDER, folder, 0})
                    : ERR_NOMEM;
        if (r)
            return r;
        slash++;
    }
    return 0;
}

static void number_name(unsigned number, char out[16])
{
    (void)snprintf(out, 16, "%u", number);
}

/* An empty folder goes to the old files, from where it comes back without space. */
static int move_folder(struct files_plan *p, const char *path, bool *ret_moved)
{
    unsigned number = (unsigned)p->undo.n;
    char name[16];
    int r;

    number_name(number, name);
    *ret_moved = false;
    if (!place_is_empty_folder(&p->target, path) || !place_reaches(&p->target, path, &p->old))
        return 0; /* an empty folder on another mount stays */
    r = note(p, (struct files_step){UNDO_REMOVED_FOLDER, path, number});
    if (!r)
        r = place_move(&p->target, path, &p->old, name, &p->err);
    *ret_moved = r == 0;
    return r;
}

/* What is there gets a second name among the old files, or gives way to a file when it is an empty folder. */
static int keep_old(struct files_plan *p, const struct file_wanted *f, bool *ret_was_there)
{
    char name[16];
    bool moved = false;
    int r;

    number_name((unsigned)p->undo.n, name);
    r = place_link(&p->target, f->path, &p->old, name, &p->err);
    *ret_was_there = r == 0;
    if (r == ERR_NOT_FOUND) {
        p->err = ERR_NULL;
        return 0;
    }
    if (r) {
        int moving = move_folder(p, f->path, &moved);

        if (moved)
            p->err = ERR_NULL;
        return moved ? 0 : moving ? moving : r;
    }
    return r;
}

/* A file that is a mount of its own cannot be replaced, only written over. */
static int write_over(struct files_plan *p, const struct file_wanted *f)
{
    struct place_file file = file_of(p, f);
    unsigned number = (unsigned)p->undo.n;
    char name[16];
    int r;

    if (!p->config->in_place) {
        (void)err_set(&p->err, ERR_DENIED,
                      "%s/%s is a mount of its own, which nothing can be put in the place of",
                      p->config->target, f->path);
        err_hint(&p->err, "mount the folder instead, or set in_place = yes");
        p->code = "MOUNTED_FILE";
        return ERR_DENIED;
    }
    number_name(number, name);
    r = place_copy(&p->target, f->path, &p->old, name, PLACE_COPY_NEW, &p->err);
    if (!r)
        r = note(p, (struct files_step){UNDO_REWRITTEN, f->path, number});
    return r ? r : place_rewrite(&p->target, f->path, &file, &p->err);
}

/* A name beside a file, for what cannot be moved to the stage or from it. */
enum beside { BESIDE_NEW, BESIDE_OLD };
static void beside(const char *path, unsigned number, enum beside which,
                   char out[PLACE_PATH_MAX + 32])
{
    const char *slash = strrchr(path, '/');

    (void)snprintf(out, PLACE_PATH_MAX + 32, "%.*s%s%s%u", slash ? (int)(slash - path + 1) : 0,
                   path, stage_prefix, which == BESIDE_NEW ? "new-" : "old-", number);
}

/* In a folder on another mount than the target: staged and kept beside the file. */
static int put_across(struct files_plan *p, const struct file_wanted *f)
{
    unsigned number = (unsigned)p->undo.n;
    struct place_file file = file_of(p, f);
    char fresh[PLACE_PATH_MAX + 32], old[PLACE_PATH_MAX + 32];
    int r, kept;

    beside(f->path, number, BESIDE_NEW, fresh);
    beside(f->path, number, BESIDE_OLD, old);
    (void)place_remove(&p->target, fresh, NULL); /* of somebody who died here; likewise */
    (void)place_remove(&p->target, old, NULL);
    r = place_write(&p->target, fresh, &file, PLACE_SYNC, &p->err);
    if (r)
        return r;
    kept = place_link(&p->target, f->path, &p->target, old, &p->err);
    if (kept && kept != ERR_NOT_FOUND)
        r = kept;
    if (!r)
        r = note(p, (struct files_step){kept ? UNDO_PUT_ACROSS : UNDO_ACROSS, f->path, number});
    if (!r)
        r = place_move(&p->target, fresh, &p->target, f->path, &p->err);
    if (r)
        (void)place_remove(&p->target, fresh, NULL);
    return r;
}

static int remove_across(struct files_plan *p, const char *path)
{
    unsigned number = (unsigned)p->undo.n;
    char old[PLACE_PATH_MAX + 32];
    int r = note(p, (struct files_step){UNDO_ACROSS, path, number});

    beside(path, number, BESIDE_OLD, old);
    return r ? r : place_move(&p->target, path, &p->target, old, &p->err);
}

static int put_file(struct files_plan *p, struct file_wanted *f)
{
    unsigned number = (unsigned)p->undo.n;
    bool was_there = false;
    int r = make_folders(p, f->path);

    if (!r && place_is_mounted(&p->target, f->path))
        return write_over(p, f);
    if (!r && !place_reaches(&p->target, f->path, &p->fresh))
        return put_across(p, f);
    if (!r) {
        number = (unsigned)p->undo.n;
        r = keep_old(p, f, &was_there);
    }
    if (!r)
        r = note(p, (struct files_step){was_there ? UNDO_REPLACED : UNDO_PUT, f->path,
                                        was_there ? number : (unsigned)p->undo.n});
    return r ? r : place_move(&p->fresh, f->path, &p->target, f->path, &p->err);
}

static int remove_file(struct files_plan *p, const char *path)
{
    unsigned number = (unsigned)p->undo.n;
    char name[16];
    enum place_sort sort;
    int r = place_sort_of(&p->target, path, &sort, &p->err);

    if (r == ERR_DENIED || (!r && (sort == PLACE_NOTHING || sort == PLACE_FOLDER))) {
        p->err = ERR_NULL;
        return 0; /* gone already, or something else has taken its place */
    }
    if (r)
        return r;
    if (!place_reaches(&p->target, path, &p->old))
        return remove_across(p, path);
    number_name(number, name);
    r = note(p, (struct files_step){UNDO_REMOVED, path, number});
    return r ? r : place_move(&p->target, path, &p->old, name, &p->err);
}

/* A removal that makes room for a file below it, or above. */
static bool is_in_the_way(const struct files_plan *p, const char *path)
{
    size_t len = strlen(path);

    for (size_t i = 0; i < p->files.n; i++) {
        const char *other = p->files.at[i].path;
        size_t other_len = strlen(other);

        if ((strncmp(other, path, len) == 0 && other[len] == '/') ||
            (strncmp(path, other, other_len) == 0 && path[other_len] == '/'))
            return true;
    }
    return false;
}

static int remove_files(struct files_plan *p, bool in_the_way)
{
    int r = 0;

    for (size_t i = 0; i < p->removals.n && !r; i++) {
        if (is_in_the_way(p, p->removals.at[i]) != in_the_way)
            continue;
        r = remove_file(p, p->removals.at[i]);
        if (r)
            p->culprit = p->removals.at[i];
    }
    return r;
}

/* Folders that we made and that hold nothing any more. Deepest first: they are sorted, so from the end. */
static int remove_folders(struct files_plan *p)
{
    bool moved;
    int r = 0;

    for (size_t i = p->old_folders.n; i > 0 && !r; i--) {
        const char *path = p->old_folders.at[i - 1];

        if (!has_ours(p, path))
            r = move_folder(p, path, &moved);
    }
    return r;
}

static int sync_folders(struct files_plan *p)
{
    int r = 0;

    if (p->undo.n > SYNC_ONE_BY_ONE_MAX)
        return syncfs(p->target.fd)
                   ? err_set_errno(&p->err, "cannot sync %s", p->config->target)
                   : 0;
    for (size_t i = 0; i < p->undo.n && !r; i++)
        r = place_sync_parent(&p->target, p->undo.at[i].path, &p->err);
    return r;
}

static int switch_plain(struct files_plan *p)
{
    int r = remove_files(p, true);

    for (size_t i = 0; i < p->files.n && !r; i++) {
        if (!p->files.at[i].is_changed)
            continue;
        r = put_file(p, &p->files.at[i]);
        if (r)
            p->culprit = p->files.at[i].path;
    }
    if (!r)
        r = remove_files(p, false);
    if (!r)
        r = remove_folders(p);
    return r ? r : sync_folders(p);
}

static void undo_one(struct files_plan *p, const struct files_step *u)
{
    struct err err = ERR_NULL;
    char name[16], old[PLACE_PATH_MAX + 32];
    int r = 0;

    number_name(u->number, name);
    beside(u->path, u->number, BESIDE_OLD, old);
    switch (u->sort) {
    case UNDO_PUT: r = place_move(&p->target, u->path, &p->old, name, &err); break;
    case UNDO_REPLACED:
    case UNDO_REMOVED:
    case UNDO_REMOVED_FOLDER: r = place_move(&p->old, name, &p->target, u->path, &err); break;
    case UNDO_REWRITTEN:
        r = place_copy(&p->old, name, &p->target, u->path, PLACE_COPY_OVER, &err);
        break;
    case UNDO_ACROSS: r = place_move(&p->target, old, &p->target, u->path, &err); break;
    case UNDO_PUT_ACROSS: r = place_remove(&p->target, u->path, &err); break;
    case UNDO_MADE_FOLDER: (void)place_remove_empty(&p->target, u->path); break;
    }
    if (r && r != ERR_NOT_FOUND) /* what was never done needs no undoing */
        LOG(ERROR, "undo_failed", LOG_STR("sink", p->config->name), LOG_C("file", u->path),
            LOG_C("error", err.text));
}

/* ---- the switch, symlink ---- */

/* A link of ours in the target; one that somebody left who died here goes. */
static int make_link(struct files_plan *p, const char *to, const char *name)
{
    (void)unlinkat(p->target.fd, name, 0);
    if (symlinkat(to, p->target.fd, name))
        return refuse_errno(p, "make the link", name);
    return 0;
}

static int point_data(struct files_plan *p, const char *link)
{
    if (renameat(p->target.fd, link, p->target.fd, data_link))
        return refuse_errno(p, "switch", data_link);
    return 0;
}

static void kept_name(unsigned number, char out[64])
{
    (void)snprintf(out, 64, "%s%u", kept_prefix, number);
}

/* The links of first segments; each name once, as the files are sorted. */
static int make_links(struct files_plan *p)
{
    int r = 0;

    for (size_t i = 0; i < p->files.n && !r; i++) {
        char first[256], to[300], kept[64];
        size_t len = strcspn(p->files.at[i].path, "/");
        struct place_info info;

        if (i && strncmp(p->files.at[i - 1].path, p->files.at[i].path, len) == 0 &&
            strcspn(p->files.at[i - 1].path, "/") == len)
            continue;
        r = look_link(p, p->files.at[i].path, &info);
        if (r || info.sort == PLACE_FILE)
            continue;
        (void)snprintf(first, sizeof(first), "%.*s", (int)len, p->files.at[i].path);
        (void)snprintf(to, sizeof(to), "%s/%s", data_link, first);
        kept_name((unsigned)p->undo.n, kept);
        r = note(p, (struct files_step){info.sort == PLACE_OTHER ? UNDO_REPLACED : UNDO_PUT,
                                        arena_c(&p->arena, str_c(first)), (unsigned)p->undo.n});
        /* Somebody has put it in the place of our link: staging has refused what is foreign. */
        if (!r && info.sort == PLACE_OTHER && renameat(p->target.fd, first, p->target.fd, kept))
            r = refuse_errno(p, "move", first);
        if (!r && symlinkat(to, p->target.fd, first))
            r = refuse_errno(p, "make the link", first);
    }
    return r;
}

static int switch_symlink(struct files_plan *p)
{
    int r = fsync(p->fresh.fd) ? err_set_errno(&p->err, "cannot sync %s", p->base) : 0;

    if (!r && *p->previous) /* what an undo needs, while there may be space */
        r = make_link(p, p->previous, data_link_old);
    if (!r)
        r = make_link(p, p->base, data_link_new);
    if (!r)
        r = point_data(p, data_link_new);
    p->is_pointed = r == 0;
    if (!r)
        r = make_links(p);
    if (!r && fsync(p->target.fd))
        r = err_set_errno(&p->err, "cannot sync %s", p->config->target);
    return r;
}

static void undo_links(struct files_plan *p)
{
    for (size_t i = p->undo.n; i > 0; i--) {
        const struct files_step *u = &p->undo.at[i - 1];
        char kept[64];

        kept_name(u->number, kept);
        if (u->sort == UNDO_REPLACED &&
            faccessat(p->target.fd, kept, F_OK, AT_SYMLINK_NOFOLLOW))
            continue;                             /* it was never moved */
        (void)unlinkat(p->target.fd, u->path, 0); /* our link */
        if (u->sort == UNDO_REPLACED && renameat(p->target.fd, kept, p->target.fd, u->path))
            LOG(ERROR, "undo_failed", LOG_STR("sink", p->config->name), LOG_C("file", u->path),
                LOG_C("error", strerror(errno)));
    }
}

static void undo_symlink(struct files_plan *p)
{
    undo_links(p);
    if (!p->is_pointed)
        return;
    p->is_pointed = false;
    if (!*p->previous)
        (void)unlinkat(p->target.fd, data_link, 0);
    else if (point_data(p, data_link_old))
        LOG(ERROR, "undo_failed", LOG_STR("sink", p->config->name),
            LOG_C("error", p->err.text));
}

/* Links of first segments that nothing is behind any more. */
static void remove_links(struct files_plan *p)
{
    for (size_t i = 0; i < p->removals.n; i++) {
        char first[256];
        size_t len = strcspn(p->removals.at[i], "/");
        struct place_info info;
        struct stat st;

        (void)snprintf(first, sizeof(first), "%.*s", (int)MIN(len, sizeof(first) - 1),
                       p->removals.at[i]);
        if (!look_link(p, first, &info) && info.sort == PLACE_FILE &&
            fstatat(p->fresh.fd, first, &st, 0))
            (void)unlinkat(p->target.fd, first, 0);
    }
}

/* ---- both ---- */

int files_switch(struct files_plan *p)
{
    int r;

    if (!p->is_changed)
        return 0;
    p->is_switched = true;
    r = is_symlink_layout(p) ? switch_symlink(p) : switch_plain(p);
    if (!r)
        return 0;
    if (!p->code)
        (void)refuse(p, r, p->culprit);
    files_undo(p);
    return r;
}

void files_undo(struct files_plan *p)
{
    if (!p->is_switched)
        return;
    p->is_switched = false;
    if (is_symlink_layout(p)) {
        undo_symlink(p);
    } else {
        for (size_t i = p->undo.n; i > 0; i--)
            undo_one(p, &p->undo.at[i - 1]);
        if (sync_folders(p))
            LOG(ERROR, "undo_failed", LOG_STR("sink", p->config->name),
                LOG_C("error", p->err.text));
    }
    p->undo.n = 0;
    p->new_folders.n = 0;
}

/* Each folder that has a file of ours once: they are sorted. */
static void watch_folders(struct files_plan *p)
{
    struct place tree = p->target;
    size_t watched = SIZE_MAX; /* length of the folder before */

    if (is_symlink_layout(p) && !p->is_switched)
        tree.fd = openat(p->target.fd, data_link, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    else if (is_symlink_layout(p))
        tree.fd = p->fresh.fd;
    watch_folder(p->watch, p->target.fd);
    for (size_t i = 0; i < p->files.n && tree.fd >= 0; i++) {
        const char *path = p->files.at[i].path, *slash = strrchr(path, '/'), *last;
        size_t len = slash ? (size_t)(slash - path) : 0;
        bool is_same = i && len == watched && strncmp(p->files.at[i - 1].path, path, len) == 0;
        int fd;

        watched = len;
        if (is_same || place_parent(&tree, path, PLACE_FIND, &fd, &last, NULL))
            continue;
        watch_folder(p->watch, fd);
        (void)close(fd); /* only read */
    }
    if (tree.fd >= 0 && tree.fd != p->target.fd && tree.fd != p->fresh.fd)
        (void)close(tree.fd);
}

/* What an undo would have needed in the target. */
static void remove_kept(struct files_plan *p)
{
    (void)unlinkat(p->target.fd, data_link_new, 0);
    (void)unlinkat(p->target.fd, data_link_old, 0);
    for (size_t i = 0; i < p->undo.n; i++) {
        char kept[64];

        kept_name(p->undo.at[i].number, kept);
        if (p->undo.at[i].sort == UNDO_REPLACED)
            place_remove_tree(p->target.fd, kept);
    }
}

static void remove_beside(struct files_plan *p)
{
    for (size_t i = 0; i < p->undo.n; i++) {
        char old[PLACE_PATH_MAX + 32];

        if (p->undo.at[i].sort != UNDO_ACROSS)
            continue;
        beside(p->undo.at[i].path, p->undo.at[i].number, BESIDE_OLD, old);
        (void)place_remove(&p->target, old,
                           NULL); /* what is left is found at the next change */
    }
}

void files_finish(struct files_plan *p)
{
    if (p->target.fd >= 0 && p->watch && (p->is_changed || p->must_read))
        watch_folders(p);
    if (p->target.fd >= 0 && is_symlink_layout(p))
        remove_kept(p);
    else if (p->target.fd >= 0)
        remove_beside(p);
    if (p->is_switched && is_symlink_layout(p)) {
        remove_links(p);
        if (str_starts(str_c(p->previous), str_c(tree_prefix)))
            place_remove_tree(p->target.fd, p->previous);
        p->base[0] = '\0'; /* it is the tree now */
    }
    remove_base(p);
    place_close(&p->target);
}

/* Names with the prefix and n more bytes; 0: any number of them. */
static void sweep(int folder, struct str prefix, size_t n, const char *spare)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (str_starts(str_c(e->d_name), prefix) && strcmp(e->d_name, spare) != 0 &&
            (n == 0 || strlen(e->d_name) == prefix.len + n))
            place_remove_tree(folder, e->d_name);
    if (dir)
        (void)closedir(dir);
    else
        close_fd(&fd);
}

static void sweep_target(int target)
{
    char current[256] = "";
    ssize_t n = readlinkat(target, data_link, current, sizeof(current) - 1);

    current[n > 0 ? n : 0] = '\0';
    sweep(target, str_c(stage_prefix), 6, "");
    sweep(target, str_c(kept_prefix), 0, "");
    sweep(target, str_c(data_link_new), 0, "");
    sweep(target, str_c(tree_prefix), 6, current);
}

void files_sweep(const struct config_files *config)
{
    char prefix[300];
    const char *name;
    int parent = -1, target;

    if (place_open_parent(config->target, &parent, &name, NULL))
        return;
    (void)snprintf(prefix, sizeof(prefix), ".%s%s", name, stage_prefix);
    sweep(parent, str_c(prefix), 6, "");
    target = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (target < 0) { /* not made yet, or the operator's link */
        struct place p = PLACE_NULL;

        if (faccessat(parent, name, F_OK, 0) == 0 && place_open(config->target, &p, NULL) == 0)
            target = p.fd;
    }
    if (target >= 0)
        sweep_target(target);
    close_fd(&target);
    close_fd(&parent);
}

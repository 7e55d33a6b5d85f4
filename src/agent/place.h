/*
 * A place on the host: files under one folder, and never outside of it. Every path is followed from the folder's
 * descriptor without symbolic links, by the kernel (openat2) or one component at a time, so that nobody who can write
 * there can lead the agent elsewhere. What is made gets its owner and mode by its descriptor, and folders get them where
 * nobody else can exchange them. Blocking; for worker threads.
 *
 * Results: ERR_DENIED (a link or something that is no folder is in the way), ERR_LIMIT (no space), ERR_NOT_FOUND,
 * ERR_IO; always with the story.
 */
#ifndef TRIMTAB_AGENT_PLACE_H
#define TRIMTAB_AGENT_PLACE_H

#include "base/err.h"
#include "base/hash.h"

#include <sys/types.h>

enum { PLACE_PATH_MAX = 1024, PLACE_DEPTH_MAX = 32 };

/* Mode and owner of a file. */
struct place_attr {
    mode_t mode;
    uid_t owner; /* -1: as the agent */
    gid_t group;
};

/*
 * What a file that the agent wrote says of itself, where the file system keeps such things: the hash of what was written,
 * and the history that it was delivered from. An agent that has lost its own notes knows its files by it.
 */
enum { PLACE_HISTORY_BYTES = 16 };
struct place_mark {
    bool is_there;
    struct sha256 hash;
    unsigned char history[PLACE_HISTORY_BYTES];
};

struct place {
    int fd; /* of the folder; -1: not open */
    mode_t folder_mode;
    uid_t owner; /* of folders that are made; -1: as the agent */
    gid_t group;
    int workshop; /* a folder of the agent's own, where folders are made before they are moved here; -1: made here */
    bool is_private; /* folders here stay the agent's own */
};
#define PLACE_NULL ((struct place){.fd = -1, .workshop = -1})

/* Relative, no empty segment, no "." and "..", nothing of ours (".trimtab-", "..data"), within the limits. */
must_use bool place_path_is_safe(struct str path);

/*
 * Opens folder; makes it when it is missing. Its own path may hold links, since it is the operator's word, but only those
 * that nobody else can have put there: links of root or of the agent's user, in folders where nobody else may exchange
 * them. ERR_DENIED for any other.
 */
must_use int place_open(const char *folder, struct place *p, struct err *err);
/* The folder that holds it, by the same rules. *ret_name points into folder. */
must_use int place_open_parent(const char *folder, int *ret_fd, const char **ret_name,
                               struct err *err);
/* A folder of the agent's own in the folder at: prefix and six more characters, into name. ERR_DENIED: exchanged at once. */
must_use int place_make_private(int at, const char *prefix, mode_t mode, char *name,
                                size_t size, int *ret_fd, struct err *err);
/* Whether the two are on one mount, so that files can be moved between them. */
bool place_is_same_mount(int a, int b);
void place_close(struct place *p);

/* The folder that holds path, and the last segment of path. With PLACE_MAKE missing folders are made. */
enum place_make { PLACE_FIND, PLACE_MAKE };
must_use int place_parent(const struct place *p, const char *path, enum place_make make,
                          int *ret_fd, const char **ret_last, struct err *err);

/* What is at a path. */
enum place_sort { PLACE_NOTHING, PLACE_FILE, PLACE_FOLDER, PLACE_OTHER };
/* By which a file is known again without reading it: nobody can set the time of its last change. */
struct place_stamp {
    uint64_t device, inode; /* 0: none */
    int64_t size, changed_s, modified_s;
    uint32_t changed_ns, modified_ns;
};
struct place_info {
    enum place_sort sort;
    bool is_seen; /* a file with the stamp that it had when it was seen last: it was not read */
    struct sha256 hash; /* of a file that was read */
    struct place_attr attr;
    struct place_stamp stamp;
    struct place_mark mark; /* of a file that was read */
};
/* seen: the stamp of a file that needs no reading, may be NULL. */
must_use int place_look(const struct place *p, const char *path, const struct place_stamp *seen,
                        struct place_info *ret_info, struct err *err);
/* The same without reading. */
must_use int place_sort_of(const struct place *p, const char *path, enum place_sort *ret_sort,
                           struct err *err);
/* Whether a file has what was wanted; what is left as it is fits always. */
bool place_attr_fits(const struct place_attr *wanted, const struct place_attr *is);

/* Writes a new file; makes folders. PLACE_SYNC: durable on return. */
enum place_sync { PLACE_NO_SYNC, PLACE_SYNC };
struct place_file {
    struct str bytes;
    struct place_attr attr;
    struct place_mark mark;
};
must_use int place_write(const struct place *p, const char *path, const struct place_file *file,
                         enum place_sync sync, struct err *err);

/* Writes over a file that is there, in its place: a reader, or a crash, may see a part of it. */
must_use int place_rewrite(const struct place *p, const char *path,
                           const struct place_file *file, struct err *err);
/* The same with the bytes, mode and owner of another file; and a copy that is made. */
enum place_copying { PLACE_COPY_NEW, PLACE_COPY_OVER };
must_use int place_copy(const struct place *from, const char *path, const struct place *to,
                        const char *to_path, enum place_copying how, struct err *err);
/* All files below the folder that have a mark of this history, and still what was written. False from fn ends it. */
typedef bool place_marked_fn(void *ctx, const char *path, const struct sha256 *hash);
void place_each_marked(const struct place *p, const unsigned char history[PLACE_HISTORY_BYTES],
                       place_marked_fn *fn, void *ctx);
/* Whether the file still is what the agent wrote. */
bool place_is_intact(const struct place_info *info);

/* Whether the file is a mount of its own, so that nothing can be put in its place. */
bool place_is_mounted(const struct place *p, const char *path);

/* A symbolic link at path; makes folders. */
must_use int place_symlink(const struct place *p, const char *path, const char *to,
                           struct err *err);

/* Renames from one place to another of the same file system, replacing a file; makes folders there. */
must_use int place_move(const struct place *from, const char *path, const struct place *to,
                        const char *to_path, struct err *err);
/* A second name for a file. */
must_use int place_link(const struct place *from, const char *path, const struct place *to,
                        const char *to_path, struct err *err);

must_use int place_make_folder(const struct place *p, const char *path, bool *ret_made,
                               struct err *err);
/* The file, or the link, goes. ERR_NOT_FOUND. */
int place_remove(const struct place *p, const char *path, struct err *err);
/* Whether files can be moved between the folder of path and another one. */
bool place_reaches(const struct place *p, const char *path, const struct place *other);
bool place_is_empty_folder(const struct place *p, const char *path);
/* Returns whether the folder was empty and is gone. */
bool place_remove_empty(const struct place *p, const char *path);

/* fsync of the folder that holds path. */
must_use int place_sync_parent(const struct place *p, const char *path, struct err *err);

/* Folders below it, and itself, get the owner of the place, deepest first. ERR_IO with errno. */
must_use int place_give_tree(const struct place *p);

/* Removes all that is in the folder fd, likewise. */
void place_remove_content(int fd);
/* Removes name in the folder fd with all that is below it, following nothing. Best effort. */
void place_remove_tree(int fd, const char *name);

#endif

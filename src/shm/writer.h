/*
 * Writing a segment: the values of one group of readers, in one file, changed all at once or not at all.
 *
 * Changes go to the half that nobody reads, which first catches up with the other one in the pages that the last changes
 * touched: the cost is that of the change. Then one store switches. When there is no more room the values go to a larger file, which
 * takes the name; readers follow. Killed at any moment, the file has the values of before or of after; a writer that starts
 * on it proves them and goes on.
 *
 *      killed                              then
 *      while it writes a half              that half is not read; the next writer brings it up to date
 *      behind the switch, before the wake  who sleeps wakes by its own time limit
 *      while it makes a larger file        that one has no name that anybody reads; the next writer removes it
 *      between its name and `moved`        readers look at the name now and then, and see another file
 *
 * Blocking, for one thread. A second writer of the same name is refused, by a lock on the file ".NAME.lock".
 */
#ifndef TRIMTAB_SHM_WRITER_H
#define TRIMTAB_SHM_WRITER_H

#include "base/err.h"
#include "shm/image.h"

#include <sys/types.h>

enum { SHM_NAME_MAX = 200 };
#define SHM_OWNER_KEEP ((uid_t)-1)
#define SHM_GROUP_KEEP ((gid_t)-1)

struct shm_writer_opts {
    int folder;       /* descriptor of the folder, borrowed for as long as the writer is open */
    const char *name; /* of the file in it */
    uid_t owner;      /* SHM_OWNER_KEEP: the process's */
    gid_t group;      /* SHM_GROUP_KEEP: the process's */
    mode_t mode;      /* without the right to write for group and others */
    uint64_t max_bytes; /* of the file */
};

struct shm_writer;

/*
 * Goes on with the file if it is there and whole; what is wrong with it else, *ret_story tells. ERR_INVALID, ERR_LOCKED (another
 * writer has it), ERR_IO, ERR_NOMEM.
 */
must_use int shm_writer_open(const struct shm_writer_opts *opts, struct shm_writer **ret,
                             struct err *ret_story, struct err *err);
struct shm_writer *shm_writer_close(struct shm_writer *w); /* the file stays; always NULL */

struct shm_item {
    struct str name, json;
    bool is_drop; /* the name goes; json is not looked at */
};

/*
 * Changes these items and says which revision that is; of a name twice the last counts. 0: every reader that begins from now
 * on sees all of it. What else was altered is not looked for: shm_writer_prove does. Else nothing was changed: ERR_LIMIT (max_bytes), ERR_CORRUPT (the segment was altered: replace all),
 * ERR_IO (no space), ERR_NOMEM.
 */
must_use int shm_writer_apply(struct shm_writer *w, const struct shm_item *items, size_t n,
                              uint64_t revision, struct err *err);
/* The same, and no other names are left; all of it is proved. Makes a file when there is none, or when it was altered. */
must_use int shm_writer_replace(struct shm_writer *w, const struct shm_item *items, size_t n,
                                uint64_t revision, struct err *err);

/*
 * The same, and it needs no space: they go to the half that nobody reads, if they fit into the file, as what was in it before
 * a change always does.
 */
must_use int shm_writer_put_back(struct shm_writer *w, const struct shm_item *items, size_t n,
                                 uint64_t revision, struct err *err);

/* Whether there is something to read, and its revision. */
bool shm_writer_has_values(const struct shm_writer *w);
uint64_t shm_writer_revision(const struct shm_writer *w);

/*
 * Proves that the name leads to this file, with the mode and owner that were asked for, and that everything that readers
 * read is what was written; all of it goes by fn, if there is one. ERR_CORRUPT with what is wrong; ERR_NOT_FOUND without
 * values; what fn returns.
 */
must_use int shm_writer_prove(const struct shm_writer *w, shm_record_fn *fn, void *ctx,
                              struct err *err);

#endif

/*
 * Files of one [files] section: brings them from what they are to what they shall be, in steps that can be taken back. It
 * knows nothing of checks and reloads (sink_file.c) nor of groups (job.c).
 *
 *   files_stage    the new tree beside the target, durable; nothing in the target has changed
 *   files_switch   in place, file by file (plain) or by one rename (symlink)
 *   files_undo     as it was before the switch; needs no space
 *   files_finish   what was needed for undoing goes away
 *
 * Blocking; for a worker thread. A plan belongs to one thread at a time.
 */
#ifndef TRIMTAB_AGENT_FILES_H
#define TRIMTAB_AGENT_FILES_H

#include "agent/config.h"
#include "agent/place.h"
#include "agent/watch.h"
#include "base/arena.h"
#include "model/version.h"

/* A file as it shall be. */
struct file_wanted {
    const char *path;
    struct version *version; /* referenced */
    struct str key;          /* by which its sink knows it; on the plan's arena */
    struct place_attr attr;
    bool may_keep_mode;      /* of a file that is taken over */
    bool is_kept;            /* mode or owner are those that it had */
    bool was_delivered;      /* by us, as far as we know */
    bool is_noted;           /* with this content, whatever is found there */
    bool is_served;          /* nothing new is wanted: what differs was altered on the host, */
    bool may_restore;        /* and is put right, or only told */
    bool is_altered;         /* as it was found: differs, and stays so */
    bool was_restored;       /* differed, and is put right */
    struct place_stamp seen; /* when it was last found to be as it shall be; before and after */
    bool is_changed;         /* it is to be put in place */
};

struct files_step {
    enum {
        UNDO_PUT,
        UNDO_REPLACED,
        UNDO_REWRITTEN,
        UNDO_ACROSS,
        UNDO_PUT_ACROSS,
        UNDO_REMOVED,
        UNDO_MADE_FOLDER,
        UNDO_REMOVED_FOLDER
    } sort;
    const char *path;
    unsigned number; /* names the old file: in old/, or beside the links */
};

/* What is to be done, and what was. Filled by its maker down to the line. */
struct files_plan {
    const struct config_files *config;
    struct arena arena;
    VEC(struct file_wanted) files; /* sorted by path; none inside another */
    VEC(const char *) waiting; /* names that are published, and not to be put in place now */
    VEC(const char *) removals;    /* delivered files that shall not be there any more */
    VEC(const char *) old_folders; /* folders that we once made */
    struct watch *watch;           /* of the folders; NULL: none */
    unsigned char
        history[PLACE_HISTORY_BYTES]; /* that they are delivered from; all 0: not known */
    bool has_adopted;
    bool must_adopt; /* nothing is known of what is there: files of ours that nobody wants go */
    bool must_read; /* also what has the stamp that it had when it was seen last */
    /* ---- */
    bool is_changed; /* there is something to switch */
    bool is_switched;
    uint64_t n_restored;                /* local edits that were found */
    char stage[PLACE_PATH_MAX * 2 + 320]; /* for {stage}: absolute path of the new tree */
    char base
        [300]; /* its own folder, in the folder base_at: parent_fd or that of target; "": there is none */
    int parent_fd, base_at, base_fd;
    struct place target, fresh, old;
    VEC(struct files_step) undo;
    VEC(const char *) new_folders;
    char previous[256];  /* symlink: where ..data pointed; "": nowhere */
    bool is_pointed;     /* symlink: ..data points to the new tree */
    const char *code;    /* of a refusal: NO_SPACE, FOREIGN_FILE, UNSAFE_PATH, IO */
    const char *culprit; /* path; NULL: none in particular */
    struct err err;
};

void files_plan_init(struct files_plan *p, const struct config_files *config);
void files_plan_deinit(struct files_plan *p);

/* 0, or negative with code, culprit and err in the plan; then nothing is left behind. */
must_use int files_stage(struct files_plan *p);
/* After a failure the switch is undone already. */
must_use int files_switch(struct files_plan *p);
void files_undo(struct files_plan *p);
void files_finish(struct files_plan *p);

/* Removes what a process that died has left beside or in the target. */
void files_sweep(const struct config_files *config);

#endif

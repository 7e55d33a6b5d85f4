/*
 * Folders of files as lists of named bytes, both ways, without ever leaving the folder.
 */
#ifndef TRIMTAB_CLI_TREE_H
#define TRIMTAB_CLI_TREE_H

#include "base/arena.h"
#include "base/err.h"

struct tree_file {
    const char *name; /* relative, with '/' */
    unsigned mode;
    struct str content;
};

struct tree_files {
    struct tree_file *at;
    size_t n, cap;
};

/*
 * Reads all regular files below root, in byte order of their names. A symbolic link that leads out of root is refused
 * (ERR_DENIED), as are names that a resource cannot have; what is neither file nor folder is refused too.
 */
must_use int tree_read(const char *root, struct arena *a, struct tree_files *ret,
                       struct err *err);

/* Writes one file below root, with its folders. The name must be relative, without "..": ERR_DENIED. */
must_use int tree_write(const char *root, const char *name, struct str content,
                        struct err *err);

#endif

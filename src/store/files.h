/*
 * What the store needs of a file system for what lies beside a database: a handful of calls, so that tests can put a
 * disk in their place that fails and loses its power. Any thread; a file is used by one at a time.
 */
#ifndef TRIMTAB_STORE_FILES_H
#define TRIMTAB_STORE_FILES_H

#include "base/err.h"
#include "base/str.h"

enum store_file_mode {
    STORE_FILE_READ,  /* ERR_NOT_FOUND when it is not there */
    STORE_FILE_WRITE, /* empty, mode 0600, whether it was there or not */
};

/* 0 to go on. */
typedef int store_file_fn(void *ctx, const char *path);

struct store_files {
    int (*open)(const char *path, enum store_file_mode mode, void **ret_file, struct err *err);
    int (*write)(void *file, struct str bytes, struct err *err);
    /* Up to n bytes; fewer only at the end. */
    int (*read)(void *file, char *to, size_t n, size_t *ret_n, struct err *err);
    int (*sync)(void *file, struct err *err);
    /* What was synced need not stay in memory; later reads come from the disk. */
    void (*forget)(void *file);
    void (*close)(void *file);
    int (*rename)(const char *from, const char *to, struct err *err);
    int (*sync_folder)(const char *path, struct err *err); /* of the file */
    int (*remove)(const char *path, struct err *err);      /* 0 also when it is not there */
    /* The files whose whole path begins so. */
    int (*each)(const char *prefix, store_file_fn *fn, void *ctx, struct err *err);
};

extern const struct store_files store_files_system;

#endif

/*
 * Differences between two texts, in the unified format (POSIX diff -u), by lines.
 */
#ifndef TRIMTAB_MODEL_DIFF_H
#define TRIMTAB_MODEL_DIFF_H

#include "base/buf.h"

/* What the two sides are called in the first two lines; empty text stands for "/dev/null". */
struct diff_names {
    struct str before, after;
};

/*
 * Appends the difference with three lines of context; nothing when the texts are equal. Contents that are not
 * UTF-8 get one line that says so. Texts whose difference is too large to be computed in bounded time are
 * shown as replaced as a whole. Failure is remembered by the buffer; ERR_NOMEM when there was no memory for
 * the work itself.
 */
must_use int diff_unified(struct str before, struct str after, const struct diff_names *names,
                          struct buf *out);

#endif

/*
 * Changing one half of a segment, by whoever writes it: the records and buckets in place, with their checks, stamps and
 * sums. Knows no files and no other half.
 */
#ifndef TRIMTAB_SHM_EDIT_H
#define TRIMTAB_SHM_EDIT_H

#include "base/vec.h"
#include "shm/image.h"

enum { SHM_FULL = 1 }; /* outcome: needs a larger shape, or one without dead records */

/* Numbers of pages; when there was no memory for one, all of them are meant. */
struct shm_pages {
    VEC(uint32_t) list;
    bool all;
};

struct shm_edit {
    const struct shm_shape *shape;
    unsigned char *half;
    struct shm_facts facts; /* of the half when it is done */
    struct shm_pages *touched;
};

/*
 * Begins on a half that holds what facts say once it has caught up with `other` in the touched pages, for the generation in
 * facts. touched has the pages that are changed from then on.
 */
void shm_edit_begin(struct shm_edit *e, const struct shm_shape *shape, unsigned char *half,
                    const struct shm_facts *facts, const unsigned char *other,
                    struct shm_pages *touched);
/* Begins on a half whatever is in it: no records. facts give the generation and the revision. */
void shm_edit_begin_empty(struct shm_edit *e, const struct shm_shape *shape,
                          unsigned char *half, const struct shm_facts *facts,
                          struct shm_pages *touched);
/* Writes the facts: the half may be switched to. */
void shm_edit_end(struct shm_edit *e);

/*
 * Puts a record under a name, in place of what is there. *ret_changed, if given, is set when that was another one. SHM_FULL,
 * ERR_CORRUPT, ERR_NOMEM: the half is good for nothing then.
 */
must_use int shm_edit_put(struct shm_edit *e, struct str name, struct str json,
                          bool *ret_changed);
/* Nothing when there is no such name. ERR_CORRUPT. */
must_use int shm_edit_drop(struct shm_edit *e, struct str name);

/* How many bytes a record of such an item takes at most. */
uint64_t shm_record_bytes(struct str name, struct str json);

#endif

/*
 * What the rows of the local copy are made of: bytes in, bytes out, nothing else. Every row carries a proof, the
 * first 16 bytes of SHA-256 over what it is; the head of the copy carries the sum of all proofs, so that a row
 * that is missing, doubled or from another time shows as well as one that is altered.
 */
#ifndef TRIMTAB_SYNC_COPY_ROWS_H
#define TRIMTAB_SYNC_COPY_ROWS_H

#include "sync/copy.h"

enum copy_what { COPY_ITEM = 1, COPY_SERVED = 2, COPY_FILE = 3, COPY_HELD = 4 };

/* The one row that speaks of all others. */
struct copy_head {
    char instance[COPY_INSTANCE_MAX + 1];
    struct sha256 subscription;
    struct sync_cursor cursor;
    uint64_t applied; /* revision of the newest batch that was applied; 0: none ever */
    uint64_t n_rows;
    struct digest rows; /* sum of their proofs */
};

void copy_head_encode(const struct copy_head *h, struct buf *out);
must_use bool copy_head_decode(struct str bytes, struct copy_head *ret_head);

struct sha256 copy_row_proof(enum copy_what what, struct str key, struct str body);

/* scope NUL kind NUL name, and back; false for what is no such key. */
void copy_key_put(struct str scope, struct str tail, struct buf *out);
must_use bool copy_key_split(struct str key, struct str *ret_scope, struct str *ret_tail);

/* The body of an item: the bytes of a trimtab.v1.Item. */
void copy_item_encode(const struct version *v, struct buf *out);
/* ERR_CORRUPT, ERR_NOMEM. *ret is a new reference. */
must_use int copy_item_decode(struct str body, struct version **ret, struct err *err);

/* What is held: the body of its item, since which batch, and whether only for what refers to it. */
void copy_held_encode(const struct sync_held *h, struct buf *out);
/* Fills all but scope and key; item is a new reference. */
must_use int copy_held_decode(struct str body, struct sync_held *ret_held, struct err *err);

/* What is served for a name: item is the body of an item, empty when nothing is. */
void copy_served_encode(const struct copy_served *s, struct str item, struct buf *out);
/* Fills all but scope and key; texts are borrowed from body, served is a new reference. */
must_use int copy_served_decode(struct str body, struct copy_served *ret_served,
                                struct err *err);

#endif

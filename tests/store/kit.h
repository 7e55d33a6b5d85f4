/*
 * What the tests of the store share: opening, appending numbered records, gathering what is given.
 */
#ifndef TRIMTAB_TESTS_STORE_KIT_H
#define TRIMTAB_TESTS_STORE_KIT_H

#include "store/mem.h"
#include "store/store.h"

enum { GATHER_MAX = 4096 };

/* Gathers records: their revisions, and whether each had the bytes that kit_append gave it. */
struct gather {
    uint64_t revisions[GATHER_MAX];
    size_t n;
    bool altered;   /* a record was not what kit_append makes of its revision */
    size_t stop_at; /* returns 77 from the call after that many; 0: never */
    int ended;      /* why a watch ended */
    unsigned n_ended;
};

enum { GATHER_STOPPED = 77 };

int gather_record(void *ctx, const struct store_entry *entry);
void gather_ended(void *ctx, int why);
/* Whether exactly the revisions from..to were gathered, in order and unaltered. */
bool gather_is(const struct gather *g, uint64_t from, uint64_t to);

/* The bytes of record r: its number, repeated to a length that depends on it. */
struct str kit_bytes(uint64_t revision, char out[256]);
/* A request id for a number: "req-N". */
struct str kit_request(uint64_t number, char out[32]);

/* Appends n records, with the request ids req-<revision>. */
int kit_append(struct store *s, size_t n, struct err *err);

/* Writes a snapshot of `bytes` bytes at the head, or at a revision. */
int kit_snapshot(struct store *s, uint64_t revision, size_t bytes, struct err *err);

/* Reads the newest snapshot: its length in *ret_bytes, and whether it is what kit_snapshot wrote. */
int kit_read_snapshot(struct store *s, struct store_snapshot_info *ret_info, bool *ret_right,
                      struct err *err);

/* Puts a blob made of text. */
int kit_blob(struct store *s, const char *text, struct sha256 *ret_hash, struct err *err);

#endif

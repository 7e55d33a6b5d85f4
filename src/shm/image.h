/*
 * The values of one half, read: in a segment while others may write to it, or in a copy of it.
 *
 * Every step is bounded and proved: bytes that are not what was written give ERR_CORRUPT, never another value, and nothing
 * outside of the image is touched whatever the bytes are. In place this says nothing until the reader has seen that the half
 * was not written meanwhile (reader.h).
 */
#ifndef TRIMTAB_SHM_IMAGE_H
#define TRIMTAB_SHM_IMAGE_H

#include "base/err.h"
#include "shm/layout.h"

struct shm_image {
    const struct shm_shape *shape;
    const unsigned char *body;
};

/* A record: the slices lie in the image, each has a NUL behind it. */
struct shm_record {
    struct str name;
    struct shm_value value; /* its json and text lie in the image too */
    size_t json_len, text_len;
    uint64_t check;
    uint64_t at; /* place in the heap */
    uint32_t size;
};

/* Where in the buckets a record was found. */
struct shm_place {
    uint32_t bucket;
    unsigned slot;
};

static inline uint64_t shm_name_hash(const struct shm_shape *s, struct str name)
{
    return hash_keyed(s->key, name);
}

/* 1: there, with the place if one is wanted; 0: not there; ERR_CORRUPT. */
must_use int shm_image_find(const struct shm_image *im, struct str name, struct shm_record *ret,
                            struct shm_place *ret_place);

/* A bucket, proved. ERR_CORRUPT. */
must_use int shm_image_bucket(const struct shm_image *im, uint32_t number,
                              struct shm_bucket *ret);
/* The record that a slot names, proved. ERR_CORRUPT. */
must_use int shm_image_record(const struct shm_image *im, const struct shm_slot *slot,
                              struct shm_record *ret);

/* Walks all records until fn returns other than 0, which it returns. ERR_CORRUPT. */
typedef int shm_record_fn(void *ctx, const struct shm_record *r);
must_use int shm_image_each(const struct shm_image *im, shm_record_fn *fn, void *ctx);

/* Proves every bucket and record, and that they are as many and sum up to what the facts say. */
must_use int shm_image_prove(const struct shm_image *im, const struct shm_facts *facts,
                             struct err *err);

#endif

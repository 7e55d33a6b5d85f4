/*
 * Targets: which instances a step of a rollout is for.
 *
 * A target is a list of conditions that must all hold; within one condition any of its values will do. A step has
 * one or several targets and is for the instances that any of them takes.
 */
#ifndef TRIMTAB_MODEL_TARGET_H
#define TRIMTAB_MODEL_TARGET_H

#include "base/arena.h"
#include "model/version.h"

enum {
    TARGETS_MAX = 64,          /* of a step */
    TARGET_VALUES_MAX = 10000, /* of a condition */
    TARGET_TEXT_MAX = 512,
    TARGET_REQUIREMENTS_MAX = 32,
    PERCENT_WHOLE = 10000, /* hundredths of a percent */
};

/* Who an instance is, by what it said last. Borrowed. */
struct subject {
    struct str id, fingerprint, host;
    const struct str *addresses;
    size_t n_addresses;
    const struct pair *labels;
    size_t n_labels;
};

/* A deep copy in one allocation, freed by mem_free; NULL without memory. */
must_use struct subject *subject_new(const struct subject *s);

/* A list of addresses: IPv4 as IPv6-mapped, so that there is one way to compare. */
struct cidr {
    unsigned char address[16];
    unsigned bits; /* of 128 */
};

/* One requirement of a label selector as Kubernetes writes them. */
enum requirement_op {
    LABEL_IN,     /* key = a, key == a, key in (a, b) */
    LABEL_NOT_IN, /* key != a, key notin (a, b): also where the label is missing */
    LABEL_EXISTS,
    LABEL_MISSING,
    LABEL_ABOVE, /* key > 5: both are whole numbers */
    LABEL_BELOW,
};

struct requirement {
    enum requirement_op op;
    struct str key;
    struct str *values;
    size_t n_values;
    int64_t bound;
};

/* What is asked for: texts as they were given. */
struct target {
    struct str *ids; /* sorted by target_compile */
    size_t n_ids;
    struct str *fingerprints; /* patterns with * */
    size_t n_fingerprints;
    struct str *hosts; /* patterns with * */
    size_t n_hosts;
    struct str *networks; /* addresses or CIDR */
    size_t n_networks;
    struct str labels; /* a selector; empty: none */
    bool has_percent;
    uint32_t percent; /* of PERCENT_WHOLE */
    bool everyone;    /* no condition: must be said, so that nothing is never everything */
    /* made of the texts by target_compile */
    struct cidr *cidrs;
    struct requirement *requirements;
    size_t n_requirements;
};

/*
 * Checks a target and makes what matching needs, on the arena, which also must hold or outlive the texts.
 * ERR_INVALID with what is wrong and where, ERR_LIMIT, ERR_NOMEM.
 */
must_use int target_compile(struct target *t, struct arena *a, struct err *err);

/* A compiled target, copied with all its texts onto the arena, which may fail. */
struct target target_copy(const struct target *t, struct arena *a);

/* Whether a compiled target takes the instance; salt is that of its rollout. */
bool target_takes(const struct target *t, const struct subject *s, struct str salt);

/*
 * Where an instance stands, from 0 to PERCENT_WHOLE - 1, in the order in which growing percentages take instances:
 * the first eight bytes, most significant first, of SHA-256 over "trimtab percent 1", salt and id, each with its
 * length as eight bytes in front, modulo PERCENT_WHOLE. Frozen: tests/unit/vectors/percent.txt.
 */
uint32_t percent_place(struct str salt, struct str id);

/* Reads a label selector; the requirements are on the arena. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
must_use int selector_parse(struct str text, struct arena *a, struct requirement **ret,
                            size_t *ret_n, struct err *err);

/* Reads "10.1.0.0/16", "10.1.2.3", "fd00::/8". False when it is none. */
must_use bool cidr_parse(struct str text, struct cidr *ret);

#endif

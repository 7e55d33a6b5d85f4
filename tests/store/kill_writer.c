/*
 * Appends to the store named by its argument for ever, with a snapshot and a compaction now and then, and
 * writes each acknowledged head to standard output. Made to be killed (sqlite.c).
 */
#include "kit.h"

#include <inttypes.h>
#include <unistd.h>

static int append_once(struct store *s, struct rng *rng, struct err *err)
{
    struct store_compact op = {.below = UINT64_MAX, .max_records = 500};
    uint64_t floor = 0;
    char line[32];
    int n, r = kit_append(s, 1 + (size_t)rng_below(rng, 40), err);

    if (r)
        return r;
    n = snprintf(line, sizeof(line), "%" PRIu64 "\n", store_head(s).revision);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        return ERR_IO;
    if (rng_below(rng, 10) > 0)
        return 0;
    r = kit_snapshot(s, store_head(s).revision, 20000, err);
    if (!r)
        r = store_compact(s, &op, &floor, err);
    if (r >= 0)
        r = store_tick(s, 0, NULL, err);
    return r;
}

int main(int argc, char **argv)
{
    struct store_opts opts = {.semantics = 1, .retain = 1000};
    struct store *s = NULL;
    struct err err = ERR_NULL;
    char line[1400];
    struct rng rng;
    int r = argc == 2 ? random_bytes(&rng, sizeof(rng)) : ERR_INVALID;

    if (!r)
        r = store_open(argv[1], &opts, &s, &err);
    while (!r)
        r = append_once(s, &rng, &err);
    (void)fprintf(stderr, "%s\n", err_describe(&err, line, sizeof(line)));
    (void)store_drop(s);
    return 1;
}

/*
 * What lies in the log, after a disk or a foreign hand changed it: records and parts of snapshots into versions and state.
 * A record is refused as a whole or gives versions that are well-formed.
 */
#include "proto/record.h"

static void check(const struct version *v)
{
    struct name name = key_name(v->key), parsed;
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    ASSERT(name.space.len && name.kind.len && name.name.len);
    key_put_id(v->key, &id);
    ASSERT(!buf_status(&id) && name_parse(buf_str(&id), &parsed, NULL) == 0);
    ASSERT(v->deleted || v->wire);
}

/* What was read is folded too: a log may say anything. */
static void fold(const struct outcome *o)
{
    struct state *s = state_new(), *next;
    struct rollout *rollouts[8];
    struct effect effect;

    ASSERT(s);
    if (o->n_moves <= ARRAY_LEN(rollouts) &&
        outcome_effect(s, o, rollouts, &effect, NULL) == 0) {
        next = state_apply(s, &effect, 7);
        ASSERT(next);
        (void)state_unref(next);
        effect_deinit(&effect, rollouts);
    }
    (void)state_unref(s);
}

static void decode_record(struct str bytes)
{
    struct record record;
    struct err err = ERR_NULL;
    int r = record_decode((struct record_parts){.envelope = bytes}, 7, &record, &err);

    if (r) {
        ASSERT((r == ERR_CORRUPT || r == ERR_UNSUPPORTED) && err.code == r);
        return;
    }
    for (size_t i = 0; i < record.outcome.n_versions; i++)
        check(record.outcome.versions[i]);
    fold(&record.outcome);
    record_deinit(&record);
}

static void decode_snapshot(struct str bytes)
{
    struct state *state = state_new();
    struct err err = ERR_NULL;
    int r;

    ASSERT(state);
    r = snapshot_apply(bytes, &state, &err);
    ASSERT(r == 0 || r == ERR_CORRUPT || r == ERR_UNSUPPORTED);
    (void)state_unref(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode_record(str_of(data, size));
    decode_snapshot(str_of(data, size));
    return 0;
}

/*
 * The small texts that come from outside: ids, base64, percent-encoding, time-outs, numbers, durations, sizes and steps of
 * rollouts. What is
 * taken can be written again and is taken as the same.
 */
#include "model/name.h"
#include "net/grpc_text.h"
#include "proto/json.h"
#include "proto/rollout.h"
#include "proto/step_text.h"

enum { OUT_MAX = 1 << 20 };

static void ids(struct str text)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX), id = BUF_NULL(ID_BYTES_MAX);
    struct err err = ERR_NULL;
    struct name name, again;
    int r = name_parse(text, &name, &err);

    if (r) {
        ASSERT(r == ERR_INVALID && err.code == r);
        return;
    }
    ASSERT(text.len <= ID_BYTES_MAX && str_is_utf8(text));
    name_put_key(name, &key);
    ASSERT(!buf_status(&key));
    again = key_name(buf_str(&key));
    ASSERT(str_eq(again.space, name.space) && str_eq(again.kind, name.kind) && str_eq(again.name, name.name));
    key_put_id(buf_str(&key), &id);
    ASSERT(!buf_status(&id) && str_eq(buf_str(&id), text));
}

static void base64(struct str text)
{
    owned(buf) struct buf bytes = BUF_NULL(OUT_MAX), again = BUF_NULL(OUT_MAX), back = BUF_NULL(OUT_MAX);

    if (base64_get(text, &bytes)) { /* bits behind the last byte may be set: not the same text, the same bytes */
        base64_put(buf_str(&bytes), &again);
        ASSERT(!buf_status(&bytes) && !buf_status(&again) && again.len == text.len);
        ASSERT(base64_get(buf_str(&again), &back) && str_eq(buf_str(&back), buf_str(&bytes)));
    }
    buf_clear(&back);
    buf_clear(&again);
    base64_put(text, &again);
    ASSERT(base64_get(buf_str(&again), &back) && str_eq(buf_str(&back), text));
}

static void percent(struct str text)
{
    static char out[OUT_MAX];
    owned(buf) struct buf encoded = BUF_NULL(OUT_MAX);

    grpc_percent_get(text, out, 1 + text.len / 2); /* is cut */
    ASSERT(strlen(out) <= text.len / 2);
    grpc_percent_put(&encoded, text);
    ASSERT(!buf_status(&encoded));
    grpc_percent_get(buf_str(&encoded), out, sizeof(out));
    ASSERT(memcmp(out, text.data ? text.data : "", text.len) == 0 && out[text.len] == '\0');
}

static void numbers(struct str text)
{
    struct str cut = text;
    uint64_t value;
    nsec_t timeout;

    (void)!str_u64(text, &value);
    (void)!str_duration(text, &value);
    (void)!str_bytes(text, &value);
    (void)!grpc_timeout_get(text, &timeout);
    (void)str_trim(text);
    while (str_next(&cut, '/', &text))
        ASSERT(str_utf8_prefix(text) <= text.len);
}

/* Steps of rollouts, their selectors and networks. */
static void steps(struct str text)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct err err = ERR_NULL;
    Trimtab__V1__Step *message;
    struct step step;
    int r = step_from_text(text, &a, &message, &err);

    if (r) {
        ASSERT(r == ERR_INVALID && err.code == r);
        return;
    }
    step = step_from_proto(message, &a);
    ASSERT(step.n_targets > 0 && !arena_failed(&a));
    r = step_check(&step, &a, &err);
    ASSERT(r == 0 || (r == err.code && (r == ERR_INVALID || r == ERR_LIMIT)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_of(data, size);

    if (size > OUT_MAX / 4)
        return 0;
    ids(text);
    base64(text);
    percent(text);
    numbers(text);
    steps(text);
    return 0;
}

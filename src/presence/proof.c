/*
 * Proof by content. See proof.h.
 */
#include "presence/proof.h"

#include "base/alloc.h"
#include "model/version.h"
#include "proto/convert.h"

#include <stdlib.h>

/* ---- what a stream has announced ---- */

static struct announcement *list(struct announced *a)
{
    return a->more ? a->more : a->here;
}

void announced_deinit(struct announced *a)
{
    (void)mem_free(a->more);
    *a = (struct announced){.n = 0};
}

static void drop_first(struct announced *a, uint32_t n)
{
    struct announcement *at = list(a);

    memmove(at, at + n, (a->n - n) * sizeof(*at));
    a->n -= n;
}

/* Room for one more; false without memory. */
static bool make_room(struct announced *a)
{
    uint32_t cap = a->more ? a->cap * 2 : 4;
    struct announcement *more;

    if (a->n == ANNOUNCED_MAX)
        drop_first(a, 1);
    if (a->n < (a->more ? a->cap : ANNOUNCED_HERE))
        return true;
    more = mem_realloc_array(a->more, cap, sizeof(*more));
    if (!more)
        return false;
    if (!a->more)
        memcpy(more, a->here, sizeof(a->here));
    a->more = more;
    a->cap = cap;
    return true;
}

void announced_add(struct announced *a, uint64_t revision, struct digest digest)
{
    struct announcement *last = a->n ? &list(a)[a->n - 1] : NULL;

    ASSERT(!last || revision >= last->to);
    if (last && digest_eq(last->digest, digest)) {
        last->to = revision;
        return;
    }
    if (last &&
        last->to == revision) { /* said again, after a repair: only the later one is true */
        last->digest = digest;
        last->from = revision;
        return;
    }
    if (!make_room(a))
        a->n = 0;
    list(a)[a->n++] = (struct announcement){revision, revision, digest};
}

const struct announcement *announced_find(const struct announced *a, uint64_t revision)
{
    const struct announcement *at = a->more ? a->more : a->here;

    for (uint32_t i = a->n; i > 0; i--)
        if (revision >= at[i - 1].from)
            return revision <= at[i - 1].to ? &at[i - 1] : NULL;
    return NULL;
}

void announced_forget(struct announced *a, uint64_t revision)
{
    const struct announcement *at = list(a);
    uint32_t n = 0;

    while (n + 1 < a->n && at[n].to < revision)
        n++;
    if (n)
        drop_first(a, n);
    if (a->more && a->n <= ANNOUNCED_HERE) {
        memcpy(a->here, a->more, a->n * sizeof(a->here[0]));
        a->more = mem_free(a->more);
    }
}

/* ---- judging ---- */

const char *proof_story(enum proof p)
{
    static const char *const stories[] = {
        [PROOF_NONE] = "",
        [PROOF_HOLDS] = "",
        [PROOF_OVERTAKEN] = "",
        [PROOF_UNANNOUNCED] = "reported a revision that was not announced to it",
        [PROOF_NO_DIGEST] = "reported no digest of what it serves",
        [PROOF_FOREIGN] = "reported exceptions from what it was not to have",
        [PROOF_WRONG] = "serves something else than it was to have, by its own digest",
        [PROOF_NO_MEMORY] = "its report could not be judged for lack of memory",
    };

    return stories[p];
}

static int refusal_cmp(const void *a, const void *b)
{
    const Trimtab__V1__Refusal *const *ra = a, *const *rb = b;
    int order = strcmp((*ra)->scope, (*rb)->scope);

    return order ? order : strcmp((*ra)->key, (*rb)->key);
}

/* P2: a name that is excepted twice would be counted twice. */
static enum proof find_twice(const Trimtab__V1__Ack *report)
{
    size_t n = report->n_refused;
    Trimtab__V1__Refusal **sorted;
    enum proof found = PROOF_HOLDS;

    if (n < 2)
        return PROOF_HOLDS;
    sorted = NEW_ARRAY(Trimtab__V1__Refusal *, n);
    if (!sorted)
        return PROOF_NO_MEMORY;
    memcpy(sorted, report->refused, n * sizeof(*sorted)); /* NOLINT: pointers, on purpose */
    qsort(sorted, n, sizeof(*sorted), refusal_cmp);
    for (size_t i = 1; i < n; i++)
        if (refusal_cmp(&sorted[i - 1], &sorted[i]) == 0)
            found = PROOF_FOREIGN;
    (void)mem_free(sorted);
    return found;
}

static bool is_hash(ProtobufCBinaryData b)
{
    return b.len == 0 || b.len == SHA256_BYTES;
}

static struct digest element(const char *scope, ProtobufCBinaryData hash)
{
    struct sha256 item;

    memcpy(item.bytes, hash.data, SHA256_BYTES);
    return binding_digest(str_c(scope), &item);
}

/* Adds what one exception comes to. */
static enum proof add_exception(const struct proof_view *view, const Trimtab__V1__Ack *report,
                                const Trimtab__V1__Refusal *f, struct digest *sum)
{
    bool is_newer = false;
    const struct sha256 *wanted =
        view->wanted(view->ctx, str_c(f->scope), str_c(f->key), report->revision, &is_newer);
    bool is_same;

    if (!is_hash(f->hash) || !is_hash(f->serving_hash))
        return PROOF_FOREIGN;
    is_same = wanted ? f->hash.len && memcmp(f->hash.data, wanted->bytes, SHA256_BYTES) == 0
                     : !f->hash.len;
    if (!is_same)
        return is_newer ? PROOF_OVERTAKEN : PROOF_FOREIGN;
    if (f->hash.len)
        *sum = digest_add(*sum, element(f->scope, f->hash));
    if (f->serving_hash.len)
        *sum = digest_sub(*sum, element(f->scope, f->serving_hash));
    return PROOF_HOLDS;
}

enum proof proof_judge(const struct proof_view *view, const Trimtab__V1__Ack *report,
                       uint64_t *ret_proved)
{
    const struct announcement *said = announced_find(view->announced, report->revision);
    enum proof proof = find_twice(report);
    struct digest sum;

    if (!said)
        return PROOF_UNANNOUNCED;
    if (!digest_get(proto_str(report->serving_digest), &sum))
        return PROOF_NO_DIGEST;
    for (size_t i = 0; i < report->n_refused && proof == PROOF_HOLDS; i++)
        proof = add_exception(view, report, report->refused[i], &sum);
    if (proof == PROOF_HOLDS && !digest_eq(sum, said->digest))
        proof = PROOF_WRONG;
    if (proof == PROOF_HOLDS)
        *ret_proved = said->to;
    return proof;
}

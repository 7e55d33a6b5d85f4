/*
 * Proof by content: what is announced, and how reports are judged by it. Each way to forge a report is refused.
 */
#include "presence/proof.h"

#include "model/version.h"
#include "proto/convert.h"
#include "tap.h"

/* A view of three items in the scope "s", each with a hash of one letter. */
enum { ITEMS = 3 };

static struct sha256 hash_of(char letter)
{
    return sha256_of(str_of(&letter, 1));
}

static struct digest element_of(char letter)
{
    struct sha256 hash = hash_of(letter);

    return binding_digest(STR("s"), &hash);
}

struct view {
    char items[ITEMS]; /* 0: none under that name */
    uint64_t changed;
    struct sha256 hash;
};

static struct digest digest_of(const char *letters)
{
    struct digest sum = DIGEST_NULL;

    for (; *letters; letters++)
        sum = digest_add(sum, element_of(*letters));
    return sum;
}

/* Keys are item/0, item/1, item/2. */
static const struct sha256 *wanted(void *ctx, struct str scope, struct str key,
                                   uint64_t revision, bool *ret_is_newer)
{
    struct view *v = ctx;
    size_t at = (size_t)(key.data[key.len - 1] - '0');

    *ret_is_newer = v->changed > revision;
    if (!str_eq(scope, STR("s")) || at >= ITEMS || !v->items[at])
        return NULL;
    v->hash = hash_of(v->items[at]);
    return &v->hash;
}

/* A report in which letters are served, and its exceptions. */
struct saying {
    Trimtab__V1__Ack ack;
    Trimtab__V1__Refusal refusals[ITEMS], *list[ITEMS];
    struct sha256 hashes[2 * ITEMS];
    unsigned char digest[DIGEST_BYTES];
    char keys[ITEMS][16];
    size_t n_hashes;
};

static char scope_name[] = "s";

static void say(struct saying *s, uint64_t revision, const char *serving)
{
    *s = (struct saying){.ack = TRIMTAB__V1__ACK__INIT};
    s->ack.revision = revision;
    s->ack.stage = TRIMTAB__V1__STAGE__APPLIED;
    digest_put(digest_of(serving), s->digest);
    s->ack.serving_digest = (ProtobufCBinaryData){DIGEST_BYTES, s->digest};
    s->ack.refused = s->list;
}

static ProtobufCBinaryData put_hash(struct saying *s, char letter)
{
    if (!letter)
        return (ProtobufCBinaryData){0, NULL};
    s->hashes[s->n_hashes] = hash_of(letter);
    return (ProtobufCBinaryData){SHA256_BYTES, s->hashes[s->n_hashes++].bytes};
}

/* Instead of `wanted` under item/at it serves `served`; 0: nothing. */
static void except(struct saying *s, int at, char want, char served)
{
    Trimtab__V1__Refusal *f = &s->refusals[s->ack.n_refused];

    trimtab__v1__refusal__init(f);
    (void)snprintf(s->keys[s->ack.n_refused], sizeof(s->keys[0]), "item/%d", at);
    f->scope = scope_name;
    f->key = s->keys[s->ack.n_refused];
    f->hash = put_hash(s, want);
    f->serving_hash = put_hash(s, served);
    s->list[s->ack.n_refused++] = f;
}

static enum proof judge(const struct announced *a, struct view *v, const struct saying *s,
                        uint64_t *ret_proved)
{
    struct proof_view view = {a, wanted, v};

    *ret_proved = 0;
    return proof_judge(&view, &s->ack, ret_proved);
}

TEST("what is announced is found by every revision that it covers, and by no other")
{
    struct announced a = {.n = 0};

    announced_add(&a, 3, digest_of("a"));
    announced_add(&a, 5, digest_of("a"));
    announced_add(&a, 8, digest_of("b"));
    CHECK(!announced_find(&a, 2));
    CHECK(announced_find(&a, 4) && announced_find(&a, 4)->to == 5);
    CHECK(!announced_find(&a, 6)); /* never announced: the view may have been another one */
    CHECK(announced_find(&a, 8));
    CHECK(!announced_find(&a, 9));
    announced_deinit(&a);
}

TEST("the last 64 are kept, what is older proves nothing, and what is answered is let go")
{
    struct announced a = {.n = 0};

    for (uint64_t r = 1; r <= ANNOUNCED_MAX + 1; r++)
        announced_add(&a, r, digest_of(r % 2 ? "a" : "b"));
    CHECK(!announced_find(&a, 1));
    CHECK(announced_find(&a, 2));
    CHECK(announced_find(&a, ANNOUNCED_MAX + 1));
    announced_forget(&a, ANNOUNCED_MAX + 1);
    CHECK_U64(a.n, 1);
    CHECK(!a.more);
    CHECK(!announced_find(&a, ANNOUNCED_MAX));
    CHECK(announced_find(&a, ANNOUNCED_MAX + 1));
    announced_deinit(&a);
}

TEST("without memory for one more announcement older ones prove nothing, and the new one does")
{
    ALLOC_SWEEP (n) {
        struct announced a = {.n = 0};

        announced_add(&a, 1, digest_of("a"));
        announced_add(&a, 2, digest_of("b"));
        CHECK(announced_find(&a, 2) &&
              digest_eq(announced_find(&a, 2)->digest, digest_of("b")));
        announced_deinit(&a);
    }
}

TEST("who serves what was announced has proved it, up to the newest announcement of that")
{
    struct announced a = {.n = 0};
    struct view v = {.items = "abc"};
    struct saying s;
    uint64_t proved;

    announced_add(&a, 3, digest_of("abc"));
    announced_add(&a, 7, digest_of("abc"));
    say(&s, 3, "abc");
    CHECK_I64(judge(&a, &v, &s, &proved), PROOF_HOLDS);
    CHECK_U64(proved, 7);
}

TEST("exceptions that are named make up for what is served otherwise: changed, absent, still "
     "there")
{
    struct announced a = {.n = 0};
    struct view v = {.items = {'a', 'b', 0}};
    struct saying s;
    uint64_t proved;

    announced_add(&a, 3, digest_of("ab"));
    say(&s, 3, "xz"); /* x instead of a, nothing instead of b, z though it is deleted */
    except(&s, 0, 'a', 'x');
    except(&s, 1, 'b', 0);
    except(&s, 2, 0, 'z');
    CHECK_I64(judge(&a, &v, &s, &proved), PROOF_HOLDS);
    CHECK_U64(proved, 3);
}

struct forgery {
    const char *what, *serving;
    uint64_t revision;
    char want, served; /* an exception of item/0; both 0: none */
    bool is_twice, has_no_digest;
    enum proof proof;
};

TEST("a forged report proves nothing")
{
    static const struct forgery forgeries[] = {
        {"another content", "abx", 3, 0, 0, false, false, PROOF_WRONG},
        {"less than was to be", "ab", 3, 0, 0, false, false, PROOF_WRONG},
        {"a revision that is only ahead", "abc", 4, 0, 0, false, false, PROOF_UNANNOUNCED},
        {"a revision from before this stream", "abc", 2, 0, 0, false, false, PROOF_UNANNOUNCED},
        {"no digest", "abc", 3, 0, 0, false, true, PROOF_NO_DIGEST},
        {"an exception without what is served", "xbc", 3, 'a', 0, false, false, PROOF_WRONG},
        {"an exception from what is not wanted", "xbc", 3, 'q', 'x', false, false,
         PROOF_FOREIGN},
        {"a refused deletion of what is wanted", "abc", 3, 0, 'a', false, false, PROOF_FOREIGN},
        {"an exception named twice", "xbc", 3, 'a', 'x', true, false, PROOF_FOREIGN},
        {"exceptions from nothing", "abc", 3, 'a', 'x', false, false, PROOF_WRONG},
    };
    struct announced a = {.n = 0};

    announced_add(&a, 3, digest_of("abc"));
    for (size_t i = 0; i < ARRAY_LEN(forgeries); i++) {
        const struct forgery *f = &forgeries[i];
        struct view v = {.items = "abc"};
        struct saying s;
        uint64_t proved;

        tap_note("%s", f->what);
        say(&s, f->revision, f->serving);
        for (int n = 0; (f->want || f->served) && n <= f->is_twice; n++)
            except(&s, 0, f->want, f->served);
        if (f->has_no_digest)
            s.ack.serving_digest.len = 0;
        CHECK_I64(judge(&a, &v, &s, &proved), f->proof);
        CHECK_U64(proved, 0);
        CHECK(*proof_story(f->proof));
    }
}

TEST("an exception from what was wanted before a newer change is overtaken, not wrong")
{
    struct announced a = {.n = 0};
    struct view v = {.items = "qbc", .changed = 5};
    struct saying s;
    uint64_t proved;

    announced_add(&a, 3, digest_of("abc"));
    say(&s, 3, "xbc");
    except(&s, 0, 'a', 'x');
    CHECK_I64(judge(&a, &v, &s, &proved), PROOF_OVERTAKEN);
    CHECK_STR(str_c(proof_story(PROOF_OVERTAKEN)),
              STR("")); /* it is awaited like any other word */
}

TEST("a report that cannot be judged for lack of memory proves nothing")
{
    struct announced a = {.n = 0};
    struct view v = {.items = "abc"};
    struct saying s;

    announced_add(&a, 3, digest_of("abc"));
    say(&s, 3, "xyc");
    except(&s, 0, 'a', 'x');
    except(&s, 1, 'b', 'y');
    ALLOC_SWEEP (n) {
        uint64_t proved;
        enum proof proof = judge(&a, &v, &s, &proved);

        CHECK(proof == PROOF_HOLDS || (proof == PROOF_NO_MEMORY && !proved));
    }
}

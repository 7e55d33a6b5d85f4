/*
 * A subscriber and any server: a sequence of frames into the sync core. Each frame is two bytes of length, least
 * significant first, and a ServerFrame. Whatever comes, the core keeps its word: the cursor is proved by what is held,
 * revisions do not go down within one store, and what is stored is what was proved.
 *
 * So that the fuzzer gets behind the proof of a batch without finding a SHA-256, a length with its highest bit set makes
 * the bytes the content of an item, and a frame around it whose End is right.
 */
#include "sync/sync.h"

#include "base/hash.h"
#include "proto/convert.h"

enum { FRAME_IS_PROVED = 0x8000 };

struct subscriber {
    struct sync *sync;
    struct sync_cursor stored; /* of the last batch */
    bool is_over;              /* a reconnect was asked for */
    uint64_t n_stored, sent;
};

static void on_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct shared *packed = proto_pack(&frame->base, 0);

    ASSERT(packed);
    ((struct subscriber *)ctx)->sent += packed->len;
    (void)shared_unref(packed);
}

static int on_store(void *ctx, const struct sync_batch *batch, struct err *err)
{
    struct subscriber *s = ctx;

    if (batch->n % 16 == 15)
        return err_set(err, ERR_IO, "the disk is full");
    for (size_t i = 0; i < batch->n; i++) {
        const struct sync_change *c = &batch->changes[i];

        ASSERT(str_index(c->key, '\0') < c->key.len);
        if (c->item) {
            struct sha256 hash = sha256_of(c->item->content);

            ASSERT(sha256_eq(&hash, &c->item->content_hash));
        }
    }
    s->stored = batch->cursor;
    s->n_stored++;
    return 0;
}

static void on_apply(void *ctx, const struct sync_batch *batch)
{
    struct subscriber *s = ctx;
    struct sync_refusal refusal = {.scope = STR(""), .key = STR("item\0x"), .code = "INVALID",
                                   .message = STR("no"), .held_by = STR("item/y")};

    ASSERT(!sync_applied(s->sync, batch->cursor.revision, batch->cursor.digest, &refusal,
                         batch->n % 2));
}

static void on_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    ASSERT(reason);
    (void)after_ms;
    ((struct subscriber *)ctx)->is_over = true;
}

struct sum {
    struct digest digest, held; /* what is received, and what is served besides */
    uint64_t count;
    struct str scope, key; /* of the binding that is looked for */
    struct version *found; /* received under that name; NULL: nothing */
};

static int add(void *ctx, const struct sync_change *binding)
{
    struct sum *sum = ctx;
    struct digest element = binding_digest(binding->scope, &binding->item->item_hash);

    if (binding->is_held) {
        sum->held = digest_add(sum->held, element);
        return 0;
    }
    sum->digest = digest_add(sum->digest, element);
    sum->count++;
    if (str_eq(binding->scope, sum->scope) && str_eq(binding->key, sum->key))
        sum->found = binding->item;
    return 0;
}

static struct sum sum_up(const struct sync *s, struct str scope, struct str key)
{
    struct sum sum = {.digest = DIGEST_NULL, .held = DIGEST_NULL, .scope = scope, .key = key};

    (void)sync_each(s, add, &sum);
    return sum;
}

/* The digest and the count that the core comes to when it puts this content under the key. */
static struct sum after_put(const struct sync *s, struct str scope, struct str key, struct str content)
{
    struct sum sum = sum_up(s, scope, scope.len ? key : str_from(key, 2)); /* without "a/" */
    struct sha256 content_hash = sha256_of(content), hash;
    const struct version *old = sum.found;
    int r = item_hash(&(struct version_opts){.key = key, .content_type = STR("text/plain")},
                      &content_hash, &hash);

    ASSERT(!r);
    if (old)
        sum.digest = digest_sub(sum.digest, binding_digest(scope, &old->item_hash));
    sum.digest = digest_add(sum.digest, binding_digest(scope, &hash));
    sum.count += !old;
    return sum;
}

/* One frame that puts one of 16 items, in a scope or referred to, with an End that is right for who has nothing staged. */
static int proved(struct subscriber *s, struct str content, nsec_t now, struct err *err)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Item item = TRIMTAB__V1__ITEM__INIT, *put = &item;
    Trimtab__V1__Changes changes = TRIMTAB__V1__CHANGES__INIT, *list = &changes;
    Trimtab__V1__End end = TRIMTAB__V1__END__INIT;
    struct sha256 hash = sha256_of(content);
    unsigned char digest[DIGEST_BYTES];
    char id[] = "a/item/x", key[] = "a\0item\0x", type[] = "text/plain", scope[] = "*";
    struct sum sum;

    if (!content.len || !(content.data[0] & 16))
        scope[0] = '\0';

    id[7] = key[7] = (char)('a' + (content.len ? (unsigned char)content.data[0] % 16 : 0));
    sum = after_put(s->sync, str_c(scope), str_of(key, 8), content);
    changes.scope = scope;
    item.id = id;
    item.content_type = type;
    item.content = proto_bytes(content);
    item.size = content.len;
    item.content_hash = proto_bytes(str_of(hash.bytes, SHA256_BYTES));
    changes.put = &put;
    changes.n_put = 1;
    frame.changes = &list;
    frame.n_changes = 1;
    digest_put(sum.digest, digest);
    end.mode = TRIMTAB__V1__MODE__RESUME;
    end.revision = sync_status(s->sync).cursor.revision + 1;
    end.digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    end.count = sum.count;
    frame.end = &end;
    return sync_frame(s->sync, &frame, now, err);
}

static int unpacked(struct subscriber *s, struct str bytes, nsec_t now, struct err *err)
{
    Trimtab__V1__ServerFrame *frame =
        trimtab__v1__server_frame__unpack(&proto_allocator, bytes.len, (const uint8_t *)bytes.data);
    int r;

    if (!frame)
        return ERR_INVALID;
    r = sync_frame(s->sync, frame, now, err);
    trimtab__v1__server_frame__free_unpacked(frame, &proto_allocator);
    return r;
}

static void check(const struct subscriber *s, const struct sync_status *before)
{
    struct sync_status now = sync_status(s->sync);
    struct sum sum = sum_up(s->sync, STR(""), STR(""));

    ASSERT(digest_eq(sum.digest, now.cursor.digest) && sum.count == now.cursor.count);
    ASSERT(digest_eq(digest_add(sum.digest, sum.held), sync_wanted(s->sync)));
    ASSERT(now.batches == s->n_stored);
    if (memcmp(now.cursor.store_id, before->cursor.store_id, SYNC_STORE_ID_BYTES) == 0 &&
        now.mode == TRIMTAB__V1__MODE__RESUME && before->phase == SYNC_LIVE)
        ASSERT(now.cursor.revision >= before->cursor.revision || now.batches > before->batches);
}

static int step(struct subscriber *s, struct str *input, nsec_t now)
{
    struct sync_status before = sync_status(s->sync);
    struct err err = ERR_NULL;
    unsigned head = (unsigned)(unsigned char)input->data[0] | (unsigned)(unsigned char)input->data[1] << 8;
    struct str bytes = str_part(*input, 2, 2 + (head & ~(unsigned)FRAME_IS_PROVED));
    int r = head & FRAME_IS_PROVED ? proved(s, bytes, now, &err) : unpacked(s, bytes, now, &err);

    *input = str_from(*input, 2 + bytes.len);
    check(s, &before);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sync_ops ops = {.send = on_send, .store = on_store, .apply = on_apply,
                                        .reconnect = on_reconnect};
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    struct subscriber s = {.is_over = false};
    struct str input = str_of(data, size);
    nsec_t now = NSEC_PER_S;

    s.sync = sync_new(&(struct sync_opts){.instance = &instance, .ops = &ops, .ctx = &s});
    ASSERT(s.sync);
    sync_link_up(s.sync, now);
    while (input.len > 2) {
        now += NSEC_PER_MS;
        if (step(&s, &input, now) || s.is_over) { /* as the link does: from the beginning */
            s.is_over = false;
            sync_link_down(s.sync);
            sync_link_up(s.sync, now);
        }
    }
    ASSERT(sync_verify(s.sync));
    s.sync = sync_free(s.sync);
    return 0;
}

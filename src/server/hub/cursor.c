/*
 * Cursors of those who only listen. See cursor.h.
 */
#include "server/hub/cursor.h"

#include "base/buf.h"
#include "proto/convert.h"

int cursor_wish(const Trimtab__V1__Hello *hello, struct sha256 *ret_wish)
{
    Trimtab__V1__Hello wish = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Instance who = TRIMTAB__V1__INSTANCE__INIT;
    struct shared *packed;

    wish.scopes = hello->scopes;
    wish.n_scopes = hello->n_scopes;
    if (hello->instance) {
        who.id = hello->instance->id;
        who.host = hello->instance->host;
        who.labels = hello->instance->labels;
        who.n_labels = hello->instance->n_labels;
        wish.instance = &who;
    }
    packed = proto_pack(&wish.base, 0);
    if (!packed)
        return ERR_NOMEM;
    *ret_wish = sha256_of(shared_str(packed));
    (void)shared_unref(packed);
    return 0;
}

void cursor_mark(const struct cursor_key *key, const struct sha256 *wish, uint64_t revision,
                 char out[CURSOR_MARK_HEX + 1])
{
    /* The key stands on both sides, so nobody can go on from a mark that he knows. */
    struct str parts[] = {
        str_of(key->bytes, CURSOR_KEY_BYTES), str_of(wish->bytes, SHA256_BYTES),
        str_of(&revision, sizeof(revision)), str_of(key->bytes, CURSOR_KEY_BYTES)};
    struct sha256 sum = sha256_of_parts(parts, ARRAY_LEN(parts));

    hex_encode(sum.bytes, CURSOR_MARK_BYTES, out);
}

bool cursor_is_marked(const struct cursor_key *key, const struct sha256 *wish,
                      uint64_t revision, struct str text)
{
    char mark[CURSOR_MARK_HEX + 1];
    unsigned differs = 0;

    cursor_mark(key, wish, revision, mark);
    if (text.len != CURSOR_MARK_HEX)
        return false;
    for (size_t i = 0; i < CURSOR_MARK_HEX; i++)
        differs |= (unsigned)(unsigned char)mark[i] ^ (unsigned char)text.data[i];
    return differs == 0;
}

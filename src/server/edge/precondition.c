/*
 * Preconditions of requests. See precondition.h.
 */
#include "server/edge/precondition.h"

#include "base/buf.h"
#include "base/text.h"

enum { HASH_SHOWN = 8 }; /* bytes: so that a version of another history is another tag */

void etag_of_resource(uint64_t version, struct str hash, char etag[ETAG_MAX])
{
    char hex[2 * HASH_SHOWN + 1];

    hex_encode(hash.data, MIN(hash.len, (size_t)HASH_SHOWN), hex);
    (void)snprintf(etag, ETAG_MAX, "\"%llu-%s\"", (unsigned long long)version, hex);
}

/* ---- lists of tags ---- */

/* The next tag of a list, with its quotes; a bare word is taken, too. False at the end. */
static bool next_tag(struct str *list, struct str *ret_tag, bool *ret_weak)
{
    size_t end;

    while (list->len && (list->data[0] == ' ' || list->data[0] == ',' || list->data[0] == '\t'))
        *list = str_from(*list, 1);
    if (!list->len)
        return false;
    *ret_weak = str_starts(*list, STR("W/"));
    if (*ret_weak)
        *list = str_from(*list, 2);
    if (list->len && list->data[0] == '"') /* a comma inside does not end it */
        end = MIN(str_index(str_from(*list, 1), '"') + 2, list->len);
    else
        end = str_index(*list, ',');
    *ret_tag = str_trim(str_part(*list, 0, end));
    *list = str_from(*list, end);
    return true;
}

bool etags_match(struct str list, struct str etag)
{
    struct str tag;
    bool is_weak;

    if (str_eq(str_trim(list), STR("*")))
        return true;
    while (next_tag(&list, &tag, &is_weak))
        if (str_eq(tag, etag))
            return true;
    return false;
}

/* ---- of a change ---- */

static struct str without_quotes(struct str tag)
{
    bool is_quoted = tag.len >= 2 && tag.data[0] == '"' && tag.data[tag.len - 1] == '"';

    return is_quoted ? str_part(tag, 1, tag.len - 1) : tag;
}

/* Whether a tag is one of this version: its number, its document's tag, or that of its content. */
static bool is_of(const struct version *v, struct str tag)
{
    char etag[ETAG_MAX], hex[SHA256_HEX_BYTES + 1];
    struct str word = without_quotes(tag);
    uint64_t number;

    if (str_u64(word, &number))
        return number == v->number;
    etag_of_resource(v->number, str_of(v->content_hash.bytes, SHA256_BYTES), etag);
    hex_encode(v->content_hash.bytes, SHA256_BYTES, hex);
    return str_eq(word, without_quotes(str_c(etag))) || str_eq(word, str_c(hex));
}

/* If-Match compares strongly (section 13.1.1): a weak tag matches nothing. */
static bool has_tag(struct str list, const struct version *v, bool weakly)
{
    struct str tag;
    bool is_weak;

    if (str_eq(str_trim(list), STR("*")))
        return true;
    while (next_tag(&list, &tag, &is_weak))
        if ((weakly || !is_weak) && is_of(v, tag))
            return true;
    return false;
}

static int fails(const char *header, const struct version *v, struct err *err)
{
    if (v)
        (void)err_set(err, ERR_CONFLICT, "%s does not hold: the newest is version %llu", header,
                      (unsigned long long)v->number);
    else
        (void)err_set(err, ERR_CONFLICT, "%s does not hold: there is no such resource", header);
    err_place(err, "%s", header);
    return ERR_CONFLICT;
}

static const struct version *newest(const struct state *state, struct str id)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    const struct version *v;
    struct name name;

    if (name_parse(id, &name, NULL))
        return NULL; /* the commit says what is wrong with it */
    name_put_key(name, &key);
    v = buf_status(&key) ? NULL : state_find(state, buf_str(&key));
    return v && !v->deleted ? v : NULL;
}

int precondition_judge(const struct state *state, struct str match, struct str none,
                       Trimtab__V1__Change *c, struct err *err)
{
    const struct version *v = newest(state, str_c(c->id));

    if (match.data && (!v || !has_tag(match, v, false)))
        return fails("if-match", v, err);
    if (none.data && v && has_tag(none, v, true))
        return fails("if-none-match", v, err);
    if (match.data || (none.data && v))
        c->based_on = v->number;
    else
        c->create_only = none.data != NULL;
    return 0;
}

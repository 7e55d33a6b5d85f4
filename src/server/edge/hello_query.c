/*
 * Hellos as queries of a URL. See hello_query.h.
 */
#include "server/edge/hello_query.h"

#include "proto/convert.h"
#include "proto/inbound.h"
#include "proto/json.h"
#include "proto/subject.h"

static char **split_words(struct arena *a, struct str list, size_t *ret_n)
{
    struct str rest = list, word;
    size_t n = 1, at = 0;
    char **words;

    *ret_n = 0;
    if (!list.len)
        return NULL;
    for (size_t i = 0; i < list.len; i++)
        n += list.data[i] == ',';
    words = ARENA_ARRAY(a, char *, n);
    while (words && str_next(&rest, ',', &word))
        words[at++] = arena_c(a, word);
    *ret_n = at;
    return words;
}

/* namespaces=a,b&kinds=file&names=*.conf: one scope. */
static int query_scope(struct rest *r, Trimtab__V1__Hello *hello, struct err *err)
{
    struct arena *a = &r->arena;
    Trimtab__V1__Scope *scope = ARENA_NEW(a, Trimtab__V1__Scope);
    Trimtab__V1__Selector *selector = ARENA_NEW(a, Trimtab__V1__Selector);
    Trimtab__V1__Scope **scopes = ARENA_NEW(a, Trimtab__V1__Scope *);
    Trimtab__V1__Selector **selectors = ARENA_NEW(a, Trimtab__V1__Selector *);
    struct str namespaces = rest_query(r, "namespaces"), name = rest_query(r, "scope");

    if (!namespaces.len) {
        (void)err_set(err, ERR_INVALID, "the parameter namespaces is needed");
        err_hint(err, "namespaces=shop/prod,shop/common");
        return ERR_INVALID;
    }
    if (!scope || !selector || !scopes || !selectors)
        return ERR_NOMEM;
    trimtab__v1__scope__init(scope);
    trimtab__v1__selector__init(selector);
    scope->name = arena_c(a, name);
    scope->namespaces = split_words(a, namespaces, &scope->n_namespaces);
    selector->kinds = split_words(a, rest_query(r, "kinds"), &selector->n_kinds);
    selector->names = split_words(a, rest_query(r, "names"), &selector->n_names);
    selectors[0] = selector;
    scope->selectors = selectors;
    scope->n_selectors = selector->n_kinds || selector->n_names;
    scopes[0] = scope;
    hello->scopes = scopes;
    hello->n_scopes = 1;
    return arena_failed(a) ? ERR_NOMEM : 0;
}

/* labels=env:prod,zone:a */
static int query_labels(struct rest *r, Trimtab__V1__Instance *instance, struct err *err)
{
    size_t n;
    char **words = split_words(&r->arena, rest_query(r, "labels"), &n);

    instance->labels = ARENA_ARRAY(&r->arena, Trimtab__V1__Instance__LabelsEntry *, n);
    for (size_t i = 0; instance->labels && i < n; i++) {
        Trimtab__V1__Instance__LabelsEntry *e =
            ARENA_NEW(&r->arena, Trimtab__V1__Instance__LabelsEntry);
        char *colon = strchr(words[i], ':');

        if (!colon)
            return err_set(err, ERR_INVALID, "a label is written name:value");
        if (!e)
            return ERR_NOMEM;
        trimtab__v1__instance__labels_entry__init(e);
        e->key = arena_c(&r->arena, str_of(words[i], (size_t)(colon - words[i])));
        e->value = colon + 1;
        instance->labels[instance->n_labels++] = e;
    }
    return arena_failed(&r->arena) ? ERR_NOMEM : 0;
}

/* As documents show it, in base64, or in hexadecimal. */
static bool read_store_id(struct str text, char *id)
{
    owned(buf) struct buf bytes = BUF_NULL((size_t)3 * FEED_STORE_ID_BYTES);

    if (hex_decode(text, id, FEED_STORE_ID_BYTES))
        return true;
    if (!base64_get(text, &bytes) || bytes.len != FEED_STORE_ID_BYTES)
        return false;
    memcpy(id, bytes.data, FEED_STORE_ID_BYTES);
    return true;
}

/* As an ETag or in hexadecimal, or as documents show it, in base64. */
static bool read_digest(struct str text, char *digest)
{
    owned(buf) struct buf bytes = BUF_NULL((size_t)3 * DIGEST_BYTES);

    if (text.len > 2 && text.data[0] == '"')
        text = str_part(text, 1, text.len - 2);
    if (hex_decode(text, digest, DIGEST_BYTES))
        return true;
    if (!base64_get(text, &bytes) || bytes.len != DIGEST_BYTES)
        return false;
    memcpy(digest, bytes.data, DIGEST_BYTES);
    return true;
}

void hello_distrust(Trimtab__V1__Hello *hello)
{
    if (hello->cursor && hello->cursor->digest.len != DIGEST_BYTES)
        hello->cursor = NULL;
}

/*
 * Last-Event-ID: HEX-N-MARK. What is marked was sent by this start of the server, for just this subscription; the feed
 * takes such a cursor, which has no digest, at our word.
 */
static int query_last_event(struct rest *r, Trimtab__V1__Hello *hello, struct str last,
                            struct err *err)
{
    struct str store, number, mark = last;
    struct sha256 wish;
    uint64_t revision;
    int rc;

    if (!str_next(&mark, '-', &store) || !str_next(&mark, '-', &number) ||
        !str_u64(number, &revision))
        return err_set(err, ERR_INVALID, "last-event-id is what an event had as its id");
    rc = cursor_wish(hello, &wish);
    if (rc)
        return rc;
    if (!cursor_is_marked(&r->front->lane->hub->cursor_key, &wish, revision, mark))
        return 0;
    hello->cursor = ARENA_NEW(&r->arena, Trimtab__V1__Cursor);
    if (!hello->cursor)
        return ERR_NOMEM;
    trimtab__v1__cursor__init(hello->cursor);
    hello->cursor->store_id = proto_bytes(
        arena_str(&r->arena, str_of(feed_store_id(r->front->lane->feed), FEED_STORE_ID_BYTES)));
    hello->cursor->revision = revision;
    hello->cursor->count = 1;
    return arena_failed(&r->arena) ? ERR_NOMEM : 0;
}

/* store_id=...&revision=N&digest=HEX */
static int query_cursor(struct rest *r, Trimtab__V1__Hello *hello, struct err *err)
{
    struct arena *a = &r->arena;
    struct str store = rest_query(r, "store_id"), revision = rest_query(r, "revision");
    struct str digest = rest_query(r, "digest"),
               last = exchange_header(r->x, "last-event-id");
    Trimtab__V1__Cursor *cursor;
    char *id;

    if (last.len && !revision.data)
        return query_last_event(r, hello, last, err);
    if (!revision.data)
        return 0;
    cursor = ARENA_NEW(a, Trimtab__V1__Cursor);
    id = arena_alloc(a, FEED_STORE_ID_BYTES + DIGEST_BYTES);
    if (!cursor || !id)
        return ERR_NOMEM;
    trimtab__v1__cursor__init(cursor);
    if (!str_u64(revision, &cursor->revision) || !read_store_id(store, id))
        return err_set(err, ERR_INVALID,
                       "a cursor needs revision (a number) and store_id (as in a welcome)");
    cursor->store_id = proto_bytes(str_of(id, FEED_STORE_ID_BYTES));
    cursor->count = 1;
    if (digest.len && !read_digest(digest, id + FEED_STORE_ID_BYTES))
        return err_set(err, ERR_INVALID, "digest is that of an end, a bookmark or an ETag");
    if (digest.len)
        cursor->digest = proto_bytes(str_of(id + FEED_STORE_ID_BYTES, DIGEST_BYTES));
    hello->cursor = cursor;
    return 0;
}

int hello_from_query(struct rest *r, Trimtab__V1__Hello **ret_hello, struct err *err)
{
    struct arena *a = &r->arena;
    Trimtab__V1__Hello *hello = ARENA_NEW(a, Trimtab__V1__Hello);
    Trimtab__V1__Instance *instance = ARENA_NEW(a, Trimtab__V1__Instance);
    char **features = ARENA_NEW(a, char *);
    int rc;

    if (!hello || !instance || !features)
        return ERR_NOMEM;
    trimtab__v1__hello__init(hello);
    trimtab__v1__instance__init(instance);
    hello->protocol = 1;
    hello->instance = instance;
    features[0] = arena_c(a, STR(FEATURE_ROLLOUTS)); /* who asks this way is new enough */
    hello->features = features;
    hello->n_features = 1;
    instance->id = arena_c(a, rest_query(r, "instance"));
    instance->host = arena_c(a, rest_query(r, "host"));
    instance->program = arena_c(a, exchange_header(r->x, "user-agent"));
    rc = query_labels(r, instance, err);
    if (!rc)
        rc = query_scope(r, hello, err);
    if (!rc)
        rc = query_cursor(r, hello, err);
    if (!rc && arena_failed(a))
        rc = ERR_NOMEM;
    if (!rc)
        rc = inbound_check(&hello->base, a, err);
    *ret_hello = hello;
    return rc;
}

/*
 * Grants and tokens as documents. See grants.h.
 */
#include "cli/grants.h"

#include "base/hash.h"
#include "base/text.h"
#include "model/name.h"
#include "proto/convert.h"

#include <stdarg.h>

/* ---- what is published ---- */

static struct held_grant *add_held(struct cli *cli, struct held_grants *list)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 16;
        struct held_grant *more = arena_array(&cli->arena, cap, sizeof(*more));

        if (!more)
            return NULL;
        if (list->n)
            memcpy(more, list->at, list->n * sizeof(*more));
        list->at = more;
        list->cap = cap;
    }
    return &list->at[list->n++];
}

/* A role of a newer server than this program: what it gives cannot be told, so it is left alone. */
static int take_grant(struct cli *cli, const Trimtab__V1__GrantInfo *m,
                      struct held_grants *list)
{
    const struct role *role = role_find(str_c(m->role));
    struct held_grant *g;
    char id[ID_BYTES_MAX + 1];

    if (!role)
        return 0;
    g = add_held(cli, list);
    if (!g)
        return ERR_NOMEM;
    (void)snprintf(id, sizeof(id), "trimtab/grant/%s", m->name);
    *g = (struct held_grant){.id = arena_c(&cli->arena, str_c(id)),
                             .version = m->version,
                             .role = role,
                             .spaces = m->namespaces,
                             .n_spaces = m->n_namespaces,
                             .note = m->note};
    return arena_failed(&cli->arena) ? ERR_NOMEM : 0;
}

int grants_load(struct cli *cli, const char *subject, struct held_grants *ret, struct err *err)
{
    Trimtab__V1__GrantsRequest q = TRIMTAB__V1__GRANTS_REQUEST__INIT;
    Trimtab__V1__GrantsResponse *page;
    int r;

    *ret = (struct held_grants){.n = 0};
    q.subject = arena_c(&cli->arena, str_c(subject));
    do {
        r = call(cli, "Grants", &q.base, &trimtab__v1__grants_response__descriptor,
                 (ProtobufCMessage **)&page, 0, err);
        for (size_t i = 0; !r && i < page->n_grants; i++) {
            r = take_grant(cli, page->grants[i], ret);
            if (r)
                (void)err_set(err, r, "out of memory");
        }
        q.after = r ? q.after : page->next;
    } while (!r && *q.after);
    return r;
}

/* ---- names ---- */

static bool is_plain(char c)
{
    char lower = (char)(c | 0x20);

    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-' || c == '@';
}

static void put_escaped(struct str name, struct buf *out)
{
    for (size_t i = 0; i < name.len; i++)
        if (is_plain(name.data[i]))
            buf_put_byte(out, (unsigned char)name.data[i]);
        else
            buf_printf(out, "%%%02X", (unsigned char)name.data[i]);
}

const char *grant_id(struct cli *cli, struct str subject, const struct role *role)
{
    owned(buf) struct buf name = BUF_NULL((size_t)3 * SUBJECT_BYTES_MAX);
    struct str kind = str_part(subject, 0, str_index(subject, ':'));
    struct str own = str_from(subject, kind.len + 1);
    char hex[SHA256_HEX_BYTES + 1], id[ID_BYTES_MAX + 1];
    struct sha256 hash = sha256_of(own);

    put_escaped(own, &name);
    if (kind.len + name.len + role->name.len + 2 > NAME_BYTES_MAX) {
        hex_encode(hash.bytes, SHA256_BYTES, hex);
        buf_clear(&name);
        buf_printf(&name, "=%s", hex);
    }
    if (buf_status(&name))
        cli->arena.failed = true;
    (void)snprintf(id, sizeof(id), "trimtab/grant/%.*s-%.*s-%.*s", STR_ARG(kind),
                   STR_ARG(buf_str(&name)), STR_ARG(role->name));
    return arena_c(&cli->arena, str_c(id));
}

/* ---- what is to be ---- */

int document_put(struct cli *cli, Trimtab__V1__CommitRequest *q, const char *id,
                 uint64_t version, json_t *document, struct err *err)
{
    char *text = json_dumps(document, JSON_INDENT(2));
    Trimtab__V1__Change *c;
    int r;

    if (!text)
        return err_set(err, ERR_NOMEM, "out of memory");
    r = changes_add(cli, q, id, arena_str(&cli->arena, str_c(text)), err);
    free(text);
    if (r)
        return r;
    c = q->changes[q->n_changes - 1];
    c->content_type = arena_c(&cli->arena, STR("application/json"));
    c->based_on = version;
    c->create_only = version == 0;
    return arena_failed(&cli->arena) ? err_set(err, ERR_NOMEM, "out of memory") : 0;
}

int document_delete(struct cli *cli, Trimtab__V1__CommitRequest *q, const char *id,
                    uint64_t version, struct err *err)
{
    int r = changes_add(cli, q, id, STR(""), err);

    if (r)
        return r;
    q->changes[q->n_changes - 1]->delete_ = true;
    q->changes[q->n_changes - 1]->based_on = version;
    return 0;
}

void err_rehint(struct err *err, const char *hint, ...)
{
    char text[ERR_HINT_MAX];
    va_list ap;

    va_start(ap, hint);
    (void)vsnprintf(text, sizeof(text), hint, ap);
    va_end(ap);
    err->hint[0] = '\0'; /* else the first one stays */
    err_hint(err, "%s", text);
}

int note_check(const char *note, struct err *err)
{
    return text_is_plain(str_c(note), TEXT_LINES)
               ? 0
               : err_set(err, ERR_INVALID, "the note is no plain text");
}

/* NULL without memory. */
static json_t *grant_document(const struct held_grant *g, const char *subject)
{
    json_t *spaces = json_array(), *document;
    char role[32];
    bool ok = spaces != NULL;

    (void)snprintf(role, sizeof(role), "%.*s", STR_ARG(g->role->name));
    for (size_t i = 0; ok && i < g->n_spaces; i++)
        ok = json_array_append_new(spaces, json_string(g->spaces[i])) == 0;
    document =
        json_pack("{s:s, s:s, s:O}", "subject", subject, "role", role, "namespaces", spaces);
    if (ok && document && *g->note)
        ok = json_object_set_new(document, "note", json_string(g->note)) == 0;
    json_decref(spaces);
    if (ok)
        return document;
    json_decref(document);
    return NULL;
}

int grants_put(struct cli *cli, Trimtab__V1__CommitRequest *q, const struct held_grant *g,
               const char *subject, struct err *err)
{
    json_t *document = grant_document(g, subject);
    int r = document ? document_put(cli, q, g->id, g->version, document, err)
                     : err_set(err, ERR_NOMEM, "out of memory");

    json_decref(document);
    return r;
}

/*
 * Evidence against guesses. See evidence.h.
 */
#include "codec/evidence.h"

#include "codec/fault.h"
#include "codec/syntax.h"

#include <stdio.h>

enum { MARKER_BYTES_MAX = 4096, QUOTED_MAX = 40 };

static const struct marker {
    struct str open, close;
} markers[] = {
    {STR("{{"), STR("}}")},
    {STR("{%"), STR("%}")},
    {STR("${"), STR("}")},
};

/* ---- comments ---- */

/* Of a text that is JSON with comments, where a '/' outside strings begins one. */
static size_t first_comment(struct str text)
{
    bool is_string = false;

    for (size_t i = 0; i < text.len; i++) {
        if (is_string && text.data[i] == '\\')
            i++;
        else if (text.data[i] == '"')
            is_string = !is_string;
        else if (!is_string && text.data[i] == '/')
            return i;
    }
    return text.len;
}

static int find_comments(struct str media_type, struct str content, struct evidence *e)
{
    const char *dialect = syntax_name(media_type);
    size_t at;
    int r;

    if (!dialect || strcmp(dialect, "json") != 0)
        return 0;
    r = syntax_check(STR("application/jsonc"), content, NULL);
    at = first_comment(content);
    if (r || at == content.len)
        return r == ERR_NOMEM ? r : 0; /* or only a comma too many */
    e->type = STR("application/jsonc");
    text_format(e->said, sizeof(e->said), "a comment in line %u", place_of(content, at).line);
    return 0;
}

/* ---- templates ---- */

static size_t offset_of_place(struct str content, uint32_t line, uint32_t column)
{
    size_t at = bom_len(content);

    for (; line > 1 && at < content.len; at++)
        if (content.data[at] == '\n' ||
            (content.data[at] == '\r' && !str_starts(str_from(content, at), STR("\r\n"))))
            line--;
    return at + offset_of_char(str_from(content, at), column ? column - 1 : 0);
}

/* The length of the marker that begins there, 0 when none does. */
static size_t marker_len(struct str text)
{
    for (size_t i = 0; i < ARRAY_LEN(markers); i++) {
        const struct marker *m = &markers[i];

        if (!str_starts(text, m->open))
            continue;
        for (size_t at = m->open.len; at < MIN(text.len, (size_t)MARKER_BYTES_MAX); at++)
            if (str_starts(str_from(text, at), m->close))
                return at + m->close.len;
    }
    return 0;
}

static void find_marker(struct str content, const struct err *refusal, struct evidence *e)
{
    size_t fault_at = offset_of_place(content, refusal->line, refusal->column);
    size_t from = fault_at > MARKER_BYTES_MAX ? fault_at - MARKER_BYTES_MAX : 0;

    for (size_t at = from; refusal->line && at <= fault_at && at < content.len; at++) {
        size_t len = marker_len(str_from(content, at));
        struct str quoted = str_part(content, at, at + MIN(len, (size_t)QUOTED_MAX));

        if (at + len <= fault_at)
            continue;
        e->type = STR("text/x-template");
        quoted = str_part(quoted, 0, str_index(quoted, '\n'));
        text_format(e->said, sizeof(e->said), "%.*s in line %u",
                    STR_ARG(str_utf8_whole(quoted)), place_of(content, at).line);
        return;
    }
}

int evidence_of(struct str media_type, struct str content, const struct err *refusal,
                struct evidence *ret)
{
    int r;

    ret->type = STR_NULL;
    if (refusal->code != ERR_INVALID || !str_is_utf8(content))
        return 0;
    r = find_comments(media_type, content, ret);
    if (!r && !ret->type.len)
        find_marker(content, refusal, ret);
    return r;
}

/*
 * Names: parsing and the rules. See name.h.
 */
#include "model/name.h"

static bool is_segment_byte(char c, bool first)
{
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
        return true;
    return !first && (c == '.' || c == '_' || c == '-');
}

static int segment_check(struct str segment, const char *what, struct err *err)
{
    if (segment.len == 0)
        return err_set(err, ERR_INVALID, "empty %s", what);
    if (segment.len > SEGMENT_BYTES_MAX)
        return err_set(err, ERR_INVALID, "%s longer than %d bytes", what, SEGMENT_BYTES_MAX);
    for (size_t i = 0; i < segment.len; i++)
        if (!is_segment_byte(segment.data[i], i == 0)) {
            (void)err_set(err, ERR_INVALID, "%s \"%.*s\" has a character that is not allowed",
                          what, STR_ARG(str_part(segment, 0, str_utf8_prefix(segment))));
            err_hint(err, "use a-z, 0-9, '.', '_' and '-', beginning with a letter or digit");
            return ERR_INVALID;
        }
    return 0;
}

int namespace_check(struct str space, struct err *err)
{
    struct str rest = space.data ? space : STR(""), segment;
    int n = 0, r;

    while (str_next(&rest, '/', &segment)) {
        r = segment_check(segment, "namespace segment", err);
        if (r)
            return r;
        if (str_eq(segment, STR("file")))
            return err_set(
                err, ERR_INVALID,
                "a namespace cannot have a segment called \"file\": it marks the kind");
        if (++n > NAMESPACE_SEGMENTS_MAX)
            return err_set(err, ERR_INVALID, "a namespace has at most %d segments",
                           NAMESPACE_SEGMENTS_MAX);
    }
    return 0;
}

int kind_check(struct str kind, struct err *err)
{
    int r = segment_check(kind, "kind", err);

    if (r)
        return r;
    if (kind.data[0] >= '0' && kind.data[0] <= '9')
        return err_set(err, ERR_INVALID, "a kind begins with a letter");
    return 0;
}

/* One part of a name: what may stand between two slashes. */
static int part_check(struct str part, struct err *err)
{
    if (part.len == 0 || str_eq(part, STR(".")) || str_eq(part, STR("..")))
        return err_set(err, ERR_INVALID, "a name cannot have an empty, \".\" or \"..\" part");
    if (part.data[0] == ' ' || part.data[part.len - 1] == ' ')
        return err_set(err, ERR_INVALID, "a name cannot begin or end with a space");
    for (size_t i = 0; i < part.len; i++) {
        unsigned char c = (unsigned char)part.data[i];

        if (c < 0x20 || c == 0x7f || c == '\\' || c == '*')
            return err_set(err, ERR_INVALID, "a name cannot hold the byte 0x%02x", c);
    }
    return 0;
}

int name_check(struct str kind, struct str name, struct err *err)
{
    struct str rest = name.data ? name : STR(""), part;
    int n = 0, r;

    if (name.len > NAME_BYTES_MAX)
        return err_set(err, ERR_INVALID, "a name has at most %d bytes", NAME_BYTES_MAX);
    if (!str_is_utf8(name))
        return err_set(err, ERR_INVALID, "a name must be UTF-8");
    while (str_next(&rest, '/', &part)) {
        r = part_check(part, err);
        if (r)
            return r;
        if (++n > 1 && !str_eq(kind, STR("file")))
            return err_set(err, ERR_INVALID, "only names of kind file may hold '/'");
    }
    return 0;
}

/* Cuts an id into its parts: at the segment "file", else before the last two segments. */
static bool cut(struct str id, struct name *ret)
{
    size_t begin = 0, last = SIZE_MAX, before = SIZE_MAX;

    for (size_t i = 0; i <= id.len; i++) {
        if (i < id.len && id.data[i] != '/')
            continue;
        if (begin > 0 && i < id.len && str_eq(str_part(id, begin, i), STR("file"))) {
            *ret = (struct name){str_part(id, 0, begin - 1), str_part(id, begin, i),
                                 str_from(id, i + 1)};
            return true;
        }
        if (i < id.len) {
            before = last;
            last = i;
        }
        begin = i + 1;
    }
    if (before == SIZE_MAX)
        return false;
    *ret = (struct name){str_part(id, 0, before), str_part(id, before + 1, last),
                         str_from(id, last + 1)};
    return true;
}

static void place_id(struct err *err, struct str id)
{
    err_place(err, "%.*s", STR_ARG(str_part(id, 0, MIN(str_utf8_prefix(id), (size_t)200))));
}

int name_parse(struct str id, struct name *ret_name, struct err *err)
{
    struct name n;
    int r;

    if (!cut(id, &n)) {
        (void)err_set(err, ERR_INVALID, "not a resource id: it has less than three parts");
        err_hint(err, "write namespace/kind/name, for example shop/prod/item/pool.max");
        place_id(err, id);
        return ERR_INVALID;
    }
    r = namespace_check(n.space, err);
    if (!r)
        r = kind_check(n.kind, err);
    if (!r)
        r = name_check(n.kind, n.name, err);
    if (r) {
        place_id(err, id);
        return r;
    }
    *ret_name = n;
    return 0;
}

void name_put_key(struct name n, struct buf *out)
{
    buf_put_str(out, n.space);
    buf_put_byte(out, '\0');
    buf_put_str(out, n.kind);
    buf_put_byte(out, '\0');
    buf_put_str(out, n.name);
}

struct name key_name(struct str key)
{
    size_t first = str_index(key, '\0');
    struct str rest = str_from(key, first + 1);
    size_t second = str_index(rest, '\0');

    return (struct name){str_part(key, 0, first), str_part(rest, 0, second),
                         str_from(rest, second + 1)};
}

void key_put_id(struct str key, struct buf *out)
{
    struct name n = key_name(key);

    buf_put_str(out, n.space);
    buf_put_byte(out, '/');
    buf_put_str(out, n.kind);
    buf_put_byte(out, '/');
    buf_put_str(out, n.name);
}

bool key_is_named(struct str key, struct str text)
{
    struct str end = str_from(key, key.len - MIN(text.len, key.len));
    size_t space = key_name(key).space.len;

    if (end.len != text.len || (end.len != key.len && end.len != key.len - space - 1))
        return false;
    for (size_t i = 0; i < end.len; i++)
        if (text.data[i] != (end.data[i] ? end.data[i] : '/'))
            return false;
    return true;
}

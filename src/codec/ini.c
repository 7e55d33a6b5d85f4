/*
 * INI, our dialect: lines of "key = value" or "key: value" (the first '=' or ':' parts them), "[section]", comments
 * that begin with '#' or ';' in front of a line, empty lines. Blanks around all of these mean nothing. What stands
 * before the first section is a section of its own. A value is everything to the end of the line, quotes and comment
 * signs included; there are no continuation lines. Sections may be opened again. Refused: any other line, a section
 * without its ']' or without a name, text after the ']' that is no comment, an empty key, a key twice in one section
 * (upper and lower case differ), control characters other than the tab, a byte order mark.
 */
#include "codec/dialects.h"

#include "base/arena.h"
#include "codec/fault.h"
#include "codec/keys.h"

struct ini {
    struct str text;
    struct str section;
    struct arena arena;
    struct map seen; /* section LF key: neither part can hold a line feed */
    struct err *err;
};

static size_t offset_of(const struct ini *ini, struct str part)
{
    return (size_t)(part.data - ini->text.data);
}

static int refuse(const struct ini *ini, struct str at, const char *what)
{
    return fault(ini->err, ERR_INVALID, ini->text, offset_of(ini, at), "%s", what);
}

static struct str trim(struct str s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = str_from(s, 1);
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static int check_section(struct ini *ini, struct str line)
{
    size_t close = str_index(line, ']');
    struct str name = trim(str_part(line, 1, close)), rest = trim(str_from(line, close + 1));

    if (close == line.len)
        return refuse(ini, str_from(line, line.len), "a section without its ']'");
    if (name.len == 0)
        return refuse(ini, str_from(line, close), "a section without a name");
    if (rest.len && rest.data[0] != '#' && rest.data[0] != ';')
        return refuse(ini, rest, "text after the ']' of a section");
    ini->section = name;
    return 0;
}

static int check_twice(struct ini *ini, struct str key)
{
    size_t len = ini->section.len + 1 + key.len;
    char *name = arena_alloc(&ini->arena, len);
    int r;

    if (!name)
        return ERR_NOMEM;
    if (ini->section.len)
        memcpy(name, ini->section.data, ini->section.len);
    name[ini->section.len] = '\n';
    memcpy(name + ini->section.len + 1, key.data, key.len);
    r = key_add(&ini->seen, str_of(name, len));
    if (r != KEY_TWICE)
        return r;
    return fault(ini->err, ERR_INVALID, ini->text, offset_of(ini, key),
                 "key \"%.*s\" is given twice in this section", STR_ARG(str_part(key, 0, 200)));
}

static int check_line(struct ini *ini, struct str line)
{
    size_t parting;
    struct str key;

    for (size_t i = 0; i < line.len; i++)
        if (((unsigned char)line.data[i] < 0x20 && line.data[i] != '\t') ||
            line.data[i] == 0x7f)
            return refuse(ini, str_from(line, i), "a control character");
    line = trim(line);
    if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';')
        return 0;
    if (line.data[0] == '[')
        return check_section(ini, line);
    parting = MIN(str_index(line, '='), str_index(line, ':'));
    if (parting == line.len)
        return refuse(ini, line, "neither a section, nor a key with '=' or ':', nor a comment");
    key = trim(str_part(line, 0, parting));
    if (key.len == 0)
        return refuse(ini, line, "a value without a key");
    return check_twice(ini, key);
}

static int check(struct str content, struct err *err)
{
    struct ini ini = {.text = content, .err = err};
    struct str rest = content, line;
    int r = bom_refuse(content, err);

    while (!r && str_next(&rest, '\n', &line)) {
        if (line.len && line.data[line.len - 1] == '\r' && rest.data)
            line.len--;
        r = check_line(&ini, line);
    }
    map_deinit(&ini.seen);
    arena_deinit(&ini.arena);
    return r;
}

const struct dialect dialect_ini = {"ini", check};

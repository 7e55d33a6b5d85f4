/*
 * INI, as the programs have it that read files of that name: php.ini, my.cnf, tox.ini, units of systemd, inventories of
 * Ansible, uWSGI. There is no standard, and what one of them calls a mistake is daily use in another, so only what none of
 * them reads is refused.
 *
 * A line is empty; a comment ('#' or ';' in front); "[section]", which a comment may follow; "key = value" or "key: value"
 * (the first '=' or ':' parts them), also the same key again, and "key[]"; a key, a host or an include line without value;
 * or it continues the value before it: because it is indented, or because that line ends with '\'. Refused: a section
 * without its ']' or without a name, text after the ']' that is no comment, a value without a key, control characters other
 * than the tab.
 */
#include "codec/dialects.h"

#include "codec/fault.h"

struct ini {
    struct str text;
    bool has_key;       /* an indented line continues its value */
    bool has_backslash; /* the next line continues this one, whatever it is */
    struct err *err;
};

static int refuse(const struct ini *ini, struct str at, const char *what)
{
    return fault(ini->err, ERR_INVALID, ini->text, (size_t)(at.data - ini->text.data), "%s",
                 what);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct str trim(struct str s)
{
    while (s.len && is_blank(s.data[0]))
        s = str_from(s, 1);
    while (s.len && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

static int check_section(struct ini *ini, struct str line)
{
    size_t close = str_index(line, ']');
    struct str name = trim(str_part(line, 1, close)), rest = trim(str_from(line, close + 1));

    ini->has_key = false;
    if (close == line.len)
        return refuse(ini, str_from(line, line.len), "a section without its ']'");
    if (name.len == 0)
        return refuse(ini, str_from(line, close), "a section without a name");
    if (rest.len && rest.data[0] != '#' && rest.data[0] != ';')
        return refuse(ini, rest, "text after the ']' of a section");
    return 0;
}

static int check_characters(const struct ini *ini, struct str line)
{
    for (size_t i = 0; i < line.len; i++)
        if (((unsigned char)line.data[i] < 0x20 && line.data[i] != '\t') ||
            line.data[i] == 0x7f)
            return refuse(ini, str_from(line, i), "a control character");
    return 0;
}

static int check_line(struct ini *ini, struct str line)
{
    bool is_indented = line.len && is_blank(line.data[0]);
    bool is_continued = ini->has_backslash || (is_indented && ini->has_key);
    int r = check_characters(ini, line);

    line = trim(line);
    if (r || line.len == 0) {
        ini->has_backslash = false;
        return r;
    }
    if (line.data[0] == '#' || line.data[0] == ';')
        return 0;
    ini->has_backslash = line.data[line.len - 1] == '\\';
    if (is_continued)
        return 0;
    if (line.data[0] == '[')
        return check_section(ini, line);
    ini->has_key = true;
    if (line.data[0] == '=' || line.data[0] == ':')
        return refuse(ini, line, "a value without a key");
    return 0;
}

static int check(struct str content, struct err *err)
{
    struct ini ini = {.text = content, .err = err};
    struct str rest = str_from(content, bom_len(content)), line;
    int r = 0;

    while (!r && str_next(&rest, '\n', &line)) {
        if (line.len && line.data[line.len - 1] == '\r' && rest.data)
            line.len--;
        r = check_line(&ini, line);
    }
    return r;
}

const struct dialect dialect_ini = {"ini", check};

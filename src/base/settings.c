/*
 * Settings from a table. See settings.h.
 */
#include "base/settings.h"

static bool same_name(const char *name, struct str given)
{
    if (strlen(name) != given.len)
        return false;
    for (size_t i = 0; i < given.len; i++)
        if (name[i] != given.data[i] && !(name[i] == '_' && given.data[i] == '-'))
            return false;
    return true;
}

static const struct setting *find(const struct settings *s, struct str name)
{
    for (size_t i = 0; i < s->n; i++)
        if (same_name(s->table[i].name, name))
            return &s->table[i];
    return NULL;
}

/* ---- one value ---- */

static bool parse_bool(struct str v, bool *out)
{
    static const struct str yes[] = {STR("true"), STR("yes"), STR("on"), STR("1")};
    static const struct str no[] = {STR("false"), STR("no"), STR("off"), STR("0")};

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (str_eq(v, yes[i]) || str_eq(v, no[i])) {
            *out = str_eq(v, yes[i]);
            return true;
        }
    }
    return false;
}

static const char *const type_words[] = {
    [SETTING_TEXT] = "text",
    [SETTING_BOOL] = "true or false",
    [SETTING_U32] = "a number",
    [SETTING_DURATION] = "a duration such as 250ms, 10s or 5m",
    [SETTING_BYTES] = "a size such as 100, 64KiB or 8MiB",
};

static bool store_value(const struct settings *s, const struct setting *t, struct str v)
{
    void *at = (char *)s->object + t->offset;
    uint64_t number;

    switch (t->type) {
    case SETTING_TEXT: *(const char **)at = arena_c(s->arena, v); return true;
    case SETTING_BOOL: return parse_bool(v, at);
    case SETTING_U32:
        if (!str_u64(v, &number) || number > UINT32_MAX)
            return false;
        *(uint32_t *)at = (uint32_t)number;
        return true;
    case SETTING_DURATION: return str_duration(v, at);
    case SETTING_BYTES: return str_bytes(v, at);
    }
    return false;
}

static int set_found(const struct settings *s, const struct setting *t, struct str value,
                     struct err *err)
{
    if (!store_value(s, t, value)) {
        (void)err_set(err, ERR_INVALID, "%s cannot be \"%.*s\"", t->name, STR_ARG(value));
        err_hint(err, "it takes %s", type_words[t->type]);
        return ERR_INVALID;
    }
    return arena_failed(s->arena) ? ERR_NOMEM : 0;
}

int settings_standard(const struct settings *s, struct err *err)
{
    for (size_t i = 0; i < s->n; i++)
        if (set_found(s, &s->table[i], str_c(s->table[i].standard), err))
            return ERR_BUG;
    return 0;
}

/* How many leading bytes two names share: enough to guess which one was meant. */
static const struct setting *nearest(const struct settings *s, struct str name)
{
    const struct setting *best = NULL;
    size_t best_len = 1;

    for (size_t i = 0; i < s->n; i++) {
        size_t len = 0;

        while (len < name.len && s->table[i].name[len] == name.data[len])
            len++;
        if (len > best_len) {
            best = &s->table[i];
            best_len = len;
        }
    }
    return best;
}

int settings_set(const struct settings *s, struct str name, struct str value, struct err *err)
{
    const struct setting *t = find(s, name), *near;

    if (t)
        return set_found(s, t, value, err);
    (void)err_set(err, ERR_NOT_FOUND, "there is no setting \"%.*s\"", STR_ARG(name));
    near = nearest(s, name);
    if (near)
        err_hint(err, "is it %s that you mean?", near->name);
    return ERR_NOT_FOUND;
}

int settings_env(const struct settings *s, struct err *err)
{
    for (size_t i = 0; i < s->n; i++) {
        char name[128];
        const char *value;
        int n = snprintf(name, sizeof(name), "%s_%s", s->env_prefix, s->table[i].name);

        for (int j = 0; j < n && j < (int)sizeof(name); j++)
            if (name[j] >= 'a' && name[j] <= 'z')
                name[j] = (char)(name[j] - ('a' - 'A'));
        value = getenv(name);
        if (value && set_found(s, &s->table[i], str_c(value), err)) {
            err_place(err, "environment variable %s", name);
            return ERR_INVALID;
        }
    }
    return 0;
}

/* ---- files ---- */

struct place {
    const char *name;
    uint32_t line;
};

static int wrong(struct place at, uint32_t column, const char *what, struct err *err)
{
    (void)err_set(err, ERR_INVALID, "%s", what);
    err_place(err, "%s", at.name);
    err_at(err, at.line, column);
    return ERR_INVALID;
}

/* [section] or [section "label"] */
static int parse_section(struct str line, struct place at, struct str *section,
                         struct str *label, struct err *err)
{
    struct str inner;
    size_t space;

    if (line.data[line.len - 1] != ']')
        return wrong(at, (uint32_t)line.len, "a section line ends in ']'", err);
    inner = str_trim(str_part(line, 1, line.len - 1));
    space = str_index(inner, ' ');
    *section = str_part(inner, 0, space);
    *label = str_trim(str_from(inner, space));
    if (section->len == 0)
        return wrong(at, 2, "a section needs a name", err);
    if (label->len == 0)
        return 0;
    if (label->len < 2 || label->data[0] != '"' || label->data[label->len - 1] != '"')
        return wrong(at, (uint32_t)(space + 2), "the label of a section stands in quotes", err);
    *label = str_part(*label, 1, label->len - 1);
    return 0;
}

int settings_parse(struct str text, const char *name, settings_line_fn *fn, void *ctx,
                   struct err *err)
{
    struct str rest = text, raw, section = STR(""), label = STR("");
    struct place at = {name, 0};
    int r = 0;

    while (!r && str_next(&rest, '\n', &raw)) {
        struct str line = str_trim(raw), key = STR(""), value = STR("");
        size_t equals = str_index(line, '=');

        at.line++;
        if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';')
            continue;
        if (str_utf8_prefix(line) != line.len || memchr(line.data, 0, line.len))
            return wrong(at, (uint32_t)str_utf8_prefix(line) + 1, "not UTF-8 text", err);
        if (line.data[0] == '[') {
            r = parse_section(line, at, &section, &label, err);
        } else if (equals == line.len || equals == 0) {
            return wrong(at, 1, "expected \"key = value\"", err);
        } else {
            key = str_trim(str_part(line, 0, equals));
            value = str_trim(str_from(line, equals + 1));
        }
        if (!r)
            r = fn(ctx, section, label, key, value, err);
        if (r) {
            err_place(err, "%s", name);
            if (err && !err->line)
                err_at(err, at.line, (uint32_t)(line.data - raw.data) + 1);
        }
    }
    return r;
}

/* ---- flags ---- */

static int flag(const struct settings *s, struct str word, const char *next, int *at,
                struct err *err)
{
    size_t equals = str_index(word, '=');
    struct str name = str_part(word, 0, equals);
    const struct setting *t = find(s, name);
    bool has_value = equals < word.len;

    if (!t)
        return settings_set(s, name, STR(""), err);
    if (!has_value && t->type == SETTING_BOOL)
        return set_found(s, t, STR("true"), err);
    if (has_value)
        return set_found(s, t, str_from(word, equals + 1), err);
    if (!next)
        return err_set(err, ERR_INVALID, "--%s needs a value", t->name);
    (*at)++;
    return set_found(s, t, str_c(next), err);
}

int settings_flags(const struct settings *s, int argc, char **argv, int *at, struct err *err)
{
    while (*at < argc) {
        struct str word = str_c(argv[*at]);
        int r;

        if (!str_starts(word, STR("--")))
            return 0;
        if (word.len == 2) {
            (*at)++;
            return 0;
        }
        r = flag(s, str_from(word, 2), *at + 1 < argc ? argv[*at + 1] : NULL, at, err);
        if (r) {
            err_place(err, "command line");
            return r;
        }
        (*at)++;
    }
    return 0;
}

void settings_help(const struct settings *s, struct buf *out)
{
    for (size_t i = 0; i < s->n; i++)
        buf_printf(out, "  --%-24s %s%s%s%s\n", s->table[i].name, s->table[i].help,
                   *s->table[i].standard ? " [" : "", s->table[i].standard,
                   *s->table[i].standard ? "]" : "");
}

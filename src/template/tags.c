/*
 * Finding tags: delimiters, kinds, standalone lines, and which section ends where. See tags.h.
 */
#include "template/tags.h"

#include "codec/fault.h"

enum { DELIMITER_MAX = 16 };

struct cutter {
    struct str text;
    size_t at; /* what is before it has been cut */
    struct str open, close;
    struct pieces *pieces;
    size_t sections[TEMPLATE_NESTING_MAX]; /* numbers of the pieces that began them */
    size_t n_sections;
    struct err *err;
};

/* A tag as it stands in the text. */
struct tag {
    size_t begin, end; /* with its delimiters */
    char sigil;        /* 0: a value */
    struct str inside; /* without sigil and delimiters, trimmed */
};

static bool starts_at(struct str text, size_t at, struct str what)
{
    return str_starts(str_from(text, at), what);
}

static size_t find(struct str text, size_t from, struct str what)
{
    while (from + what.len <= text.len) {
        size_t at = from + str_index(str_from(text, from), what.data[0]);

        if (at + what.len <= text.len && starts_at(text, at, what))
            return at;
        from = at + 1;
    }
    return text.len;
}

static int wrong(const struct cutter *c, size_t at, const char *what)
{
    return fault(c->err, ERR_INVALID, c->text, at, "%s", what);
}

/* 1: there is one; 0: only text is left. */
static int next_tag(const struct cutter *c, struct tag *ret)
{
    char closing[DELIMITER_MAX + 2];
    struct str close = c->close;
    size_t inside, end;

    ret->begin = find(c->text, c->at, c->open);
    if (ret->begin == c->text.len)
        return 0;
    inside = ret->begin + c->open.len;
    ret->sigil = inside < c->text.len ? c->text.data[inside] : '\0';
    if (ret->sigil == '{' || ret->sigil == '=') { /* closed by its counterpart as well */
        closing[0] = '=';
        if (ret->sigil == '{')
            closing[0] = '}';
        memcpy(closing + 1, close.data, close.len);
        close = str_of(closing, close.len + 1);
    }
    if (ret->sigil && strchr("{=&#^/>!$<*", ret->sigil))
        inside++;
    else
        ret->sigil = '\0';
    end = find(c->text, inside, close);
    if (end == c->text.len)
        return wrong(c, ret->begin, "this tag is not closed");
    ret->inside = str_trim(str_part(c->text, inside, end));
    ret->end = end + close.len;
    return 1;
}

/* ---- lines on which nothing else stands ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* Whether it stands alone; then also where its line begins and the next one. */
static bool stands_alone(struct str text, const struct tag *tag, size_t *ret_begin,
                         size_t *ret_next)
{
    size_t begin = tag->begin, next = tag->end;

    while (begin > 0 && is_space(text.data[begin - 1]))
        begin--;
    while (next < text.len && is_space(text.data[next]))
        next++;
    if ((begin > 0 && text.data[begin - 1] != '\n') ||
        (next < text.len && text.data[next] != '\n' && !starts_at(text, next, STR("\r\n"))))
        return false;
    if (next < text.len)
        next += text.data[next] == '\r' ? 2 : 1;
    *ret_begin = begin;
    *ret_next = next;
    return true;
}

/* ---- pieces ---- */

static int add(struct cutter *c, struct piece piece)
{
    if (piece.kind == PIECE_TEXT && piece.text.len == 0)
        return 0;
    return VEC_PUSH(&c->pieces->list, piece) ? 0 : ERR_NOMEM;
}

static struct str without_quotes(struct str s)
{
    return s.len >= 2 && s.data[0] == '"' && s.data[s.len - 1] == '"'
               ? str_part(s, 1, s.len - 1)
               : s;
}

/* A key, with what is to be if it is not there. */
static int add_key(struct cutter *c, enum piece_kind kind, const struct tag *tag)
{
    size_t bar = str_index(tag->inside, '|');
    struct piece p = {.kind = kind,
                      .has_fallback = bar < tag->inside.len,
                      .text = str_trim(str_part(tag->inside, 0, bar)),
                      .fallback = without_quotes(str_trim(str_from(tag->inside, bar + 1))),
                      .at = tag->begin};

    if (p.text.len == 0 || p.text.len > TEMPLATE_KEY_MAX)
        return wrong(c, tag->begin,
                     p.text.len ? "this key is too long" : "this tag has no key");
    if (p.has_fallback && p.fallback.len && kind != PIECE_VALUE && kind != PIECE_RAW)
        return wrong(c, tag->begin,
                     "a section has no text to stand in for it: nothing may follow the bar");
    if (kind != PIECE_SECTION && kind != PIECE_INVERTED)
        return add(c, p);
    if (c->n_sections == TEMPLATE_NESTING_MAX)
        return fault(c->err, ERR_LIMIT, c->text, tag->begin,
                     "more than %d sections within each other", TEMPLATE_NESTING_MAX);
    c->sections[c->n_sections++] = c->pieces->list.n;
    return add(c, p);
}

static int end_section(struct cutter *c, const struct tag *tag)
{
    struct piece *begin;

    if (c->n_sections == 0)
        return wrong(c, tag->begin, "no section is open here");
    begin = &c->pieces->list.at[c->sections[--c->n_sections]];
    if (!str_eq(begin->text, tag->inside))
        return fault(c->err, ERR_INVALID, c->text, tag->begin,
                     "the section \"%.*s\" is closed as \"%.*s\"", STR_ARG(begin->text),
                     STR_ARG(tag->inside));
    begin->end = c->pieces->list.n;
    return add(c, (struct piece){.kind = PIECE_END, .text = tag->inside, .at = tag->begin});
}

static int set_delimiters(struct cutter *c, const struct tag *tag)
{
    size_t gap = 0, second;

    while (gap < tag->inside.len && !is_space(tag->inside.data[gap]))
        gap++;
    for (second = gap; second < tag->inside.len && is_space(tag->inside.data[second]);)
        second++;
    c->open = str_part(tag->inside, 0, gap);
    c->close = str_from(tag->inside, second);
    if (c->open.len == 0 || c->close.len == 0 || c->open.len > DELIMITER_MAX ||
        c->close.len > DELIMITER_MAX || str_index(c->close, ' ') < c->close.len ||
        str_index(tag->inside, '=') < tag->inside.len)
        return wrong(c, tag->begin, "delimiters are two words of up to 16 bytes without \"=\"");
    return 0;
}

static int add_tag(struct cutter *c, const struct tag *tag, struct str indent)
{
    switch (tag->sigil) {
    case '\0': return add_key(c, PIECE_VALUE, tag);
    case '{':
    case '&': return add_key(c, PIECE_RAW, tag);
    case '#': return add_key(c, PIECE_SECTION, tag);
    case '^': return add_key(c, PIECE_INVERTED, tag);
    case '/': return end_section(c, tag);
    case '=': return set_delimiters(c, tag);
    case '!': return 0;
    case '>':
        if (tag->inside.len == 0)
            return wrong(c, tag->begin, "this tag has no name");
        return add(c, (struct piece){.kind = PIECE_PARTIAL,
                                     .text = tag->inside,
                                     .indent = indent,
                                     .at = tag->begin});
    default: return wrong(c, tag->begin, "inheritance and dynamic names are not supported");
    }
}

/* The text before a tag, and the tag. */
static int cut_one(struct cutter *c, const struct tag *tag)
{
    bool may_stand_alone = tag->sigil && !strchr("{&", tag->sigil);
    size_t begin = tag->begin, next = tag->end;
    bool alone = may_stand_alone && stands_alone(c->text, tag, &begin, &next);
    struct str before = str_part(c->text, c->at, MAX(begin, c->at));
    struct str indent = alone ? str_part(c->text, begin, tag->begin) : STR_NULL;
    int r = add(c, (struct piece){.kind = PIECE_TEXT, .text = before});

    c->at = next;
    return r ? r : add_tag(c, tag, indent);
}

int template_cut(struct str text, struct pieces *ret, struct err *err)
{
    struct cutter c = {
        .text = text, .open = STR("{{"), .close = STR("}}"), .pieces = ret, .err = err};
    struct tag tag = {0};
    int r;

    while ((r = next_tag(&c, &tag)) == 1) {
        r = cut_one(&c, &tag);
        if (r)
            return r;
    }
    if (r)
        return r;
    if (c.n_sections)
        return wrong(&c, ret->list.at[c.sections[c.n_sections - 1]].at,
                     "this section is not closed");
    return add(&c, (struct piece){.kind = PIECE_TEXT, .text = str_from(text, c.at)});
}

/*
 * Writing pieces with values: keys are looked for from the innermost section outwards. See template.h.
 */
#include "template/tags.h"

#include "base/arena.h"
#include "codec/fault.h"

struct rendering {
    const struct template *template;
    struct buf *out;
    struct err *err;
    const struct value *frames[2 * TEMPLATE_NESTING_MAX]; /* the last is the innermost */
    size_t n_frames;
    unsigned depth; /* of templates in each other */
    uint64_t steps;
};

/* A template that is written: the outermost, or one that a tag names. */
struct sheet {
    struct rendering *r;
    const char *name;
    struct str text;
    struct pieces pieces;
};

static int render_range(const struct sheet *s, size_t from, size_t to);

static int at_place(const struct sheet *s, int code)
{
    err_place(s->r->err, "%s", s->name);
    return code;
}

static int count_steps(const struct sheet *s, size_t at, uint64_t n)
{
    s->r->steps += n;
    if (s->r->steps <= TEMPLATE_STEPS_MAX)
        return 0;
    return at_place(s, fault(s->r->err, ERR_LIMIT, s->text, at,
                             "rendering takes more than %d steps", TEMPLATE_STEPS_MAX));
}

/* ---- keys ---- */

static const struct value *member(const struct value *v, struct str name)
{
    char key[TEMPLATE_KEY_MAX + 1];

    if (value_type(v) != VALUE_OBJECT || name.len > TEMPLATE_KEY_MAX)
        return NULL;
    memcpy(key, name.data, name.len);
    key[name.len] = '\0';
    return value_member(v, key);
}

/* The first part in the innermost frame that has it, the others only in what that is. NULL: not there. */
static const struct value *look_up(const struct rendering *r, struct str key)
{
    const struct value *v = NULL;
    struct str part;

    if (str_eq(key, STR(".")))
        return r->frames[r->n_frames - 1];
    if (!str_next(&key, '.', &part))
        return NULL;
    for (size_t i = r->n_frames; i-- > 0 && !v;)
        v = member(r->frames[i], part);
    while (v && str_next(&key, '.', &part))
        v = member(v, part);
    return v;
}

static int missing(const struct sheet *s, const struct piece *p)
{
    (void)fault(s->r->err, ERR_INVALID, s->text, p->at, "there is no value \"%.*s\"",
                STR_ARG(p->text));
    err_hint(s->r->err,
             p->kind == PIECE_SECTION
                 ? "give it one, or say what is to be without it: {{^%.*s}}...{{/%.*s}}"
                 : "give it one, or a default: {{%.*s | default}}",
             STR_ARG(p->text), STR_ARG(p->text));
    return at_place(s, ERR_INVALID);
}

/* ---- values as text ---- */

static void put_markup(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        switch (text.data[i]) {
        case '&': buf_put_c(out, "&amp;"); break;
        case '<': buf_put_c(out, "&lt;"); break;
        case '>': buf_put_c(out, "&gt;"); break;
        case '"': buf_put_c(out, "&quot;"); break;
        case '\'': buf_put_c(out, "&#39;"); break;
        default: buf_put_byte(out, (unsigned char)text.data[i]);
        }
}

static void put_json(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c == '"' || c == '\\')
            buf_put_byte(out, '\\');
        if (c < 0x20)
            buf_printf(out, "\\u%04x", c);
        else
            buf_put_byte(out, c);
    }
}

static void put_text(struct rendering *r, struct str text, bool is_raw)
{
    if (is_raw || r->template->escape == TEMPLATE_AS_IS)
        buf_put_str(r->out, text);
    else if (r->template->escape == TEMPLATE_MARKUP)
        put_markup(r->out, text);
    else
        put_json(r->out, text);
}

static int put_value(const struct sheet *s, const struct piece *p)
{
    const struct value *v = look_up(s->r, p->text);
    bool is_raw = p->kind == PIECE_RAW;
    char number[VALUE_NUMBER_MAX];

    if (!v && !p->has_fallback && !s->r->template->is_lenient)
        return missing(s, p);
    if (!v) {
        buf_put_str(s->r->out, p->fallback); /* part of the template: as it stands there */
        return 0;
    }
    switch (value_type(v)) {
    case VALUE_NULL: break;
    case VALUE_BOOL: buf_put_c(s->r->out, value_is_true(v) ? "true" : "false"); break;
    case VALUE_NUMBER: put_text(s->r, value_number(v, number), is_raw); break;
    case VALUE_TEXT: put_text(s->r, value_text(v), is_raw); break;
    case VALUE_ARRAY:
    case VALUE_OBJECT:
        return at_place(s, fault(s->r->err, ERR_INVALID, s->text, p->at,
                                 "\"%.*s\" is %s, which is no text", STR_ARG(p->text),
                                 value_type_name(value_type(v))));
    }
    return 0;
}

/* ---- sections ---- */

static bool is_true(const struct value *v)
{
    switch (value_type(v)) {
    case VALUE_NULL: return false;
    case VALUE_BOOL: return value_is_true(v);
    case VALUE_ARRAY: return value_count(v) > 0;
    case VALUE_NUMBER:
    case VALUE_TEXT:
    case VALUE_OBJECT: break;
    }
    return true;
}

static bool has_inverted(const struct sheet *s, struct str key)
{
    for (size_t i = 0; i < s->pieces.list.n; i++)
        if (s->pieces.list.at[i].kind == PIECE_INVERTED &&
            str_eq(s->pieces.list.at[i].text, key))
            return true;
    return false;
}

/* What is between begin and end of a section, with v innermost. */
static int render_with(const struct sheet *s, size_t number, const struct value *v)
{
    const struct piece *p = &s->pieces.list.at[number];
    struct rendering *r = s->r;
    int rc;

    if (r->n_frames == ARRAY_LEN(r->frames))
        return at_place(s, fault(r->err, ERR_LIMIT, s->text, p->at,
                                 "more than %zu sections within each other",
                                 ARRAY_LEN(r->frames)));
    r->frames[r->n_frames++] = v;
    rc = render_range(s, number + 1, p->end);
    r->n_frames--;
    return rc;
}

static int render_section(const struct sheet *s, size_t number)
{
    const struct piece *p = &s->pieces.list.at[number];
    const struct value *v = look_up(s->r, p->text);
    int r = 0;

    if (p->kind == PIECE_INVERTED)
        return v && is_true(v) ? 0 : render_range(s, number + 1, p->end);
    if (!v && !p->has_fallback && !s->r->template->is_lenient) {
        r = count_steps(s, p->at, s->pieces.list.n);
        return r || has_inverted(s, p->text) ? r : missing(s, p);
    }
    if (!v)
        return 0;
    if (value_type(v) != VALUE_ARRAY)
        return is_true(v) ? render_with(s, number, v) : 0;
    for (size_t i = 0; !r && i < value_count(v); i++) {
        r = count_steps(s, p->at, 1);
        if (!r)
            r = render_with(s, number, value_at(v, i));
    }
    return r;
}

/* ---- other templates ---- */

/* Each line with the indentation of the tag that it stands for, as the specification has it. */
static struct str indented(struct arena *a, struct buf *bytes, struct str text,
                           struct str indent)
{
    while (indent.len && text.len) {
        size_t line = MIN(str_index(text, '\n') + 1, text.len);

        buf_put_str(bytes, indent);
        buf_put_str(bytes, str_part(text, 0, line));
        text = str_from(text, line);
    }
    return indent.len ? arena_str(a, buf_str(bytes)) : text;
}

static int render_sheet(struct rendering *r, const char *name, struct str text)
{
    struct sheet s = {.r = r, .name = name, .text = text};
    int rc = template_cut(text, &s.pieces, r->err);

    if (rc == ERR_NOMEM)
        (void)err_set(r->err, rc, "out of memory");
    if (rc)
        (void)at_place(&s, rc);
    else
        rc = render_range(&s, 0, s.pieces.list.n);
    VEC_DEINIT(&s.pieces.list);
    return rc;
}

static int render_found(const struct sheet *s, const struct piece *p, struct str text)
{
    owned(arena) struct arena a = ARENA_NULL;
    owned(buf) struct buf bytes = BUF_NULL(s->r->out->ceiling);
    const char *name = arena_c(&a, p->text);
    int r;

    text = indented(&a, &bytes, text, p->indent);
    if (arena_failed(&a) || buf_status(&bytes) == ERR_NOMEM)
        return err_set(s->r->err, ERR_NOMEM, "out of memory");
    if (buf_status(&bytes))
        return at_place(s,
                        fault(s->r->err, ERR_LIMIT, s->text, p->at, "the file is too large"));
    s->r->depth++;
    r = render_sheet(s->r, name, text);
    s->r->depth--;
    return r;
}

static int render_partial(const struct sheet *s, const struct piece *p)
{
    const struct template *t = s->r->template;
    struct str text;

    if (!t->partial || !t->partial(t->ctx, p->text, &text))
        return t->is_lenient
                   ? 0
                   : at_place(s, fault(s->r->err, ERR_INVALID, s->text, p->at,
                                       "there is no template \"%.*s\"", STR_ARG(p->text)));
    if (s->r->depth == TEMPLATE_NESTING_MAX)
        return at_place(s, fault(s->r->err, ERR_LIMIT, s->text, p->at,
                                 "more than %d templates within each other",
                                 TEMPLATE_NESTING_MAX));
    return render_found(s, p, text);
}

/* ---- pieces ---- */

static int render_piece(const struct sheet *s, size_t number)
{
    const struct piece *p = &s->pieces.list.at[number];

    switch (p->kind) {
    case PIECE_TEXT: buf_put_str(s->r->out, p->text); return 0;
    case PIECE_VALUE:
    case PIECE_RAW: return put_value(s, p);
    case PIECE_SECTION:
    case PIECE_INVERTED: return render_section(s, number);
    case PIECE_PARTIAL: return render_partial(s, p);
    case PIECE_END: break;
    }
    return 0;
}

static int render_range(const struct sheet *s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const struct piece *p = &s->pieces.list.at[i];
        int r = count_steps(s, p->at, 1);

        if (!r)
            r = render_piece(s, i);
        if (!r && buf_status(s->r->out))
            r = buf_status(s->r->out) == ERR_NOMEM
                    ? err_set(s->r->err, ERR_NOMEM, "out of memory")
                    : at_place(s,
                               fault(s->r->err, ERR_LIMIT, s->text, p->at,
                                     "the file is larger than %zu bytes", s->r->out->ceiling));
        if (r)
            return r;
        if (p->kind == PIECE_SECTION || p->kind == PIECE_INVERTED)
            i = p->end;
    }
    return 0;
}

int template_render(const struct template *t, struct buf *out, struct err *err)
{
    struct rendering r = {
        .template = t, .out = out, .err = err, .frames = {t->values}, .n_frames = 1};

    return render_sheet(&r, t->name, t->text);
}

enum template_escape template_escape_for(struct str media_type)
{
    struct str type = str_trim(str_part(media_type, 0, str_index(media_type, ';')));

    if (str_eq_nocase(type, STR("text/html")) || str_eq_nocase(type, STR("text/xml")) ||
        str_eq_nocase(type, STR("application/xml")) || str_ends(type, STR("+xml")))
        return TEMPLATE_MARKUP;
    if (str_eq_nocase(type, STR("application/json")) || str_ends(type, STR("+json")))
        return TEMPLATE_JSON;
    return TEMPLATE_AS_IS;
}

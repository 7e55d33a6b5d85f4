/*
 * YAML 1.1 by libyaml's events: any number of documents, none included. libyaml itself accepts keys given twice and
 * aliases of nothing; both are refused here. Keys are the same when their texts are, however they are quoted or
 * tagged; keys that are no scalars are not compared. An anchor may be set again, and holds within its document.
 *
 * libyaml takes a tab in front of a block scalar for indentation, which other readers do not: it is given another character
 * in its place, and reads again from the beginning.
 *
 * "{{" is legal YAML, a mapping that is a key, and nobody means it: a text that is refused further on is shown there, since
 * it is a template.
 *
 * Against bombs: nesting deeper than NESTING_MAX, and documents whose aliases stand for more than ALIAS_NODES_MAX
 * nodes, are refused. A node inside an alias counts as often as a reader would meet it. %TAG directives are counted
 * before libyaml sees them, since it compares each with all before it.
 */
#include "codec/dialects.h"

#include "base/arena.h"
#include "base/vec.h"
#include "codec/fault.h"
#include "codec/keys.h"

#include <yaml.h>

enum { ALIAS_NODES_MAX = 1000000, TAG_DIRECTIVES_MAX = 1000, TABS_MAX = 32 };

/* Outcome of a pass: a tab that belongs to a block scalar stands at c->tab. */
enum { YAML_TAB = 1 };

struct anchor {
    struct str name;
    struct str scalar; /* data is NULL for collections */
    uint64_t nodes;    /* 0 while it is open */
};

/* A collection that is not closed yet. */
struct level {
    bool is_mapping, is_value; /* is_value: a key stands before the next node */
    struct map keys;
    struct anchor *anchor;
    uint64_t nodes;
};

struct checker {
    yaml_parser_t parser;
    struct str text;
    size_t bom;
    struct level levels[NESTING_MAX];
    int depth;
    uint64_t alias_nodes; /* in this document */
    struct map anchors;
    struct arena arena; /* of this document */
    size_t chars, bytes; /* up to where characters were counted */
    size_t braces;       /* where "{{" was first read as a mapping; SIZE_MAX: nowhere */
    size_t tab;
    struct err *err;
};

/* The same for marks that come one after the other: all of them together are linear. */
static size_t next_offset(struct checker *c, yaml_mark_t mark)
{
    if (mark.index < c->chars)
        c->chars = c->bytes = 0;
    c->bytes += offset_of_char(str_from(c->text, c->bom + c->bytes), mark.index - c->chars);
    c->chars = mark.index;
    return c->bom + c->bytes;
}

static size_t offset_of(const struct checker *c, yaml_mark_t mark)
{
    return c->bom + offset_of_char(str_from(c->text, c->bom), mark.index);
}

#define REFUSE(c, mark, ...)                                                                   \
    fault((c)->err, ERR_INVALID, (c)->text, offset_of((c), (mark)), __VA_ARGS__)

/* ---- anchors ---- */

static int put_anchor(struct checker *c, const yaml_char_t *name, struct str scalar,
                      uint64_t nodes, struct anchor **ret_anchor)
{
    struct anchor *a;

    *ret_anchor = NULL;
    if (!name)
        return 0;
    a = ARENA_NEW(&c->arena, struct anchor);
    if (!a)
        return ERR_NOMEM;
    a->name = arena_str(&c->arena, str_c((const char *)name));
    a->scalar = scalar;
    a->nodes = nodes;
    if (arena_failed(&c->arena) || !map_put(&c->anchors, a->name, a, NULL))
        return ERR_NOMEM;
    /* A key that is replaced may stay the old one's, which lives as long. */
    *ret_anchor = a;
    return 0;
}

/* ---- nodes ---- */

/* The parent learns of a node; a scalar in the place of a key is compared with the keys before. */
static int add_node(struct checker *c, struct str scalar, uint64_t nodes, yaml_mark_t mark)
{
    struct level *l = c->depth ? &c->levels[c->depth - 1] : NULL;
    struct str key;
    size_t first = 0;
    int r = 0;

    if (!l)
        return 0;
    l->nodes += nodes;
    if (!l->is_mapping)
        return 0;
    l->is_value = !l->is_value;
    if (!l->is_value || !scalar.data)
        return 0;
    key = arena_str(&c->arena, scalar);
    r = arena_failed(&c->arena) ? ERR_NOMEM
                                : key_add(&l->keys, key, next_offset(c, mark), &first);
    return r == KEY_TWICE ? fault_twice(c->err, c->text, offset_of(c, mark), key, first) : r;
}

static int on_scalar(struct checker *c, const yaml_event_t *e)
{
    struct str scalar = str_of(e->data.scalar.value, e->data.scalar.length);
    struct anchor *a;
    struct str kept = STR_NULL;

    if (e->data.scalar.anchor) {
        kept = arena_str(&c->arena, scalar);
        if (arena_failed(&c->arena))
            return ERR_NOMEM;
    }
    if (put_anchor(c, e->data.scalar.anchor, kept, 1, &a))
        return ERR_NOMEM;
    return add_node(c, scalar, 1, e->start_mark);
}

static int on_alias(struct checker *c, const yaml_event_t *e)
{
    struct str name = str_c((const char *)e->data.alias.anchor);
    const struct anchor *a = map_get(&c->anchors, name);

    name = str_part(name, 0, 200);
    if (!a)
        return REFUSE(c, e->start_mark, "there is no anchor \"%.*s\"", STR_ARG(name));
    if (a->nodes == 0)
        return REFUSE(c, e->start_mark, "alias \"%.*s\" is inside what it stands for",
                      STR_ARG(name));
    c->alias_nodes += a->nodes;
    if (c->alias_nodes > ALIAS_NODES_MAX)
        return fault(c->err, ERR_LIMIT, c->text, offset_of(c, e->start_mark),
                     "aliases stand for more than %d nodes", ALIAS_NODES_MAX);
    return add_node(c, a->scalar, a->nodes, e->start_mark);
}

static int on_start(struct checker *c, const yaml_event_t *e, bool is_mapping,
                    const yaml_char_t *anchor)
{
    struct level *l;
    int r = add_node(c, STR_NULL, 0, e->start_mark);

    if (r)
        return r;
    if (c->depth == NESTING_MAX)
        return fault(c->err, ERR_LIMIT, c->text, offset_of(c, e->start_mark),
                     "nested deeper than %d levels", NESTING_MAX);
    if (is_mapping && c->braces == SIZE_MAX &&
        e->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE &&
        str_starts(str_from(c->text, next_offset(c, e->start_mark)), STR("{{")))
        c->braces = c->bom + c->bytes;
    l = &c->levels[c->depth++];
    *l = (struct level){.is_mapping = is_mapping, .nodes = 1};
    return put_anchor(c, anchor, STR_NULL, 0, &l->anchor);
}

static int on_end(struct checker *c)
{
    struct level *l = &c->levels[--c->depth];

    map_deinit(&l->keys);
    if (l->anchor)
        l->anchor->nodes = l->nodes;
    if (c->depth)
        c->levels[c->depth - 1].nodes += l->nodes;
    return 0;
}

static void drop_document(struct checker *c)
{
    while (c->depth)
        map_deinit(&c->levels[--c->depth].keys);
    map_deinit(&c->anchors);
    arena_deinit(&c->arena);
    c->alias_nodes = 0;
}

static int on_event(struct checker *c, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_ALIAS_EVENT: return on_alias(c, e);
    case YAML_SCALAR_EVENT: return on_scalar(c, e);
    case YAML_SEQUENCE_START_EVENT: return on_start(c, e, false, e->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT: return on_start(c, e, true, e->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return on_end(c);
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT: drop_document(c); return 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT: return 0;
    }
    return 0;
}

/* ---- libyaml's refusals ---- */

static bool is_about(const char *text, const char *what)
{
    return text && strstr(text, what);
}

/* A tab behind the indentation of what the block scalar belongs to is its first character. */
static bool is_tab_of_block(struct checker *c)
{
    const yaml_parser_t *p = &c->parser;

    if (!is_about(p->context, "block scalar") ||
        !is_about(p->problem, "found a tab character") ||
        (p->indent >= 0 && p->problem_mark.column <= (size_t)p->indent))
        return false;
    c->tab = offset_of(c, p->problem_mark);
    return true;
}

/* What libyaml was in when it found the fault, without "while scanning" and the like; NULL when that says nothing. */
static const char *context_of(const yaml_parser_t *p)
{
    const char *verb = p->context && p->problem ? strchr(p->context, ' ') : NULL;
    const char *what = verb ? strchr(verb + 1, ' ') : NULL;

    if (!what || str_starts(str_c(what), STR(" for ")))
        return NULL;
    return is_about(what, "quoted scalar") ? "a quoted text" : what + 1;
}

/* Of an open quote or bracket, where it opened is all that helps. */
static int refuse_in_context(struct checker *c, const char *what)
{
    const yaml_parser_t *p = &c->parser;
    struct place begin = place_of(c->text, offset_of(c, p->context_mark));

    return REFUSE(c, p->problem_mark, "%s, in %s that begins in line %u, column %u", p->problem,
                  what, begin.line, begin.column);
}

/*
 * libyaml stands at the token after the fault for a key that lacks its ':'; there the context is the place. The
 * reader counts bytes, everything else characters.
 */
static int refuse(struct checker *c)
{
    const yaml_parser_t *p = &c->parser;

    if (p->error == YAML_MEMORY_ERROR)
        return ERR_NOMEM;
    if (p->error == YAML_READER_ERROR)
        return fault(c->err, ERR_INVALID, c->text, c->bom + p->problem_offset, "%s",
                     p->problem ? p->problem : "not readable");
    if (is_tab_of_block(c))
        return YAML_TAB;
    if (is_about(p->context, "simple key"))
        return REFUSE(c, p->context_mark, "a line that is neither a key with ':' nor a value");
    if (context_of(p))
        return refuse_in_context(c, context_of(p));
    return REFUSE(c, p->problem_mark, "%s", p->problem ? p->problem : "not YAML");
}

static int run(struct checker *c)
{
    bool is_done = false;
    int r = 0;

    while (!r && !is_done) {
        yaml_event_t event;

        if (!yaml_parser_parse(&c->parser, &event))
            return refuse(c);
        is_done = event.type == YAML_STREAM_END_EVENT;
        r = on_event(c, &event);
        yaml_event_delete(&event);
    }
    return r;
}

/* The last byte of what libyaml takes for the end of a line: LF, CR, and in UTF-8 U+0085, U+2028, U+2029. */
static bool may_end_line(char c)
{
    return c == '\n' || c == '\r' || c == '\x85' || c == '\xa8' || c == '\xa9';
}

static int check_directives(struct str content, struct err *err)
{
    size_t begin = bom_len(content);
    int n = 0;

    for (size_t i = begin; i < content.len; i++) {
        i += str_index(str_from(content, i), '%');
        if ((i == begin || may_end_line(content.data[i - 1])) &&
            str_starts(str_from(content, i), STR("%TAG")) && ++n > TAG_DIRECTIVES_MAX)
            return fault(err, ERR_LIMIT, content, i, "more than %d %%TAG directives",
                         TAG_DIRECTIVES_MAX);
    }
    return 0;
}

/* Whoever reads "{{" as a mapping is told of it: what is found further on comes from there. */
static int retell_braces(struct checker *c)
{
    char found[ERR_TEXT_MAX];

    if (c->braces == SIZE_MAX || !c->err)
        return ERR_INVALID;
    (void)snprintf(found, sizeof(found), "%s", c->err->text);
    return fault(c->err, ERR_INVALID, c->text, c->braces,
                 "\"{{\" begins a mapping, and in line %u: %s", c->err->line, found);
}

/* One reading of what the parser is given, which has the places of c->text. */
static int pass(struct checker *c, struct str given)
{
    int r;

    c->chars = c->bytes = 0;
    c->braces = SIZE_MAX;
    if (!yaml_parser_initialize(&c->parser))
        return ERR_NOMEM;
    yaml_parser_set_encoding(&c->parser, YAML_UTF8_ENCODING);
    given = str_from(given, c->bom);
    yaml_parser_set_input_string(&c->parser, (const unsigned char *)given.data, given.len);
    r = run(c);
    drop_document(c);
    yaml_parser_delete(&c->parser);
    return r == ERR_INVALID ? retell_braces(c) : r;
}

/* With the tabs that libyaml stumbles over replaced, one after the other. */
static int pass_without_tabs(struct checker *c)
{
    char *given = mem_dup(c->text.data, c->text.len);
    int r = YAML_TAB;

    if (!given)
        return ERR_NOMEM;
    for (int i = 0; i < TABS_MAX && r == YAML_TAB; i++) {
        given[c->tab] = 'x';
        r = pass(c, str_of(given, c->text.len));
    }
    (void)mem_free(given);
    return r == YAML_TAB ? fault(c->err, ERR_LIMIT, c->text, c->tab,
                                 "more than %d block scalars that begin with a tab", TABS_MAX)
                         : r;
}

static int check(struct str content, struct err *err)
{
    struct checker *c;
    int r = check_directives(content, err);

    if (r)
        return r;
    c = NEW(struct checker);
    if (!c)
        return ERR_NOMEM;
    c->text = content;
    c->bom = bom_len(content);
    c->err = err;
    r = pass(c, content);
    if (r == YAML_TAB)
        r = pass_without_tabs(c);
    (void)mem_free(c);
    return r;
}

const struct dialect dialect_yaml = {"yaml", check};

/*
 * YAML as a value, for the few documents that Trimtab itself reads: one document of mappings, sequences and scalars.
 *
 * Plain scalars are typed as by the core schema of YAML 1.2: null, true, false, and numbers as JSON writes them. All else is
 * text, also "yes" and "2027-01-01". Anchors, aliases and tags are refused: a document that gives rights must say the same
 * to every reader. So there is nothing that can grow, and the depth is small.
 */
#include "codec/value.h"

#include "base/alloc.h"
#include "codec/fault.h"
#include "codec/syntax.h"

#include <jansson.h>
#include <yaml.h>

enum { LEVELS_MAX = 16 };

/* A collection that is not closed yet; its parent owns it. */
struct level {
    json_t *node;
    char *key; /* of an object: waits for its value */
};

struct builder {
    yaml_parser_t parser;
    struct str text;
    json_t *root;
    struct level levels[LEVELS_MAX];
    size_t depth;
    struct err *err;
};

static int refuse(struct builder *b, const yaml_event_t *e, int code, const char *what)
{
    size_t bom = bom_len(b->text);
    size_t at = bom + offset_of_char(str_from(b->text, bom), e->start_mark.index);

    return fault(b->err, code, b->text, at, "%s", what);
}

static struct level *top(struct builder *b)
{
    return b->depth ? &b->levels[b->depth - 1] : NULL;
}

/* Gives a node to the collection around it. Consumes the node; NULL: there was no memory for it. */
static int add_node(struct builder *b, json_t *node)
{
    struct level *l = top(b);
    int r;

    if (!node)
        return ERR_NOMEM;
    if (!l) {
        b->root = node;
        return 0;
    }
    if (json_is_array(l->node))
        return json_array_append_new(l->node, node) ? ERR_NOMEM : 0;
    r = json_object_set_new(l->node, l->key, node) ? ERR_NOMEM : 0;
    l->key = mem_free(l->key);
    return r;
}

static bool is_key(struct builder *b)
{
    const struct level *l = top(b);

    return l && json_is_object(l->node) && !l->key;
}

/* What a plain scalar is: numbers are whatever jansson takes for one. */
static json_t *plain_scalar(struct str s)
{
    json_t *number = NULL;

    if (s.len == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null")))
        return json_null();
    if (str_eq(s, STR("true")) || str_eq(s, STR("false")))
        return json_boolean(s.data[0] == 't');
    if (s.data[0] == '-' || (s.data[0] >= '0' && s.data[0] <= '9'))
        number = json_loadb(s.data, s.len, JSON_DECODE_ANY, NULL);
    return number ? number : json_stringn(s.data, s.len);
}

static int on_scalar(struct builder *b, const yaml_event_t *e)
{
    struct str s = str_of(e->data.scalar.value, e->data.scalar.length);

    if (e->data.scalar.anchor || e->data.scalar.tag)
        return refuse(b, e, ERR_INVALID, "anchors and tags are not read here");
    if (is_key(b)) {
        if (memchr(s.data, '\0', s.len))
            return refuse(b, e, ERR_INVALID, "a key with a NUL in it");
        top(b)->key = mem_dup(s.data, s.len);
        return top(b)->key ? 0 : ERR_NOMEM;
    }
    return add_node(b, e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE
                           ? plain_scalar(s)
                           : json_stringn(s.data, s.len));
}

/* Consumes the node. */
static int open_level(struct builder *b, const yaml_event_t *e, json_t *node, bool is_marked)
{
    int r;

    if (is_key(b))
        r = refuse(b, e, ERR_INVALID, "a key that is no text");
    else if (is_marked)
        r = refuse(b, e, ERR_INVALID, "anchors and tags are not read here");
    else if (b->depth == LEVELS_MAX)
        r = refuse(b, e, ERR_LIMIT, "nested too deeply");
    else {
        r = add_node(b, node);
        if (!r)
            b->levels[b->depth++] = (struct level){.node = node};
        return r;
    }
    json_decref(node);
    return r;
}

static int on_event(struct builder *b, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT: return on_scalar(b, e);
    case YAML_ALIAS_EVENT: return refuse(b, e, ERR_INVALID, "aliases are not read here");
    case YAML_SEQUENCE_START_EVENT:
        return open_level(b, e, json_array(),
                          e->data.sequence_start.anchor || e->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return open_level(b, e, json_object(),
                          e->data.mapping_start.anchor || e->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: b->depth--; return 0;
    case YAML_DOCUMENT_START_EVENT:
        return b->root ? refuse(b, e, ERR_INVALID, "a second document") : 0;
    case YAML_DOCUMENT_END_EVENT:
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT: return 0;
    }
    return 0;
}

static int build(struct builder *b)
{
    bool is_done = false;
    int r = 0;

    while (!r && !is_done) {
        yaml_event_t event;

        if (!yaml_parser_parse(&b->parser, &event))
            return ERR_NOMEM; /* it was good a moment ago */
        is_done = event.type == YAML_STREAM_END_EVENT;
        r = on_event(b, &event);
        yaml_event_delete(&event);
    }
    return r || b->root ? r : add_node(b, json_null());
}

int value_parse_yaml(struct str content, struct value **ret_value, struct err *err)
{
    struct builder b = {.text = content, .err = err};
    size_t bom = bom_len(content);
    int r = syntax_check(STR("application/yaml"), content, err);

    if (r)
        return r;
    if (!yaml_parser_initialize(&b.parser))
        return ERR_NOMEM;
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(
        &b.parser, (const unsigned char *)(content.data ? content.data : "") + bom,
        content.len - bom);
    r = build(&b);
    while (b.depth)
        (void)mem_free(b.levels[--b.depth].key);
    yaml_parser_delete(&b.parser);
    if (r)
        json_decref(b.root);
    else
        *ret_value = (struct value *)(void *)b.root;
    return r;
}

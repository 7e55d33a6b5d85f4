/*
 * XML 1.0 with namespaces, well-formed (expat); not validated. A document type may be declared, and its internal entities
 * are expanded up to 1 MiB, or to ten times the text; external ones are never fetched, and a reference to one is refused.
 *
 * What encodings a text may be in is told in codec/encoding.h. expat knows the names of the fourth edition of XML 1.0; a
 * text that it refuses and that is not all ASCII is read once more with other letters, as the fifth edition has them.
 */
#include "codec/dialects.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "codec/encoding.h"
#include "codec/fault.h"
#include "codec/xml_letters.h"

#define XML_DTD /* the library has it; its header shows the limits on expansion only then */
#include <expat.h>

enum {
    ENTITIES_MAX = 1000,
    ATTRIBUTES_MAX = 256,
    EXPANSION_FREE_BYTES = 1 << 20,
    EXPANSION_FACTOR_MAX = 10
};

struct xml {
    XML_Parser parser;
    struct str text;  /* in UTF-8; places are told in it */
    struct str given; /* to expat: the same, or with other letters, character by character */
    size_t open[NESTING_MAX]; /* where the elements begin that are open, in what was given */
    int depth, n_entities, n_attributes; /* of the last two, those declared */
    int result;                          /* a refusal of ours; the story is told */
    struct err *err;
};

static void *alloc_bytes(size_t size)
{
    return mem_alloc(size);
}

static void *realloc_bytes(void *old, size_t size)
{
    return mem_realloc_array(old, 1, size);
}

static void free_bytes(void *p)
{
    (void)mem_free(p);
}

static size_t given_now(const struct xml *x)
{
    XML_Index at = XML_GetCurrentByteIndex(x->parser);

    return at < 0 ? 0 : (size_t)at;
}

/* From a place in what was given to the one in the text. */
static size_t offset_of(const struct xml *x, size_t given)
{
    if (x->given.data == x->text.data)
        return given;
    return offset_of_char(x->text, count_chars(str_part(x->given, 0, given)));
}

static size_t offset_now(const struct xml *x)
{
    return offset_of(x, given_now(x));
}

/* The name that stands in the text there, behind '<' or "</"; empty inside an entity, where none does. */
static struct str name_at(const struct xml *x, size_t offset)
{
    struct str rest = str_from(x->text, offset);
    size_t len = 0;

    if (str_starts(rest, STR("<")))
        rest = str_from(rest, 1);
    else if (!offset || x->text.data[offset - 1] != '/')
        return STR_NULL;
    while (len < rest.len && !strchr(" \t\r\n/>=", rest.data[len]))
        len++;
    return quotable(str_part(rest, 0, len));
}

static void stop(struct xml *x, int code, const char *what)
{
    if (x->result)
        return;
    x->result = fault(x->err, code, x->text, offset_now(x), "%s", what);
    (void)XML_StopParser(x->parser, XML_FALSE);
}

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct xml *x = ctx;

    (void)name;
    (void)attributes;
    if (x->depth == NESTING_MAX)
        stop(x, ERR_LIMIT, "elements are nested too deeply");
    else
        x->open[x->depth++] = given_now(x);
}

static void on_end(void *ctx, const XML_Char *name)
{
    (void)name;
    ((struct xml *)ctx)->depth--;
}

/* Entities that expand to entities cost expat stack. */
/* NOLINTNEXTLINE(readability-function-size): the library gives that many parameters */
static void on_entity(void *ctx, const XML_Char *name, int is_parameter, const XML_Char *value,
                      int value_len, const XML_Char *base, const XML_Char *system_id,
                      const XML_Char *public_id, const XML_Char *notation)
{
    struct xml *x = ctx;

    (void)name, (void)is_parameter, (void)value, (void)value_len, (void)base, (void)system_id;
    (void)public_id, (void)notation;
    if (++x->n_entities > ENTITIES_MAX)
        stop(x, ERR_LIMIT, "too many entities are declared");
}

/* Every element gets the attributes declared for it, and every declaration is compared with those before. */
static void on_attribute(void *ctx, const XML_Char *element, const XML_Char *name,
                         const XML_Char *type, const XML_Char *standard, int is_required)
{
    struct xml *x = ctx;

    (void)element, (void)name, (void)type, (void)standard, (void)is_required;
    if (++x->n_attributes > ATTRIBUTES_MAX)
        stop(x, ERR_LIMIT, "too many attributes are declared");
}

static int on_external(XML_Parser parser, const XML_Char *context, const XML_Char *base,
                       const XML_Char *system_id, const XML_Char *public_id)
{
    (void)parser, (void)context, (void)base, (void)system_id, (void)public_id;
    return XML_STATUS_ERROR;
}

/* ---- refusals ---- */

/* The innermost element that is open was not what was closed, or not closed at all. */
static int refuse_open(const struct xml *x, size_t at, bool is_closed)
{
    size_t begin = offset_of(x, x->open[x->depth - 1]);
    struct str open = name_at(x, begin), close = name_at(x, at);
    uint32_t line = place_of(x->text, begin).line;

    if (!is_closed)
        return fault(x->err, ERR_INVALID, x->text, at,
                     "<%.*s>, which opens in line %u, is not closed", STR_ARG(open), line);
    return fault(x->err, ERR_INVALID, x->text, at,
                 "</%.*s> cannot close <%.*s>, which opens in line %u", STR_ARG(close),
                 STR_ARG(open), line);
}

/* Over name, blanks, '=' and the value in quotes of an attribute; 0 where there is none. */
static size_t attribute_end(struct str text, size_t at)
{
    size_t value = at + str_index(str_from(text, at), '=') + 1;

    while (value < text.len && strchr(" \t\r\n", text.data[value]))
        value++;
    if (value >= text.len || !strchr("\"'", text.data[value]))
        return 0;
    return value + 1 + str_index(str_from(text, value + 1), text.data[value]) + 1;
}

/* expat stands at the second one; the first is in the same tag. */
static int refuse_attribute(const struct xml *x, size_t at)
{
    size_t end = at, tag = at, i;
    struct str key;

    if (x->text.data[at] == '<') /* by what their prefixes mean */
        return fault(x->err, ERR_INVALID, x->text, at, "two attributes of <%.*s> are the same",
                     STR_ARG(name_at(x, at)));
    while (end < x->text.len && !strchr(" \t\r\n=", x->text.data[end]))
        end++;
    key = str_part(x->text, at, end);
    while (tag > 0 && x->text.data[tag] != '<')
        tag--;
    i = tag + 1 + name_at(x, tag).len;
    while (i && i < at) {
        if (strchr(" \t\r\n", x->text.data[i]))
            i++;
        else if (str_starts(str_from(x->text, i), key) && i + key.len < at &&
                 strchr(" \t\r\n=", x->text.data[i + key.len]))
            return fault_twice(x->err, x->text, at, key, i);
        else
            i = attribute_end(x->text, i);
    }
    return fault(x->err, ERR_INVALID, x->text, at, "attribute \"%.*s\" is given twice",
                 STR_ARG(quotable(key)));
}

static int refuse(const struct xml *x)
{
    enum XML_Error code = XML_GetErrorCode(x->parser);
    size_t at = offset_now(x);

    if (x->result)
        return x->result;
    if (code == XML_ERROR_NO_MEMORY)
        return ERR_NOMEM;
    if (code == XML_ERROR_AMPLIFICATION_LIMIT_BREACH)
        return fault(x->err, ERR_LIMIT, x->text, at, "entities expand to too much");
    if (code == XML_ERROR_EXTERNAL_ENTITY_HANDLING)
        return fault(x->err, ERR_INVALID, x->text, at, "external entities are not fetched");
    if (x->depth && (code == XML_ERROR_TAG_MISMATCH || code == XML_ERROR_NO_ELEMENTS))
        return refuse_open(x, at, code == XML_ERROR_TAG_MISMATCH);
    if (code == XML_ERROR_DUPLICATE_ATTRIBUTE)
        return refuse_attribute(x, at);
    if (code == XML_ERROR_UNBOUND_PREFIX)
        return fault(x->err, ERR_INVALID, x->text, at,
                     "<%.*s> has a prefix that no xmlns declares", STR_ARG(name_at(x, at)));
    return fault(x->err, ERR_INVALID, x->text, at, "%s", XML_ErrorString(code));
}

static void set_up(struct xml *x)
{
    XML_SetUserData(x->parser, x);
    XML_SetElementHandler(x->parser, on_start, on_end);
    XML_SetEntityDeclHandler(x->parser, on_entity);
    XML_SetAttlistDeclHandler(x->parser, on_attribute);
    XML_SetExternalEntityRefHandler(x->parser, on_external);
    (void)XML_SetBillionLaughsAttackProtectionActivationThreshold(x->parser,
                                                                  EXPANSION_FREE_BYTES);
    (void)XML_SetBillionLaughsAttackProtectionMaximumAmplification(x->parser,
                                                                   EXPANSION_FACTOR_MAX);
}

/* Outcome of a pass: it may be that only the letters of a name are not known. */
enum { XML_TOKEN = 1 };

/* In a document type, a letter that is not known is no syntax. */
static bool is_about_letters(enum XML_Error code)
{
    return code == XML_ERROR_INVALID_TOKEN || code == XML_ERROR_SYNTAX;
}

static int pass(struct xml *x)
{
    static const XML_Memory_Handling_Suite memory = {alloc_bytes, realloc_bytes, free_bytes};
    int r = 0;

    x->depth = x->n_entities = x->n_attributes = x->result = 0;
    x->parser = XML_ParserCreate_MM("UTF-8", &memory, " ");
    if (!x->parser)
        return ERR_NOMEM;
    set_up(x);
    if (XML_Parse(x->parser, x->given.data, (int)x->given.len, 1) != XML_STATUS_OK) {
        r = refuse(x);
        if (!x->result && is_about_letters(XML_GetErrorCode(x->parser)))
            r = XML_TOKEN;
    }
    XML_ParserFree(x->parser);
    return r;
}

/* Refused as not well-formed: once more with letters that expat knows. */
static int pass_with_letters(struct xml *x)
{
    owned(buf) struct buf letters = BUF_NULL(SIZE_MAX);
    int r = xml_letters(x->text, &letters);

    if (r)
        return r < 0 ? r : ERR_INVALID;
    x->given = buf_str(&letters);
    r = pass(x);
    if (!r && x->err)
        err_clear(x->err); /* of the pass before */
    return r == XML_TOKEN ? ERR_INVALID : r;
}

static int check(struct str content, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(SIZE_MAX);
    struct xml *x;
    int r = xml_decode(content, &text, err);

    if (r)
        return r;
    x = NEW(struct xml);
    if (!x)
        return ERR_NOMEM;
    x->text = x->given = text.data ? buf_str(&text) : content;
    x->err = err;
    r = pass(x);
    if (r == XML_TOKEN)
        r = pass_with_letters(x);
    (void)mem_free(x);
    return r;
}

const struct dialect dialect_xml = {"xml", check, .decodes = true};

/*
 * XML 1.0, well-formed (expat); not validated. A document type may be declared, and its internal entities are
 * expanded up to 1 MiB, or to ten times the text; external ones are never fetched, and a reference to one is
 * refused. The encoding is UTF-8, and a declaration that names another is refused.
 */
#include "codec/dialects.h"

#include "base/alloc.h"
#include "codec/fault.h"

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
    struct str text;
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

static size_t offset_now(const struct xml *x)
{
    XML_Index at = XML_GetCurrentByteIndex(x->parser);

    return at < 0 ? 0 : (size_t)at;
}

static void stop(struct xml *x, int code, const char *what)
{
    if (x->result)
        return;
    x->result = fault(x->err, code, x->text, offset_now(x), "%s", what);
    (void)XML_StopParser(x->parser, XML_FALSE);
}

static void on_declaration(void *ctx, const XML_Char *version, const XML_Char *encoding,
                           int standalone)
{
    struct str name = str_c(encoding);

    (void)version;
    (void)standalone;
    if (encoding && !str_eq_nocase(name, STR("utf-8")) && !str_eq_nocase(name, STR("us-ascii")))
        stop(ctx, ERR_INVALID, "an encoding other than UTF-8 is declared");
}

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct xml *x = ctx;

    (void)name;
    (void)attributes;
    if (++x->depth > NESTING_MAX)
        stop(x, ERR_LIMIT, "elements are nested too deeply");
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
    return fault(x->err, ERR_INVALID, x->text, at, "%s", XML_ErrorString(code));
}

static void set_up(struct xml *x)
{
    XML_SetUserData(x->parser, x);
    XML_SetElementHandler(x->parser, on_start, on_end);
    XML_SetXmlDeclHandler(x->parser, on_declaration);
    XML_SetEntityDeclHandler(x->parser, on_entity);
    XML_SetAttlistDeclHandler(x->parser, on_attribute);
    XML_SetExternalEntityRefHandler(x->parser, on_external);
    (void)XML_SetBillionLaughsAttackProtectionActivationThreshold(x->parser,
                                                                  EXPANSION_FREE_BYTES);
    (void)XML_SetBillionLaughsAttackProtectionMaximumAmplification(x->parser,
                                                                   EXPANSION_FACTOR_MAX);
}

static int check(struct str content, struct err *err)
{
    static const XML_Memory_Handling_Suite memory = {alloc_bytes, realloc_bytes, free_bytes};
    struct xml x = {.text = content, .err = err};
    int r = 0;

    x.parser = XML_ParserCreate_MM("UTF-8", &memory, NULL);
    if (!x.parser)
        return ERR_NOMEM;
    set_up(&x);
    if (XML_Parse(x.parser, content.data, (int)content.len, 1) != XML_STATUS_OK)
        r = refuse(&x);
    XML_ParserFree(x.parser);
    return r;
}

const struct dialect dialect_xml = {"xml", check};

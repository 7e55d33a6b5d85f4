/*
 * Templates: a file made of text and of values, in Mustache (the required modules of its specification).
 *
 *      max_connections = {{pool.max}}            a value; a key that is not there is an error
 *      log_level = {{log.level | info}}          or this text, if it is not there; | "" for nothing
 *      {{#upstreams}}server {{host}}:{{port}};   once for each element, or if it is true
 *      {{/upstreams}}
 *      {{^upstreams}}return 503;{{/upstreams}}   if it is not there, false, null or an empty array
 *      {{{raw}}} {{&raw}}                        never escaped
 *      {{>head}} {{! comment }} {{=<% %>=}}      another template, nothing, other delimiters
 *
 * A section over a key that is not there is an error too, unless the template has an inverted section of that key, which
 * says what is to be then, or the tag has a bar ({{#debug |}}). Objects and arrays are no text. Lambdas, inheritance and dynamic
 * names are refused: a tag for them is an error instead of text.
 *
 * Pure, and bounded whatever the template and the values are: output by the buffer's ceiling, nesting, and work.
 */
#ifndef TRIMTAB_TEMPLATE_TEMPLATE_H
#define TRIMTAB_TEMPLATE_TEMPLATE_H

#include "base/buf.h"
#include "base/err.h"
#include "codec/value.h"

enum {
    TEMPLATE_NESTING_MAX = 64, /* sections and templates within each other */
    TEMPLATE_STEPS_MAX =
        4000000, /* pieces written, and bytes of templates read anew for each {{>name}} */
    TEMPLATE_KEY_MAX = 1024
};

/* How {{value}} is written. */
enum template_escape {
    TEMPLATE_AS_IS,
    TEMPLATE_MARKUP, /* HTML and XML: & < > " ' */
    TEMPLATE_JSON    /* within a string of JSON */
};

/* What a file of this media type needs: as it is, but for markup and JSON. */
enum template_escape template_escape_for(struct str media_type);

/* The text of another template, valid until the rendering is done. False: there is none of this name. */
typedef bool template_partial_fn(void *ctx, struct str name, struct str *ret_text);

struct template
{
    const char *name; /* for the stories of failures */
    struct str text;
    const struct value *values;
    enum template_escape escape;
    template_partial_fn *partial; /* NULL: there are none */
    void *ctx;
    bool is_lenient; /* what is not there is empty, as the specification has it */
};

/*
 * Appends the file to out. ERR_INVALID names template, line, column and key; ERR_LIMIT; ERR_NOMEM. What out has after a failure is
 * not to be used.
 */
must_use int template_render(const struct template *t, struct buf *out, struct err *err);

#endif

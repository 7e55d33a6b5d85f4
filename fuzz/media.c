/*
 * Media types of any bytes, up to the first line feed, on a content of any bytes behind it: what is a type is one also with
 * another parameter, and what one is not known to be checked by, is not looked into.
 */
#include "syntax.h"

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct str text = str_of(data, size), type = str_part(text, 0, str_index(text, '\n'));
    owned(buf) struct buf more = BUF_NULL(size + 16);
    struct err err = ERR_NULL;
    int r = media_type_check(type, &err);

    ASSERT(err.code == r && (r == 0 || r == ERR_INVALID));
    ASSERT(str_is_utf8(str_c(err.text)) || !str_is_utf8(type));
    buf_put_str(&more, type);
    buf_put_c(&more, "; a=\"b\"");
    ASSERT(r || media_type_check(buf_str(&more), NULL) == 0);
    ASSERT(r || syntax_name(type) == syntax_name(buf_str(&more)));
    text = str_from(text, type.len + 1);
    return syntax_name(type) ? fuzz_syntax(type, text) : syntax_check(type, text, NULL);
}

/*
 * What holds for every syntax check on any bytes: it answers with a result that its header lists, a refusal has a
 * story of one line and a place inside the text, and asked again without a story it answers the same. Evidence against the
 * type is only found of what is refused, and what it is evidence for, the text is.
 */
#ifndef TRIMTAB_FUZZ_SYNTAX_H
#define TRIMTAB_FUZZ_SYNTAX_H

#include "codec/evidence.h"
#include "codec/syntax.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check_place(struct str text, const struct err *err)
{
    uint32_t lines = 1;

    for (size_t i = 0; i < text.len; i++)
        lines += text.data[i] == '\n' || text.data[i] == '\r';
    ASSERT(err->line >= 1 && err->line <= lines);
    ASSERT(err->column >= 1 && err->column <= text.len + 1);
    ASSERT(err->text[0] && str_is_utf8(str_c(err->text)) && !strchr(err->text, '\n'));
}

static void check_evidence(struct str type, struct str text, const struct err *err)
{
    struct evidence e;

    ASSERT(evidence_of(type, text, err, &e) == 0);
    ASSERT(!e.type.len || (e.said[0] && str_is_utf8(str_c(e.said)) && !strchr(e.said, '\n')));
    ASSERT(!e.type.len || syntax_check(e.type, text, NULL) == 0);
}

static int fuzz_syntax(struct str type, struct str text)
{
    struct err err = ERR_NULL;
    int r = syntax_check(type, text, &err);

    ASSERT(r == 0 || r == ERR_INVALID || r == ERR_LIMIT);
    ASSERT(err.code == r);
    if (r) {
        check_place(text, &err);
        check_evidence(type, text, &err);
    }
    ASSERT(syntax_check(type, text, NULL) == r);
    return 0;
}

#define FUZZ_SYNTAX(type)                                                                      \
    int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)                         \
    {                                                                                          \
        return fuzz_syntax(STR(type), str_of(data, size));                                     \
    }

#endif

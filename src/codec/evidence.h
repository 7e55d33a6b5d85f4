/*
 * Evidence against a content type that was only guessed: what the text shows where it was refused.
 */
#ifndef TRIMTAB_CODEC_EVIDENCE_H
#define TRIMTAB_CODEC_EVIDENCE_H

#include "base/err.h"
#include "base/str.h"

enum { EVIDENCE_SAID_MAX = 120 };

struct evidence {
    struct str type;              /* what it is then; empty: there is no evidence */
    char said[EVIDENCE_SAID_MAX]; /* what was seen, and where */
};

/*
 * Looks at a content that was refused as media_type, with the story of that. Comments make JSON application/jsonc, when that
 * is what it is; markers of a template ({{ }}, {% %} and ${ }) make any text text/x-template, when the fault is in one of
 * them: where the format allows them, they are no evidence. Pure. ERR_NOMEM: nobody knows.
 */
must_use int evidence_of(struct str media_type, struct str content, const struct err *refusal,
                         struct evidence *ret);

#endif

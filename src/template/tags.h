/*
 * A template cut into pieces: text and tags, with what each line loses to tags that stand alone.
 */
#ifndef TRIMTAB_TEMPLATE_TAGS_H
#define TRIMTAB_TEMPLATE_TAGS_H

#include "base/vec.h"
#include "template/template.h"

enum piece_kind {
    PIECE_TEXT,
    PIECE_VALUE,
    PIECE_RAW,
    PIECE_SECTION,
    PIECE_INVERTED,
    PIECE_END,
    PIECE_PARTIAL
};

struct piece {
    enum piece_kind kind;
    bool has_fallback;
    struct str text;     /* of a text; else the key or name */
    struct str fallback; /* of a value, behind the bar */
    struct str indent;   /* of a partial that stands alone: before each of its lines */
    size_t at;           /* of the tag in the template */
    size_t end;          /* of a section: the number of its PIECE_END */
};

struct pieces {
    VEC(struct piece) list;
};

/* Slices are of text. ERR_INVALID with the story but for the place; ERR_LIMIT; ERR_NOMEM. */
must_use int template_cut(struct str text, struct pieces *ret, struct err *err);

#endif

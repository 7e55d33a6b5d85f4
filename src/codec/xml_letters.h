/*
 * Names of XML: expat knows those of the fourth edition of XML 1.0, the fifth allows more.
 */
#ifndef TRIMTAB_CODEC_XML_LETTERS_H
#define TRIMTAB_CODEC_XML_LETTERS_H

#include "base/buf.h"
#include "base/err.h"

/*
 * The same text, character by character, but for letters that names may have since the fifth edition: each of them is
 * replaced, everywhere, by another one that the fourth has, and that stands for no other. 0; XML_NO_LETTERS where the text is
 * ASCII, or has too many of them; ERR_NOMEM.
 */
enum { XML_NO_LETTERS = 1 };
must_use int xml_letters(struct str text, struct buf *out);

#endif

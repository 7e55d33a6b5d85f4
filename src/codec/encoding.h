/*
 * From the encoding of a content to UTF-8, which all dialects read.
 */
#ifndef TRIMTAB_CODEC_ENCODING_H
#define TRIMTAB_CODEC_ENCODING_H

#include "base/buf.h"
#include "base/err.h"

/*
 * Takes content for what is declared: UTF-8 (also where the name is empty), US-ASCII, or one of the encodings of eight bits
 * (ISO-8859-n, windows-125n, KOI8, those of IBM and Macintosh), each byte of which is a character, whichever. The bytes must be what is declared: UTF-8
 * under the name of another encoding is refused. out stays empty where content is UTF-8 as it is, else the text is put into
 * it. ERR_INVALID with the place in content, ERR_NOMEM.
 */
must_use int text_decode(struct str content, struct str name, struct buf *out, struct err *err);

/* The same of XML, which tells its encoding itself: in its declaration, or by the byte order mark of UTF-16. */
must_use int xml_decode(struct str content, struct buf *out, struct err *err);

#endif

/*
 * Texts from outside, made fit for people to read: a terminal takes no command from them, and no reader is misled about
 * where a line ends or in which order its characters stand.
 *
 *   bytes that are no UTF-8               one U+FFFD (replacement character) for each byte
 *   C0 controls and DEL                   their picture: U+2400 and on for 00 to 1f, U+2421 for DEL
 *   C1 controls (U+0080 to U+009F)        U+FFFD
 *   bidirectional controls                U+FFFD: U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069
 *   line and paragraph separators         U+FFFD: U+2028, U+2029
 *
 * All else stays. A text that was made plain is plain.
 */
#ifndef TRIMTAB_BASE_TEXT_H
#define TRIMTAB_BASE_TEXT_H

#include "base/buf.h"

/* Whether newlines and tabs may stay. */
enum text_shape { TEXT_LINE, TEXT_LINES };

/* How many bytes at its beginning text_put_plain would leave as they are; s.len when all. */
size_t text_plain_prefix(struct str s, enum text_shape shape);
static inline bool text_is_plain(struct str s, enum text_shape shape)
{
    return text_plain_prefix(s, shape) == s.len;
}

/* Appends s made plain, up to max bytes of it, cut between characters. Failure is remembered by the buffer. */
void text_put_plain(struct buf *out, struct str s, enum text_shape shape, size_t max);

#endif

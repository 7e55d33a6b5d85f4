/*
 * Syntax checks by content type: is this text what it says it is, and if not, where does it go wrong.
 *
 * Contents are stored and delivered as bytes; nothing here changes them. What each dialect allows is told at
 * the head of its file and in docs/content-types.md.
 */
#ifndef TRIMTAB_CODEC_SYNTAX_H
#define TRIMTAB_CODEC_SYNTAX_H

#include "base/err.h"
#include "base/str.h"

enum { SYNTAX_BYTES_MAX = 8 << 20 };

/*
 * 0 when content is well-formed for the media type (of its parameters only the charset counts; types that we do not
 * know are not looked into), else ERR_INVALID with line and column (both from 1, columns count characters) of
 * the fault, ERR_LIMIT for nesting, for alias and entity bombs (with the place) and for content over
 * SYNTAX_BYTES_MAX, ERR_NOMEM. Pure; any thread; time and memory in proportion to the content.
 */
must_use int syntax_check(struct str media_type, struct str content, struct err *err);

/*
 * Whether this is a media type, with parameters or without (RFC 9110, 8.3.1), and not one that only looks like that of a
 * dialect, and so would go unchecked: application/vnd.x.yaml. ERR_INVALID.
 */
must_use int media_type_check(struct str media_type, struct err *err);

/* The name of the dialect that checks this media type ("json", "jsonc", "yaml", ...), or NULL when none does. */
const char *syntax_name(struct str media_type);

#endif

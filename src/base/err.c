/*
 * Failures: the table of codes and the filling of stories. See err.h.
 */
#include "base/err.h"

#include "base/str.h"

#undef err_set /* what an analyzer sees elsewhere */
#undef err_set_errno

#include <errno.h>
#include <stdarg.h>

/* Exit codes: 3 not found, 4 not allowed, 5 conflict, 6 invalid, 7 refused, 8 timeout, 9 not reachable. */
static const struct err_info table[] = {
    [-ERR_OK] = {"OK", 200, 0, 0},
    [-ERR_NOMEM] = {"OUT_OF_MEMORY", 503, 8, 1},
    [-ERR_IO] = {"IO", 500, 13, 1},
    [-ERR_CORRUPT] = {"CORRUPT", 500, 15, 1},
    [-ERR_LIMIT] = {"LIMIT", 413, 8, 6},
    [-ERR_CANCELLED] = {"CANCELLED", 499, 1, 9},
    [-ERR_TIMEOUT] = {"TIMEOUT", 504, 4, 8},
    [-ERR_INVALID] = {"INVALID", 400, 3, 6},
    [-ERR_NOT_FOUND] = {"NOT_FOUND", 404, 5, 3},
    [-ERR_CONFLICT] = {"CONFLICT", 409, 10, 5},
    [-ERR_EXISTS] = {"EXISTS", 409, 6, 5},
    [-ERR_DENIED] = {"DENIED", 403, 7, 4},
    [-ERR_UNAUTHENTICATED] = {"UNAUTHENTICATED", 401, 16, 4},
    [-ERR_UNAVAILABLE] = {"UNAVAILABLE", 503, 14, 9},
    [-ERR_UNSUPPORTED] = {"UNSUPPORTED", 501, 12, 1},
    [-ERR_COMPACTED] = {"COMPACTED", 410, 11, 3},
    [-ERR_LOCKED] = {"LOCKED", 423, 9, 5},
    [-ERR_REFUSED] = {"REFUSED", 422, 9, 7},
    [-ERR_BUG] = {"INTERNAL", 500, 13, 1},
};

const struct err_info *err_info(int code)
{
    if (code > 0 || code < ERR_CODE_LAST)
        code = ERR_BUG;
    return &table[-code];
}

int err_code_from_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(table[i].name, name) == 0)
            return -(int)i;
    return ERR_BUG;
}

int err_code_from_grpc(int status)
{
    switch (status) {
    case 0: return 0;
    case 1: return ERR_CANCELLED;
    case 3: return ERR_INVALID;
    case 4: return ERR_TIMEOUT;
    case 5: return ERR_NOT_FOUND;
    case 6: return ERR_EXISTS;
    case 7: return ERR_DENIED;
    case 8: return ERR_LIMIT;
    case 9: return ERR_REFUSED;
    case 10: return ERR_CONFLICT;
    case 11: return ERR_COMPACTED;
    case 12: return ERR_UNSUPPORTED;
    case 14: return ERR_UNAVAILABLE;
    case 15: return ERR_CORRUPT;
    case 16: return ERR_UNAUTHENTICATED;
    default: return ERR_BUG;
    }
}

/* Formats into a fixed field; what does not fit is cut with a visible "...". */
__attribute__((format(printf, 3, 0))) static void fill(char *field, size_t size,
                                                       const char *fmt, va_list ap)
{
    int n = vsnprintf(field, size, fmt, ap);

    if (n >= 0 && (size_t)n >= size)
        memcpy(field + str_utf8_whole(str_of(field, size - 4)).len, "...", 4);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return code;
    *err = (struct err){.code = code};
    va_start(ap, fmt);
    fill(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return code;
}

int err_set_errno(struct err *err, const char *fmt, ...)
{
    int saved = errno;
    size_t len;
    va_list ap;

    if (!err)
        return ERR_IO;
    *err = (struct err){.code = ERR_IO};
    va_start(ap, fmt);
    fill(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    len = strlen(err->text);
    (void)snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror(saved));
    return ERR_IO;
}

void err_place(struct err *err, const char *fmt, ...)
{
    va_list ap;

    if (!err || err->place[0])
        return;
    va_start(ap, fmt);
    fill(err->place, sizeof(err->place), fmt, ap);
    va_end(ap);
}

void err_hint(struct err *err, const char *fmt, ...)
{
    va_list ap;

    if (!err || err->hint[0])
        return;
    va_start(ap, fmt);
    fill(err->hint, sizeof(err->hint), fmt, ap);
    va_end(ap);
}

void err_at(struct err *err, uint32_t line, uint32_t column)
{
    if (!err)
        return;
    err->line = line;
    err->column = column;
}

const char *err_describe(const struct err *err, char *line, size_t size)
{
    char at[32] = "";

    if (err->line)
        (void)snprintf(at, sizeof(at), "%s%u:%u", err->place[0] ? ":" : "", err->line,
                       err->column);
    (void)snprintf(line, size, "%s%s%s%s%s%s", err->place, at,
                   err->place[0] || at[0] ? ": " : "",
                   err->text[0] ? err->text : err_info(err->code)->name,
                   err->hint[0] ? "; " : "", err->hint);
    return line;
}

void bug(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, what);
    abort();
}

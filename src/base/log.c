/*
 * Structured log lines, each written by one write(2) so that threads never interleave. See log.h.
 */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <inttypes.h>
#include <unistd.h>

static struct {
    int fd;
    enum log_level level;
    enum log_format format;
} log_to = {STDERR_FILENO, LOG_INFO, LOG_TEXT};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

enum { LINE_MAX_BYTES = 8192, FIELD_SHOWN_MAX = 1024 };

void log_setup(int fd, enum log_level level, enum log_format format)
{
    log_to.fd = fd;
    log_to.level = level;
    log_to.format = format;
}

bool log_level_from(struct str name, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (str_eq(name, str_c(level_names[i]))) {
            *ret_level = (enum log_level)i;
            return true;
        }
    return false;
}

/* JSON string escapes, which are unambiguous in the text form too. Bytes that are not UTF-8 become \ufffd. */
static void put_quoted(struct buf *b, struct str s)
{
    buf_put_byte(b, '"');
    s = str_part(s, 0, FIELD_SHOWN_MAX);
    while (s.len > 0) {
        size_t good = str_utf8_prefix(s);

        for (size_t i = 0; i < good; i++) {
            unsigned char c = (unsigned char)s.data[i];

            if (c == '"' || c == '\\')
                buf_printf(b, "\\%c", c);
            else if (c < 0x20 || c == 0x7f)
                buf_printf(b, "\\u%04x", c);
            else
                buf_put_byte(b, c);
        }
        if (good < s.len)
            buf_put_c(b, "\\ufffd");
        s = str_from(s, good + 1);
    }
    buf_put_byte(b, '"');
}

static bool is_plain(struct str s)
{
    if (s.len == 0 || s.len > FIELD_SHOWN_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] <= ' ' || s.data[i] > '~' || s.data[i] == '"' || s.data[i] == '=' ||
            s.data[i] == '\\')
            return false;
    return true;
}

static void put_field(struct buf *b, const struct log_field *f)
{
    bool json = log_to.format == LOG_JSON;

    buf_printf(b, json ? ",\"%s\":" : " %s=", f->key);
    switch (f->type) {
    case LOG_FIELD_STR:
        if (!json && is_plain(f->text))
            buf_put_str(b, f->text);
        else
            put_quoted(b, f->text);
        break;
    case LOG_FIELD_U64: buf_printf(b, "%" PRIu64, f->u64); break;
    case LOG_FIELD_I64: buf_printf(b, "%" PRId64, f->i64); break;
    }
}

void log_event(enum log_level level, const char *event, const struct log_field *fields,
               size_t n)
{
    owned(buf) struct buf line = BUF_NULL(LINE_MAX_BYTES);
    char now[WALL_TEXT_MAX];
    ssize_t written;

    if (level < log_to.level)
        return;
    wall_format(clock_wall_ms(), now);
    buf_printf(&line,
               log_to.format == LOG_JSON ? "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\""
                                         : "%s %s %s",
               now, level_names[level], event);
    for (size_t i = 0; i < n; i++)
        put_field(&line, &fields[i]);
    buf_put_c(&line, log_to.format == LOG_JSON ? "}\n" : "\n");
    written = write(log_to.fd, line.data, line.len);
    (void)written; /* there is nowhere to report that a log line was lost */
}

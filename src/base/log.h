/*
 * Log lines for programs (libraries never log): one line per event, "time level event key=value ...", strings
 * from outside quoted and escaped so that a line is always one line. Any thread; lines never interleave.
 *
 *   LOG(INFO, "commit", LOG_U64("revision", r), LOG_STR("author", author));
 */
#ifndef TRIMTAB_BASE_LOG_H
#define TRIMTAB_BASE_LOG_H

#include "base/attr.h"
#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_U64, LOG_FIELD_I64 } type;
    struct str text;
    uint64_t u64;
    int64_t i64;
};

#define LOG_STR(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .text = (v)})
#define LOG_C(k, v)   LOG_STR(k, str_c(v))
#define LOG_U64(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_U64, .u64 = (v)})
#define LOG_I64(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_I64, .i64 = (v)})

/* Lines below level are not written. fd stays the caller's; standard error until this is called. */
void log_setup(int fd, enum log_level level, enum log_format format);
bool log_level_from(struct str name, enum log_level *ret_level); /* debug, info, warn, error */

void log_event(enum log_level level, const char *event, const struct log_field *fields,
               size_t n);

#define LOG(level, event, ...)                                                                 \
    log_event(LOG_##level, event, (const struct log_field[]){__VA_ARGS__},                     \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))

#endif

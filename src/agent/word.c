/*
 * The word of a caller in a file. See word.h.
 */
#include "agent/word.h"

#include "base/file.h"

#include <inttypes.h>

enum { WORD_BYTES_MAX = SYNC_REASON_MAX + 64 };

static const char failing[] = "failing ", well[] = "ok ";

static int parse(struct str text, struct verdict *ret, struct err *err)
{
    size_t end = str_index(text, '\n');
    struct str line = str_part(text, 0, end), number;
    bool is_failing = str_starts(line, STR("failing "));
    uint64_t revision;

    number = str_from(line, strlen(is_failing ? failing : well));
    if ((!is_failing && !str_starts(line, STR("ok "))) || !str_u64(number, &revision))
        return err_set(err, ERR_INVALID, "it says neither ok nor failing");
    verdict_set(ret, is_failing, revision, str_from(text, end + 1));
    return 0;
}

int word_read(const char *path, struct verdict *ret_verdict, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(WORD_BYTES_MAX);
    struct err why = ERR_NULL; /* that there is no file is no failure */
    int r = file_read(path, &text, &why);

    *ret_verdict = (struct verdict){VERDICT_NONE};
    if (r == ERR_NOT_FOUND)
        return 0;
    if (r && err)
        *err = why;
    return r ? r : parse(buf_str(&text), ret_verdict, err);
}

int word_write(const char *path, const struct verdict *verdict, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(WORD_BYTES_MAX);

    buf_printf(&text, "%s%" PRIu64 "\n%s\n", verdict->state == VERDICT_FAILING ? failing : well,
               verdict->revision, verdict->reason);
    if (buf_status(&text))
        return err_set(err, ERR_NOMEM, "out of memory");
    return file_replace(path, buf_str(&text), 0600, err);
}

/*
 * Output: tables for people, documents for programs. See cmd.h.
 */
#include "cli/cmd.h"
#include "base/text.h"
#include "proto/json.h"

#include <stdarg.h>

int print_json(const ProtobufCMessage *m, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(512 * MIB);
    int r = proto_to_json_text(m, PROTO_JSON_FULL, &text);

    if (r)
        return err_set(err, r, "the result is too large to print");
    (void)printf("%.*s\n", (int)text.len, text.data);
    return 0;
}

void say(const struct cli *cli, const char *fmt, ...)
{
    va_list ap;

    if (cli->is_quiet)
        return;
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
}

size_t text_width(struct str s)
{
    size_t width = 0;

    while (s.len) {
        uint32_t p = str_take_point(&s);
        bool wide = (p >= 0x1100 && p <= 0x115f) || (p >= 0x2e80 && p <= 0xa4cf) ||
                    (p >= 0xac00 && p <= 0xd7a3) || (p >= 0xf900 && p <= 0xfaff) ||
                    (p >= 0xfe30 && p <= 0xfe6f) || (p >= 0xff00 && p <= 0xff60) ||
                    (p >= 0x1f300 && p <= 0x1faff) || (p >= 0x20000 && p <= 0x3fffd);

        width += wide ? 2 : 1;
    }
    return width;
}

char *one_line(struct arena *a, const char *text)
{
    owned(buf) struct buf plain = BUF_NULL(SIZE_MAX - 1);
    char *line = arena_c(a, str_c(text));

    for (char *c = line; *c; c++) /* lines that follow each other, not pictures of their ends */
        if (*c == '\n' || *c == '\r' || *c == '\t')
            *c = ' ';
    if (text_is_plain(str_c(line), TEXT_LINE))
        return line;
    text_put_plain(&plain, str_c(line), TEXT_LINE, SIZE_MAX);
    if (buf_status(&plain))
        a->failed = true;
    return arena_c(a, buf_str(&plain));
}

void table_row(struct table *t, ...)
{
    va_list ap;

    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        char *(*rows)[TABLE_COLUMNS_MAX] = arena_array(t->arena, cap, sizeof(*rows));

        if (!rows)
            return;
        if (t->n)
            memcpy(rows, t->rows, t->n * sizeof(*rows));
        t->rows = rows;
        t->cap = cap;
    }
    va_start(ap, t);
    for (size_t i = 0; i < t->n_columns; i++)
        t->rows[t->n][i] = one_line(t->arena, va_arg(ap, const char *));
    va_end(ap);
    t->n++;
}

static void print_cells(const struct table *t, const char *const *cells, const size_t *widths)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        size_t pad = widths[i] - text_width(str_c(cells[i]));

        (void)printf("%s%*s", cells[i], i + 1 < t->n_columns ? (int)pad + 2 : 0, "");
    }
    (void)printf("\n");
}

void table_print(struct table *t)
{
    size_t widths[TABLE_COLUMNS_MAX];

    for (size_t i = 0; i < t->n_columns; i++) {
        widths[i] = text_width(str_c(t->heads[i]));
        for (size_t r = 0; r < t->n; r++)
            widths[i] = MAX(widths[i], text_width(str_c(t->rows[r][i])));
    }
    print_cells(t, t->heads, widths);
    for (size_t r = 0; r < t->n; r++)
        print_cells(t, (const char *const *)t->rows[r], widths);
}

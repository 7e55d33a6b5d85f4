/*
 * What the syntax checks say of files, for judges that have suites of texts: reads lines "TYPE PATH", and answers each with
 * "good", or with the line, the column and the text of the refusal.
 */
#include "base/file.h"
#include "codec/syntax.h"

#include <stdio.h>

static int judge(char *line)
{
    owned(buf) struct buf content = BUF_NULL(SYNTAX_BYTES_MAX + 1);
    char *path = strchr(line, ' ');
    struct err err = ERR_NULL;

    line[strcspn(line, "\n")] = '\0';
    if (!path)
        return 1;
    *path++ = '\0';
    if (file_read(path, &content, &err)) {
        (void)fprintf(stderr, "%s: %s\n", path, err.text);
        return 1;
    }
    if (syntax_check(str_c(line), buf_str(&content), &err))
        (void)printf("%u:%u %s\n", err.line, err.column, err.text);
    else
        (void)printf("good\n");
    return 0;
}

int main(void)
{
    char line[4096];

    while (fgets(line, sizeof(line), stdin))
        if (judge(line))
            return 1;
    return 0;
}

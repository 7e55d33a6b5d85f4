/*
 * Flags of commands. See cmd.h.
 */
#include "cli/cmd.h"

#include <stdarg.h>

int usage(const struct command *c, struct err *err, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    (void)err_set(err, ERR_INVALID, "%s", text);
    err_hint(err, "usage: trimtab %s", c->usage);
    return ERR_INVALID;
}

static void print_usage(const struct command *c, const struct flag *flags, size_t n)
{
    printf("usage: trimtab %s\n\n%s\n", c->usage, c->help ? c->help : "");
    if (n)
        printf("\n");
    for (size_t i = 0; i < n; i++) {
        char head[64], letter[8] = "    ";

        if (flags[i].letter)
            (void)snprintf(letter, sizeof(letter), "-%c, ", flags[i].letter);
        (void)snprintf(head, sizeof(head), "%s%s%s", letter, flags[i].name,
                       flags[i].is_set   ? ""
                       : flags[i].number ? " N"
                                         : " TEXT");
        printf("  %-26s %s\n", head, flags[i].help);
    }
}

static int set_flag(const struct command *c, const struct flag *f, const char *value,
                    struct err *err)
{
    if (f->text) {
        *f->text = value;
        return 0;
    }
    if (f->list) {
        if (f->list->n == ARRAY_LEN(f->list->at))
            return usage(c, err, "%s is given too often", f->name);
        f->list->at[f->list->n++] = value;
        return 0;
    }
    if (!str_u64(str_c(value), f->number))
        return usage(c, err, "%s takes a number, not \"%s\"", f->name, value);
    return 0;
}

static const struct flag *find_flag(const struct flag *flags, size_t n, const char *word,
                                    size_t len)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(flags[i].name) == len && strncmp(flags[i].name, word, len) == 0)
            return &flags[i];
        if (flags[i].letter && len == 2 && word[0] == '-' && word[1] == flags[i].letter)
            return &flags[i];
    }
    return NULL;
}

int take_flags(const struct command *c, const struct flag *flags, size_t n_flags, int argc,
               char **argv, struct words *words, struct err *err)
{
    bool only_words = false;

    words->n = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        size_t len = strcspn(word, "=");
        const struct flag *f;
        int r;

        if (only_words || word[0] != '-' || !word[1]) {
            if (words->n == WORDS_MAX)
                return usage(c, err, "too many words");
            words->at[words->n++] = argv[i];
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_words = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_usage(c, flags, n_flags);
            return COMMAND_HELPED;
        }
        f = find_flag(flags, n_flags, word, len);
        if (!f)
            return usage(c, err, "there is no flag %.*s here", (int)len, word);
        if (f->is_set) {
            *f->is_set = true;
            continue;
        }
        if (!word[len] && i + 1 == argc)
            return usage(c, err, "%s needs a value", f->name);
        r = set_flag(c, f, word[len] ? word + len + 1 : argv[++i], err);
        if (r)
            return r;
    }
    return 0;
}

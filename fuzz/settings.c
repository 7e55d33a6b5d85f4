/*
 * Settings files, values and patterns on any bytes. Beside not failing: a refusal has a place inside the text, what is
 * taken is in the range of its type, and asked again the answer is the same.
 */
#include "base/settings.h"

struct object {
    const char *text;
    bool yes;
    uint32_t number;
    uint64_t duration, bytes;
};

static const struct setting table[] = {
    {"text", SETTING_TEXT, offsetof(struct object, text), "t", "a text"},
    {"yes", SETTING_BOOL, offsetof(struct object, yes), "true", "a choice"},
    {"number", SETTING_U32, offsetof(struct object, number), "7", "a number"},
    {"a_duration", SETTING_DURATION, offsetof(struct object, duration), "10s", "a duration"},
    {"bytes", SETTING_BYTES, offsetof(struct object, bytes), "8MiB", "a size"},
};

struct seen {
    const struct settings *settings;
    struct str text;
    size_t lines;
};

static bool is_inside(struct str whole, struct str part)
{
    return !part.len || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static int on_line(void *ctx, struct str section, struct str label, struct str key, struct str value,
                   struct err *err)
{
    struct seen *seen = ctx;

    seen->lines++;
    ASSERT(is_inside(seen->text, section) && is_inside(seen->text, label));
    ASSERT(is_inside(seen->text, key) && is_inside(seen->text, value));
    return section.len || !key.len ? 0 : settings_set(seen->settings, key, value, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    owned(arena) struct arena arena = ARENA_NULL;
    struct object object = {0};
    struct settings s = {table, ARRAY_LEN(table), &object, &arena, "FUZZ"};
    struct err err = ERR_NULL;
    struct seen seen = {&s, str_of(data, size), 0}, again = seen;
    uint32_t lines = 1;
    size_t half;
    int r = settings_standard(&s, &err);

    ASSERT(r == 0 && object.number == 7 && object.yes && object.bytes == 8u << 20);
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    r = settings_parse(seen.text, "fuzz.conf", on_line, &seen, &err);
    ASSERT(r == 0 || r == ERR_INVALID || r == ERR_NOT_FOUND);
    if (r)
        ASSERT(err.code == r && err.line >= 1 && err.line <= lines && err.text[0]);
    ASSERT(settings_parse(again.text, "fuzz.conf", on_line, &again, NULL) == r && again.lines == seen.lines);
    half = str_index(seen.text, '\n');
    if (str_glob(str_part(seen.text, 0, half), str_from(seen.text, half + 1)))
        ASSERT(half > 0 || size <= 1);
    return 0;
}

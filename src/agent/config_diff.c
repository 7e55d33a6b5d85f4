/*
 * Two texts of settings, compared by their names. See config_diff.h.
 */
#include "agent/config_diff.h"

#include "agent/config.h"
#include "base/file.h"
#include "base/map.h"

enum { NAME_MAX_BYTES = 1024 };

/* One text: the name of each setting -> what it is, as struct str on the arena. */
struct text {
    struct arena arena;
    struct map settings;
};

static int take_line(void *ctx, struct str section, struct str label, struct str key,
                     struct str value, struct err *err)
{
    struct text *t = ctx;
    owned(buf) struct buf name = BUF_NULL(NAME_MAX_BYTES);
    struct str *kept = ARENA_NEW(&t->arena, struct str);

    if (section.len)
        buf_printf(&name, "[%.*s \"%.*s\"]%s", STR_ARG(section), STR_ARG(label),
                   key.len ? " " : "");
    buf_put_str(&name, key);
    if (!kept || buf_status(&name))
        return err_set(err, ERR_NOMEM, "out of memory");
    *kept = arena_str(&t->arena, value);
    return map_put(&t->settings, arena_str(&t->arena, buf_str(&name)), kept, NULL)
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory");
}

static void add_name(struct buf *names, struct str name)
{
    if (names->len)
        buf_put_c(names, ", ");
    buf_put_str(names, name);
}

/* Those of a that b has not, or, when they may differ, has otherwise. */
static void compare(const struct text *a, const struct text *b, bool may_differ,
                    struct buf *names)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&a->settings, &at))) {
        const struct str *mine = slot->value, *other = map_get(&b->settings, slot->key);

        if (!other || (may_differ && !str_eq(*mine, *other)))
            add_name(names, slot->key);
    }
}

static void text_deinit(struct text *t)
{
    map_deinit(&t->settings);
    arena_deinit(&t->arena);
}

int config_diff(const char *path, struct str before, struct buf *names, struct err *err)
{
    owned(buf) struct buf now = BUF_NULL(CONFIG_FILE_MAX);
    struct text old = {.arena = ARENA_NULL}, new = {.arena = ARENA_NULL};
    int r = file_read(path, &now, err);

    if (!r && !str_eq(buf_str(&now), before)) {
        r = settings_parse(before, path, take_line, &old, err);
        if (!r)
            r = settings_parse(buf_str(&now), path, take_line, &new, err);
        if (!r)
            compare(&old, &new, true, names);
        if (!r)
            compare(&new, &old, false, names);
    }
    text_deinit(&old);
    text_deinit(&new);
    return r ? r : buf_status(names);
}

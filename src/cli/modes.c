/*
 * Modes of published files: a script stays executable and a key stays private. What a file has besides 0644 goes along as
 * the annotation trimtab/mode; other metadata of the resource stays as it is.
 */
#include "cli/cmd.h"
#include "cli/modes.h"

#include "base/map.h"

enum { MODE_PLAIN = 0644, MODE_TAKEN = 0755, LIST_WITHIN_MS = 60000 };
#define MODE_ANNOTATION "trimtab/mode"

static bool is_plain(unsigned mode)
{
    return (mode & MODE_TAKEN) == MODE_PLAIN;
}

/* The metadata that each resource of the namespace has now, by id. */
static int list_metadata(struct cli *cli, const char *space, struct map *ret, struct err *err)
{
    Trimtab__V1__ListRequest q = TRIMTAB__V1__LIST_REQUEST__INIT;
    char kind[] = "file";
    int r;

    q.prefix = arena_c(&cli->arena, str_c(space));
    q.kind = kind;
    do {
        Trimtab__V1__ListResponse *list;

        r = call(cli, "List", &q.base, &trimtab__v1__list_response__descriptor,
                 (ProtobufCMessage **)&list, LIST_WITHIN_MS, err);
        if (r)
            return r;
        for (size_t i = 0; i < list->n_resources; i++)
            if (list->resources[i]->metadata && !map_put(ret, str_c(list->resources[i]->id),
                                                         list->resources[i]->metadata, NULL))
                return err_set(err, ERR_NOMEM, "out of memory");
        q.after = arena_c(&cli->arena, str_c(list->next));
    } while (*q.after);
    return 0;
}

static size_t find_mode(const Trimtab__V1__Metadata *m)
{
    size_t i = 0;

    while (m && i < m->n_annotations && strcmp(m->annotations[i]->key, MODE_ANNOTATION) != 0)
        i++;
    return i;
}

/* The metadata with this mode, or without any. Its other parts are those of old. */
static Trimtab__V1__Metadata *with_mode(struct cli *cli, const Trimtab__V1__Metadata *old,
                                        unsigned mode)
{
    Trimtab__V1__Metadata *m = ARENA_NEW(&cli->arena, Trimtab__V1__Metadata);
    size_t n = old ? old->n_annotations : 0, at = find_mode(old);
    Trimtab__V1__Metadata__AnnotationsEntry *e =
        ARENA_NEW(&cli->arena, Trimtab__V1__Metadata__AnnotationsEntry);
    char text[16];

    if (!m || !e)
        return NULL;
    trimtab__v1__metadata__init(m);
    if (old)
        *m = *old;
    m->annotations = ARENA_ARRAY(&cli->arena, Trimtab__V1__Metadata__AnnotationsEntry *, n + 1);
    m->n_annotations = 0;
    for (size_t i = 0; m->annotations && i < n; i++)
        if (i != at)
            m->annotations[m->n_annotations++] = old->annotations[i];
    (void)snprintf(text, sizeof(text), "%04o", mode & MODE_TAKEN);
    trimtab__v1__metadata__annotations_entry__init(e);
    e->key = arena_c(&cli->arena, STR(MODE_ANNOTATION));
    e->value = arena_c(&cli->arena, str_c(text));
    if (m->annotations && !is_plain(mode))
        m->annotations[m->n_annotations++] = e;
    return arena_failed(&cli->arena) ? NULL : m;
}

static bool has_mode(const Trimtab__V1__Metadata *m, unsigned mode)
{
    size_t at = find_mode(m);
    char text[16];

    if (!m || at == m->n_annotations)
        return is_plain(mode);
    (void)snprintf(text, sizeof(text), "%04o", mode & MODE_TAKEN);
    return !is_plain(mode) && strcmp(m->annotations[at]->value, text) == 0;
}

int modes_set(struct cli *cli, const char *space, const struct modes *modes, struct err *err)
{
    struct map known = MAP_NULL;
    bool any = false;
    int r = list_metadata(cli, space, &known, err);

    for (size_t i = 0; i < modes->n; i++)
        any |= !is_plain(modes->at[i].mode);
    if (r == ERR_DENIED && !any) { /* who may not read takes no mode away either */
        *err = ERR_NULL;
        r = 0;
    } else if (r == ERR_DENIED) {
        err_hint(err, "the modes of the files need the right to read; or say --no-modes");
    }
    for (size_t i = 0; i < modes->n && !r; i++) {
        struct mode_of *m = &modes->at[i];
        const Trimtab__V1__Metadata *old = map_get(&known, str_c(m->change->id));

        if (has_mode(old, m->mode))
            continue;
        m->change->metadata = with_mode(cli, old, m->mode);
        if (!m->change->metadata)
            r = err_set(err, ERR_NOMEM, "out of memory");
    }
    map_deinit(&known);
    return r;
}

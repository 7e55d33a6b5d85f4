/*
 * get, put, rm, ls: one resource at a time.
 */
#include "cli/cmd.h"
#include "model/commit.h"
#include "proto/convert.h"

#include <inttypes.h>

static struct str content_of(const Trimtab__V1__Resource *r)
{
    return r->content.len ? proto_str(r->content) : str_c(r->text);
}

/* ---- get ---- */

static int run_get(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__GetRequest q = TRIMTAB__V1__GET_REQUEST__INIT;
    const struct flag flags[] = {
        {"--version", 0, "this version instead of the newest", NULL, NULL, &q.version, NULL},
        {"--min-revision", 0, "wait until the server has this revision", NULL, NULL,
         &q.min_revision, NULL},
    };
    struct words words;
    ProtobufCMessage *m;
    struct str content;
    int r = take_flags(&cmd_get, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n != 1)
        return usage(&cmd_get, err, "get takes the id of one resource");
    q.id = words.at[0];
    r = call(cli, "Get", &q.base, &trimtab__v1__resource__descriptor, &m, 0, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON) {
        r = print_json(m, err);
    } else {
        content = content_of((Trimtab__V1__Resource *)m);
        if (fwrite(content.data, 1, content.len, stdout) != content.len)
            r = err_set_errno(err, "cannot write the content");
    }
    return r;
}

const struct command cmd_get = {"get", "get ID [--version N]",
                                "prints the content of a resource, byte for byte", run_get};

/* ---- put and rm ---- */

/* key=value words as map entries; both entry types have one layout, so one function makes both. */
static int take_labels(struct cli *cli, const struct texts *list,
                       Trimtab__V1__Metadata *meta, struct err *err)
{
    meta->labels = ARENA_ARRAY(&cli->arena, Trimtab__V1__Metadata__LabelsEntry *, list->n);
    for (size_t i = 0; i < list->n; i++) {
        Trimtab__V1__Metadata__LabelsEntry *e =
            ARENA_NEW(&cli->arena, Trimtab__V1__Metadata__LabelsEntry);
        const char *equals = strchr(list->at[i], '=');

        if (!equals)
            return err_set(err, ERR_INVALID, "a label is written key=value, not \"%s\"",
                           list->at[i]);
        if (!e)
            return ERR_NOMEM;
        trimtab__v1__metadata__labels_entry__init(e);
        e->key = arena_c(&cli->arena, str_of(list->at[i], (size_t)(equals - list->at[i])));
        e->value = arena_c(&cli->arena, str_c(equals + 1));
        meta->labels[meta->n_labels++] = e;
    }
    return 0;
}

static int take_annotations(struct cli *cli, const struct texts *list,
                            Trimtab__V1__Metadata *meta, struct err *err)
{
    meta->annotations =
        ARENA_ARRAY(&cli->arena, Trimtab__V1__Metadata__AnnotationsEntry *, list->n);
    for (size_t i = 0; i < list->n; i++) {
        Trimtab__V1__Metadata__AnnotationsEntry *e =
            ARENA_NEW(&cli->arena, Trimtab__V1__Metadata__AnnotationsEntry);
        const char *equals = strchr(list->at[i], '=');

        if (!equals)
            return err_set(err, ERR_INVALID, "an annotation is written key=value, not \"%s\"",
                           list->at[i]);
        if (!e)
            return ERR_NOMEM;
        trimtab__v1__metadata__annotations_entry__init(e);
        e->key = arena_c(&cli->arena, str_of(list->at[i], (size_t)(equals - list->at[i])));
        e->value = arena_c(&cli->arena, str_c(equals + 1));
        meta->annotations[meta->n_annotations++] = e;
    }
    return 0;
}

/* What put says of the metadata. */
struct meta_words {
    struct texts labels, annotations, depends_on, clear;
    const char *description, *owner; /* NULL: not said; "": none */
    bool is_protected;
};

/* "" for a text takes it away. */
static void take_text(struct cli *cli, const char *text, const char *field, char **set,
                      Trimtab__V1__MetadataPatch *p)
{
    if (text && *text)
        *set = arena_c(&cli->arena, str_c(text));
    else if (text)
        p->clear[p->n_clear++] = arena_c(&cli->arena, str_c(field));
}

static char **take_texts(struct cli *cli, const struct texts *list, size_t more)
{
    char **texts = ARENA_ARRAY(&cli->arena, char *, list->n + more);

    for (size_t i = 0; texts && i < list->n; i++)
        texts[i] = arena_c(&cli->arena, str_c(list->at[i]));
    return texts;
}

/* A patch, so that what was not named stays; NULL when nothing was. */
static int patch_of(struct cli *cli, const struct meta_words *w,
                    Trimtab__V1__MetadataPatch **ret, struct err *err)
{
    Trimtab__V1__MetadataPatch *p = ARENA_NEW(&cli->arena, Trimtab__V1__MetadataPatch);
    Trimtab__V1__Metadata *set = ARENA_NEW(&cli->arena, Trimtab__V1__Metadata);
    int r;

    if (!w->labels.n && !w->annotations.n && !w->depends_on.n && !w->clear.n &&
        !w->description && !w->owner && !w->is_protected)
        return 0;
    if (!p || !set)
        return ERR_NOMEM;
    trimtab__v1__metadata_patch__init(p);
    trimtab__v1__metadata__init(set);
    p->set = set;
    p->clear = take_texts(cli, &w->clear, 2);
    set->depends_on = take_texts(cli, &w->depends_on, 0);
    if (!p->clear || !set->depends_on)
        return ERR_NOMEM;
    p->n_clear = w->clear.n;
    set->n_depends_on = w->depends_on.n;
    set->protected_ = w->is_protected;
    take_text(cli, w->description, "description", &set->description, p);
    take_text(cli, w->owner, "owner", &set->owner, p);
    r = take_labels(cli, &w->labels, set, err);
    if (!r)
        r = take_annotations(cli, &w->annotations, set, err);
    *ret = p;
    return r ? r : arena_failed(&cli->arena) ? ERR_NOMEM : 0;
}

static int run_put(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct committing how = {.message = "", .timeout_s = 60};
    Trimtab__V1__Change c = TRIMTAB__V1__CHANGE__INIT, *list[] = {&c};
    Trimtab__V1__CommitRequest q = TRIMTAB__V1__COMMIT_REQUEST__INIT;
    struct meta_words meta = {.is_protected = false};
    const char *file = NULL, *value = NULL, *type = "";
    bool create = false;
    const struct flag flags[] = {
        {"--file", 'f', "file with the content; - for standard input", &file, NULL, NULL, NULL},
        {"--value", 0, "the content itself", &value, NULL, NULL, NULL},
        {"--type", 0, "content type; guessed from the name when it is new", &type, NULL, NULL,
         NULL},
        {"--message", 'm', "why", &how.message, NULL, NULL, NULL},
        {"--based-on", 0, "refuse if this version is no longer the newest", NULL, NULL,
         &c.based_on, NULL},
        {"--create", 0, "refuse if it exists", NULL, &create, NULL, NULL},
        {"--override", 0, "reason to publish what is protected, or carried by a rollout",
         &how.override, NULL, NULL, NULL},
        {"--dry-run", 0, "check and show the difference, store nothing", NULL, &how.dry_run,
         NULL, NULL},
        {"--label", 'l', "key=value: sets this label; others stay", NULL, NULL, NULL,
         &meta.labels},
        {"--annotation", 0, "key=value: sets this annotation; others stay", NULL, NULL, NULL,
         &meta.annotations},
        {"--depends-on", 0, "id of what it needs, added to the others", NULL, NULL, NULL,
         &meta.depends_on},
        {"--description", 0, "for people; \"\" takes it away", &meta.description, NULL, NULL,
         NULL},
        {"--owner", 0, "for people; \"\" takes it away", &meta.owner, NULL, NULL, NULL},
        {"--protected", 0, "it changes by a rollout only", NULL, &meta.is_protected, NULL,
         NULL},
        {"--clear", 0, "takes metadata away: labels, labels/KEY, protected, ...", NULL, NULL,
         NULL, &meta.clear},
        {"--wait", 'w', "return when every instance concerned has applied it", NULL, &how.wait,
         NULL, NULL},
        {"--timeout", 0, "seconds to wait, 60", NULL, NULL, &how.timeout_s, NULL},
        {"--allow-none", 0, "with --wait: it is well when nobody is concerned", NULL,
         &how.allow_none, NULL, NULL},
    };
    owned(buf) struct buf content = BUF_NULL(CONTENT_BYTES_MAX);
    struct words words;
    int r = take_flags(&cmd_put, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n != 1 || !file == !value)
        return usage(&cmd_put, err, "put takes one id, and either --file or --value");
    r = file ? read_input(file, &content, err) : 0;
    if (!r)
        r = patch_of(cli, &meta, &c.patch, err);
    if (r)
        return r;
    c.id = words.at[0];
    c.create_only = create;
    c.content_type = (char *)(uintptr_t)type;
    c.content = proto_bytes(file ? buf_str(&content) : str_c(value));
    q.changes = list;
    q.n_changes = 1;
    return commit(cli, &q, &how, err);
}

const struct command cmd_put = {
    "put",
    "put ID (-f FILE | --value TEXT) [-m WHY] [--type T] [--based-on N] "
    "[--label K=V] [--clear WHAT] [--override REASON] [--dry-run] [--wait]",
    "commits one resource; metadata that is not named stays as it is", run_put};

static int run_rm(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct committing how = {.message = "", .timeout_s = 60};
    Trimtab__V1__CommitRequest q = TRIMTAB__V1__COMMIT_REQUEST__INIT;
    const struct flag flags[] = {
        {"--message", 'm', "why", &how.message, NULL, NULL, NULL},
        {"--override", 0, "reason to publish what is protected, or carried by a rollout",
         &how.override, NULL, NULL, NULL},
        {"--dry-run", 0, "check and show the difference, store nothing", NULL, &how.dry_run,
         NULL, NULL},
        {"--wait", 'w', "return when every instance concerned has applied it", NULL, &how.wait,
         NULL, NULL},
        {"--timeout", 0, "seconds to wait, 60", NULL, NULL, &how.timeout_s, NULL},
        {"--allow-none", 0, "with --wait: it is well when nobody is concerned", NULL,
         &how.allow_none, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_rm, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n == 0)
        return usage(&cmd_rm, err, "rm takes the ids of resources");
    q.changes = ARENA_ARRAY(&cli->arena, Trimtab__V1__Change *, words.n);
    for (size_t i = 0; q.changes && i < words.n; i++) {
        Trimtab__V1__Change *c = ARENA_NEW(&cli->arena, Trimtab__V1__Change);

        if (!c)
            return err_set(err, ERR_NOMEM, "out of memory");
        trimtab__v1__change__init(c);
        c->id = words.at[i];
        c->delete_ = true;
        q.changes[q.n_changes++] = c;
    }
    return commit(cli, &q, &how, err);
}

const struct command cmd_rm = {"rm", "rm ID... [-m WHY] [--dry-run] [--wait]",
                               "deletes resources, in one commit", run_rm};

/* ---- ls ---- */

static void list_row(struct table *t, const Trimtab__V1__Resource *r)
{
    char version[24], size[24];

    (void)snprintf(version, sizeof(version), "%" PRIu64, r->version);
    (void)snprintf(size, sizeof(size), "%" PRIu64, r->size);
    table_row(t, r->id, version, r->deleted ? "deleted" : size, r->content_type, r->time);
}

static int run_ls(struct cli *cli, int argc, char **argv, struct err *err)
{
    static const char *const heads[] = {"ID", "VERSION", "SIZE", "TYPE", "CHANGED"};
    Trimtab__V1__ListRequest q = TRIMTAB__V1__LIST_REQUEST__INIT;
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};
    Trimtab__V1__ListResponse *m;
    const char *kind = "", *name = "";
    bool deleted = false;
    const struct flag flags[] = {
        {"--kind", 'k', "only this kind", &kind, NULL, NULL, NULL},
        {"--name", 0, "only names that fit this pattern (*)", &name, NULL, NULL, NULL},
        {"--deleted", 0, "deleted resources too", NULL, &deleted, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_ls, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n > 1)
        return usage(&cmd_ls, err, "ls takes one namespace, or the beginning of one");
    q.prefix = words.n ? words.at[0] : q.prefix;
    q.kind = (char *)(uintptr_t)kind;
    q.name = (char *)(uintptr_t)name;
    q.deleted = deleted;
    r = call(cli, "List", &q.base, &trimtab__v1__list_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (!r)
        r = call_rest(cli, "List", &q.base, "resources", 0, &m->base, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    for (size_t i = 0; i < m->n_resources; i++) {
        if (cli->output == OUTPUT_NAME)
            (void)printf("%s\n", m->resources[i]->id);
        else
            list_row(&t, m->resources[i]);
    }
    if (cli->output == OUTPUT_TABLE)
        table_print(&t);
    return 0;
}

const struct command cmd_ls = {"ls", "ls [NAMESPACE] [--kind K] [--name PATTERN] [--deleted]",
                               "lists resources", run_ls};

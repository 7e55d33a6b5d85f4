/*
 * publish, export, import: files and folders as one commit, and back byte for byte.
 *
 * An exported folder holds DIR/namespace/kind/name for every resource, and DIR/.trimtab.json with what files cannot
 * hold: ids, content types and metadata.
 */
#include "base/file.h"
#include "cli/cmd.h"
#include "cli/modes.h"
#include "cli/tree.h"
#include "cli/typing.h"
#include "model/commit.h"
#include "model/guess.h"
#include "proto/convert.h"
#include "proto/json.h"

#include <inttypes.h>
#include <sys/stat.h>

enum { MANIFEST_MAX = 64 << 20 };

/* ---- committing many ---- */

int changes_add(struct cli *cli, Trimtab__V1__CommitRequest *q, const char *id,
                struct str content, struct err *err)
{
    Trimtab__V1__Change *c = ARENA_NEW(&cli->arena, Trimtab__V1__Change);

    if (q->n_changes == COMMIT_CHANGES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d files in one commit", COMMIT_CHANGES_MAX);
    if (!c)
        return err_set(err, ERR_NOMEM, "out of memory");
    trimtab__v1__change__init(c);
    c->id = arena_c(&cli->arena, str_c(id));
    c->content = proto_bytes(content);
    q->changes[q->n_changes++] = c;
    return 0;
}

int changes_begin(struct cli *cli, Trimtab__V1__CommitRequest *q, struct err *err)
{
    trimtab__v1__commit_request__init(q);
    q->changes = ARENA_ARRAY(&cli->arena, Trimtab__V1__Change *, COMMIT_CHANGES_MAX);
    return q->changes ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

/* ---- publish ---- */

/* The types that a folder itself declares, by a file that is no resource. NULL: none. */
static int types_of_folder(const char *path, const struct tree_files *files, json_t **ret_types,
                           struct err *err)
{
    char where[4096];

    *ret_types = NULL;
    (void)snprintf(where, sizeof(where), "%s/%s", path, TYPING_FILE);
    for (size_t i = 0; i < files->n; i++)
        if (strcmp(files->at[i].name, TYPING_FILE) == 0)
            return typing_read(files->at[i].content, where, ret_types, err);
    return 0;
}

/* It is read at the top of a folder, and nowhere else; a resource it never is. */
static int refuse_typing_file(const char *path, struct err *err)
{
    (void)err_set(err, ERR_INVALID, "a file of this name is no resource");
    err_place(err, "%s", path);
    err_hint(err, "it declares the types of the folder that is published: have it at the top");
    return ERR_INVALID;
}

static bool is_typing_file(const char *path)
{
    const char *slash = strrchr(path, '/');

    return strcmp(slash ? slash + 1 : path, TYPING_FILE) == 0;
}

static int add_mode(struct modes *modes, Trimtab__V1__Change *change, unsigned mode,
                    struct err *err)
{
    return VEC_PUSH(modes, (struct mode_of){change, mode})
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory");
}

static int publish_folder(struct cli *cli, const struct publishing *p, const char *path,
                          Trimtab__V1__CommitRequest *q, struct modes *modes, struct err *err)
{
    struct tree_files files;
    json_t *types = NULL;
    int r = tree_read(path, &cli->arena, &files, err);

    if (!r)
        r = types_of_folder(path, &files, &types, err);
    for (size_t i = 0; !r && i < files.n; i++) {
        char id[ID_BYTES_MAX + 1];

        if (strcmp(files.at[i].name, TYPING_FILE) == 0)
            continue;
        if (is_typing_file(files.at[i].name)) {
            r = refuse_typing_file(files.at[i].name, err);
            break;
        }
        (void)snprintf(id, sizeof(id), "%s/file/%s", p->space, files.at[i].name);
        r = changes_add(cli, q, id, files.at[i].content, err);
        if (!r)
            typing_apply(cli, p->typing, types, q->changes[q->n_changes - 1]);
        if (!r)
            r = add_mode(modes, q->changes[q->n_changes - 1], files.at[i].mode, err);
    }
    json_decref(types);
    return r;
}

static int publish_file(struct cli *cli, const struct publishing *p, const char *path,
                        Trimtab__V1__CommitRequest *q, struct err *err)
{
    owned(buf) struct buf content = BUF_NULL(CONTENT_BYTES_MAX);
    const char *slash = strrchr(path, '/');
    char id[ID_BYTES_MAX + 1];
    int r =
        is_typing_file(path) ? refuse_typing_file(path, err) : read_input(path, &content, err);

    if (r) {
        err_place(err, "%s", path);
        return r;
    }
    (void)snprintf(id, sizeof(id), "%s/file/%s", p->space, slash ? slash + 1 : path);
    r = changes_add(cli, q, id, arena_str(&cli->arena, buf_str(&content)), err);
    if (!r)
        typing_apply(cli, p->typing, NULL, q->changes[q->n_changes - 1]);
    return r;
}

int changes_of_paths(struct cli *cli, const struct publishing *p, Trimtab__V1__CommitRequest *q,
                     struct err *err)
{
    struct modes modes = {.n = 0};
    int r = namespace_check(str_c(p->space), err);

    if (!r)
        r = typing_check(p->typing, err);
    for (size_t i = 0; i < p->n_paths && !r; i++) {
        const char *path = p->paths[i];
        struct stat st;

        if (stat(path, &st))
            r = err_set_errno(err, "cannot open %s", path);
        else if (S_ISDIR(st.st_mode))
            r = publish_folder(cli, p, path, q, &modes, err);
        else
            r = publish_file(cli, p, path, q, err);
        if (!r && S_ISREG(st.st_mode))
            r = add_mode(&modes, q->changes[q->n_changes - 1], st.st_mode & 07777, err);
    }
    if (!r && !p->without_modes && modes.n)
        r = modes_set(cli, p->space, &modes, err);
    VEC_DEINIT(&modes);
    return r;
}

static int run_publish(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct committing how = {.message = "", .timeout_s = 60};
    bool prune = false, yes = false;
    struct typing typing = {.as_is = false};
    struct publishing publishing = {.typing = &typing};
    const struct flag flags[] = {
        TYPING_FLAGS(typing),
        {"--message", 'm', "why", &how.message, NULL, NULL, NULL},
        {"--prune", 0, "delete what is in the namespace and not among the files", NULL, &prune,
         NULL, NULL},
        {"--yes", 0, "prune all that is there, or most of it, without a question", NULL, &yes,
         NULL, NULL},
        {"--no-modes", 0, "leave the modes of the resources as they are", NULL,
         &publishing.without_modes, NULL, NULL},
        {"--override", 0, "reason to publish what is protected, or carried by a rollout",
         &how.override, NULL, NULL, NULL},
        {"--dry-run", 0, "check and show the differences, store nothing", NULL, &how.dry_run,
         NULL, NULL},
        {"--wait", 'w', "return when every instance concerned has applied it", NULL, &how.wait,
         NULL, NULL},
        {"--timeout", 0, "seconds to wait, 60", NULL, NULL, &how.timeout_s, NULL},
        {"--allow-none", 0, "with --wait: it is well when nobody is concerned", NULL,
         &how.allow_none, NULL, NULL},
    };
    Trimtab__V1__CommitRequest q;
    struct words words;
    int r = take_flags(&cmd_publish, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n < 2)
        return usage(&cmd_publish, err, "publish takes a namespace, then files or folders");
    r = changes_begin(cli, &q, err);
    publishing.space = words.at[0];
    publishing.paths = words.at + 1;
    publishing.n_paths = words.n - 1;
    if (!r)
        r = changes_of_paths(cli, &publishing, &q, err);
    if (r)
        return r;
    if (prune) {
        q.prune = &words.at[0];
        q.n_prune = 1;
        q.prune_confirmed = yes;
    }
    return commit(cli, &q, &how, err);
}

const struct command cmd_publish = {
    "publish",
    "publish NAMESPACE PATH... [-m WHY] [--type [PATTERN=]TYPE] [--as-is] [--no-modes] "
    "[--prune [--yes]] [--override REASON] [--dry-run] "
    "[--wait [--timeout S]]",
    "commits files or folders as one commit", run_publish};

/* ---- export ---- */

struct exporting {
    struct cli *cli;
    const char *root;
    json_t *entries;
    size_t n;
};

static int export_one(struct exporting *e, Trimtab__V1__Resource *r, struct err *err)
{
    struct str content = r->content.len ? proto_str(r->content) : str_c(r->text);
    Trimtab__V1__Resource entry = TRIMTAB__V1__RESOURCE__INIT;
    Trimtab__V1__Metadata none = TRIMTAB__V1__METADATA__INIT;
    json_t *row;
    int rc = tree_write(e->root, r->id, content, err);

    if (rc)
        return rc;
    entry.id = r->id;
    entry.content_type = r->content_type;
    entry.type_origin = r->type_origin;
    entry.type_against = r->type_against;
    /* written even when there is none: an import takes away what has come since */
    entry.metadata = r->metadata ? r->metadata : &none;
    row = proto_to_json(&entry.base, PROTO_JSON_SPARSE);
    if (!row || json_array_append_new(e->entries, row))
        return err_set(err, ERR_NOMEM, "out of memory");
    e->n++;
    return 0;
}

static int export_all(struct exporting *e, Trimtab__V1__ListRequest *q, struct err *err)
{
    int r;

    do {
        Trimtab__V1__ListResponse *list;

        r = call(e->cli, "List", &q->base, &trimtab__v1__list_response__descriptor,
                 (ProtobufCMessage **)&list, 60000, err);
        if (r)
            return r;
        for (size_t i = 0; i < list->n_resources && !r; i++)
            r = export_one(e, list->resources[i], err);
        q->after = arena_c(&e->cli->arena, str_c(list->next));
    } while (!r && *q->after);
    return r;
}

static int write_manifest(const struct exporting *e, struct err *err)
{
    char path[4096];
    char *text = json_dumps(e->entries, JSON_INDENT(1) | JSON_SORT_KEYS);
    int r;

    if (!text)
        return err_set(err, ERR_NOMEM, "out of memory");
    (void)snprintf(path, sizeof(path), "%s/%s", e->root, TYPING_FILE);
    r = file_make_dirs(e->root, 0755, err);
    if (!r)
        r = file_replace(path, str_c(text), 0644, err);
    free(text);
    return r;
}

static int run_export(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__ListRequest q = TRIMTAB__V1__LIST_REQUEST__INIT;
    struct exporting e = {.cli = cli};
    struct words words;
    int r = take_flags(&cmd_export, NULL, 0, argc, argv, &words, err);

    if (r)
        return r;
    if (words.n != 2)
        return usage(&cmd_export, err,
                     "export takes a namespace (or the beginning of one) and a folder");
    e.root = words.at[1];
    e.entries = json_array();
    q.prefix = words.at[0];
    q.content = true;
    r = e.entries ? export_all(&e, &q, err) : err_set(err, ERR_NOMEM, "out of memory");
    if (!r)
        r = write_manifest(&e, err);
    json_decref(e.entries);
    if (!r)
        say(cli, "%zu resources exported to %s\n", e.n, e.root);
    return r;
}

const struct command cmd_export = {"export", "export NAMESPACE DIR",
                                   "writes resources to a folder, byte for byte", run_export};

/* ---- import ---- */

/* A guess that the server would make again is not declared by an import, so that it stays one. */
static bool is_guess(const Trimtab__V1__Resource *entry, struct name name, struct str content)
{
    struct str guess = content_type_guess(name.kind, name.name, content);

    return strcmp(entry->type_origin, "guessed") == 0 &&
           str_eq(guess,
                  str_c(*entry->type_against ? entry->type_against : entry->content_type));
}

struct importing {
    const char *root;
    const struct typing *typing;
};

static int import_entry(struct cli *cli, const struct importing *im, const json_t *row,
                        Trimtab__V1__CommitRequest *q, struct err *err)
{
    Trimtab__V1__Change *change;
    owned(buf) struct buf content = BUF_NULL(CONTENT_BYTES_MAX);
    Trimtab__V1__Resource *entry;
    char path[4096];
    struct name name;
    int r = proto_from_json(row, &trimtab__v1__resource__descriptor, &cli->arena,
                            (ProtobufCMessage **)&entry, err);

    if (!r)
        r = name_parse(str_c(entry->id), &name, err);
    if (r)
        return r;
    (void)snprintf(path, sizeof(path), "%s/%s", im->root, entry->id);
    r = file_read(path, &content, err);
    if (!r)
        r = changes_add(cli, q, entry->id, arena_str(&cli->arena, buf_str(&content)), err);
    if (r)
        return r;
    change = q->changes[q->n_changes - 1];
    if (!is_guess(entry, name, buf_str(&content)))
        change->content_type = entry->content_type;
    change->metadata = entry->metadata;
    typing_apply(cli, im->typing, NULL, change);
    return 0;
}

int changes_of_export(struct cli *cli, const char *root, const struct typing *typing,
                      Trimtab__V1__CommitRequest *q, struct err *err)
{
    struct importing im = {root, typing};
    owned(buf) struct buf text = BUF_NULL(MANIFEST_MAX);
    char path[4096];
    json_error_t fault;
    json_t *rows;
    int r;

    (void)snprintf(path, sizeof(path), "%s/%s", root, TYPING_FILE);
    r = typing_check(typing, err);
    if (r)
        return r;
    r = file_read(path, &text, err);
    if (r) {
        err_hint(err, "import reads what export wrote; trimtab publish takes any folder");
        return r;
    }
    rows = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &fault);
    if (!json_is_array(rows)) {
        (void)err_set(err, ERR_INVALID, "not a list: %s", rows ? "" : fault.text);
        err_place(err, "%s", path);
        err_at(err, rows ? 1 : (uint32_t)fault.line, rows ? 1 : (uint32_t)fault.column);
        r = ERR_INVALID;
    }
    for (size_t i = 0; !r && i < json_array_size(rows); i++)
        r = import_entry(cli, &im, json_array_get(rows, i), q, err);
    json_decref(rows);
    return r;
}

static int run_import(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct committing how = {.message = "", .timeout_s = 60};
    struct typing typing = {.as_is = false};
    const struct flag flags[] = {
        TYPING_FLAGS(typing),
        {"--message", 'm', "why", &how.message, NULL, NULL, NULL},
        {"--override", 0, "reason to publish what is protected, or carried by a rollout",
         &how.override, NULL, NULL, NULL},
        {"--dry-run", 0, "check and show the differences, store nothing", NULL, &how.dry_run,
         NULL, NULL},
        {"--wait", 'w', "return when every instance concerned has applied it", NULL, &how.wait,
         NULL, NULL},
        {"--timeout", 0, "seconds to wait, 60", NULL, NULL, &how.timeout_s, NULL},
        {"--allow-none", 0, "with --wait: it is well when nobody is concerned", NULL,
         &how.allow_none, NULL, NULL},
    };
    Trimtab__V1__CommitRequest q;
    struct words words;
    int r = take_flags(&cmd_import, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n != 1)
        return usage(&cmd_import, err, "import takes the folder that export wrote");
    r = changes_begin(cli, &q, err);
    if (!r)
        r = changes_of_export(cli, words.at[0], &typing, &q, err);
    return r ? r : commit(cli, &q, &how, err);
}

const struct command cmd_import = {
    "import", "import DIR [-m WHY] [--type [PATTERN=]TYPE] [--as-is] [--dry-run] [--wait]",
    "commits what export wrote, as one commit", run_import};

/*
 * grant, revoke, grants, who-can: who may do what where. Grants are resources (docs/rights.md); these commands find and change the
 * right ones, and show what that comes to before anybody loses anything.
 */
#include "base/map.h"
#include "cli/grants.h"
#include "model/name.h"

static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c has no const; it is only read */
}

static int check_spaces(char *const *spaces, size_t n, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < n && !r; i++) {
        if (str_eq(str_c(spaces[i]), SPACE_EVERYTHING_TEXT))
            continue;
        r = namespace_check(str_c(spaces[i]), err);
        if (r)
            err_place(err, "%.200s", spaces[i]);
    }
    return r;
}

static bool has_space(const struct held_grant *g, const char *space)
{
    for (size_t i = 0; i < g->n_spaces; i++)
        if (strcmp(g->spaces[i], space) == 0)
            return true;
    return false;
}

/* What both commands have in common. */
struct changing {
    struct cli *cli;
    const char *subject;
    const struct role *role; /* NULL: any */
    char *const *spaces;
    size_t n_spaces;
    const char *note; /* NULL: as it is */
    bool all, yes;
    struct held_grants held;
    Trimtab__V1__CommitRequest commit;
};

/* Reads what there is. ERR_INVALID for what cannot be meant, before the server is asked. */
static int begin(struct changing *c, struct err *err)
{
    int r = subject_check(str_c(c->subject), err);

    if (r) {
        err_place(err, "%.200s", c->subject);
        return r;
    }
    r = check_spaces(c->spaces, c->n_spaces, err);
    if (!r && c->note)
        r = note_check(c->note, err);
    if (!r)
        r = changes_begin(c->cli, &c->commit, err);
    return r ? r : grants_load(c->cli, c->subject, &c->held, err);
}

static int finish(struct changing *c, const struct committing *how, struct err *err)
{
    int r = c->yes || how->dry_run ? 0 : commit_ask(c->cli, &c->commit, c->subject, err);

    if (!r)
        r = commit(c->cli, &c->commit, how, err);
    if (r == ERR_EXISTS)
        err_rehint(err, "somebody else made a grant of this name: look at it, and try again");
    return r;
}

/* ---- grant ---- */

/* The one that the command made itself, else any of that role; NULL: there is none. */
static struct held_grant *find_grant(struct changing *c, const char *id)
{
    struct held_grant *found = NULL;

    for (size_t i = 0; i < c->held.n; i++) {
        struct held_grant *g = &c->held.at[i];

        if (g->role == c->role && (!found || strcmp(g->id, id) == 0))
            found = g;
    }
    return found;
}

/* The grant with the namespaces that it does not name yet. */
static int add_spaces(struct changing *c, struct held_grant *g, struct err *err)
{
    struct arena *a = &c->cli->arena;
    char **spaces = ARENA_ARRAY(a, char *, g->n_spaces + c->n_spaces);

    if (!spaces)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < g->n_spaces; i++)
        spaces[i] = g->spaces[i];
    g->spaces = spaces;
    for (size_t i = 0; i < c->n_spaces; i++)
        if (!has_space(g, c->spaces[i]))
            spaces[g->n_spaces++] = c->spaces[i];
    if (c->note)
        g->note = c->note;
    return grants_put(c->cli, &c->commit, g, c->subject, err);
}

static int run_grant(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct committing how = {.message = ""};
    struct changing c = {.cli = cli};
    struct held_grant new = {.note = ""}, *g;
    const struct flag flags[] = {
        {"--message", 'm', "why", &how.message, NULL, NULL, NULL},
        {"--note", 0, "for people; stays in the grant", &c.note, NULL, NULL, NULL},
        {"--yes", 0, "also when somebody loses a right by it", NULL, &c.yes, NULL, NULL},
        {"--dry-run", 0, "only show who wins what", NULL, &how.dry_run, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_grant, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    if (words.n < 3)
        return usage(&cmd_grant, err, "grant takes a subject, a role, and namespaces");
    c.subject = words.at[0];
    c.spaces = words.at + 2;
    c.n_spaces = words.n - 2;
    r = role_check(str_c(words.at[1]), &c.role, err);
    if (!r)
        r = begin(&c, err);
    if (r)
        return r;
    new.id = grant_id(cli, str_c(c.subject), c.role);
    new.role = c.role;
    g = find_grant(&c, new.id);
    r = add_spaces(&c, g ? g : &new, err);
    return r ? r : finish(&c, &how, err);
}

const struct command cmd_grant = {
    "grant", "grant SUBJECT ROLE NAMESPACE... [-m WHY] [--note TEXT] [--yes] [--dry-run]",
    "gives token:NAME, cert:NAME or oidc:SUBJECT a role in namespaces and all below; '*' is "
    "all",
    run_grant};

/* ---- revoke ---- */

static bool is_concerned(const struct changing *c, const struct held_grant *g)
{
    return !c->role || g->role == c->role;
}

/* What nothing of it can be taken back from, with the grant that gives it from above if there is one. */
static int not_granted(const struct changing *c, const char *space, struct err *err)
{
    (void)err_set(err, ERR_NOT_FOUND, "%.300s has no grant%s%.*s on %s", c->subject,
                  c->role ? " of the role " : "", c->role ? (int)c->role->name.len : 0,
                  c->role ? c->role->name.data : "", space);
    for (size_t i = 0; i < c->held.n; i++)
        for (size_t k = 0; k < c->held.at[i].n_spaces; k++) {
            const char *above = c->held.at[i].spaces[k];
            bool is_all = strcmp(above, "*") == 0;

            if (is_concerned(c, &c->held.at[i]) &&
                space_covers(is_all ? SPACE_EVERYTHING : str_c(above), str_c(space)))
                err_hint(err, "%s gives it on %s: revoke that, and grant what is to stay",
                         c->held.at[i].id, is_all ? "everything" : above);
        }
    return ERR_NOT_FOUND;
}

/* Every namespace that is named must be in a grant: a slip of the pen is not to look like a right that is gone. */
static int check_named(const struct changing *c, struct err *err)
{
    for (size_t i = 0; i < c->n_spaces; i++) {
        bool found = false;

        for (size_t k = 0; k < c->held.n && !found; k++)
            found = is_concerned(c, &c->held.at[k]) && has_space(&c->held.at[k], c->spaces[i]);
        if (!found)
            return not_granted(c, c->spaces[i], err);
    }
    return 0;
}

static bool is_named(const struct changing *c, const char *space)
{
    for (size_t i = 0; i < c->n_spaces; i++)
        if (strcmp(c->spaces[i], space) == 0)
            return true;
    return c->all;
}

/* Leaves a grant with what is not named, or deletes it. */
static int take_back(struct changing *c, struct held_grant *g, struct err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n_spaces; i++)
        if (!is_named(c, g->spaces[i]))
            g->spaces[n++] = g->spaces[i];
    if (n == g->n_spaces)
        return 0;
    g->n_spaces = n;
    return n ? grants_put(c->cli, &c->commit, g, c->subject, err)
             : document_delete(c->cli, &c->commit, g->id, g->version, err);
}

static int revoke(struct changing *c, struct err *err)
{
    int r = check_named(c, err);

    for (size_t i = 0; i < c->held.n && !r; i++)
        if (is_concerned(c, &c->held.at[i]))
            r = take_back(c, &c->held.at[i], err);
    if (!r && !c->commit.n_changes)
        r = err_set(err, ERR_NOT_FOUND, "%.300s has no such grants", c->subject);
    return r;
}

static int run_revoke(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct committing how = {.message = ""};
    struct changing c = {.cli = cli};
    const struct flag flags[] = {
        {"--message", 'm', "why", &how.message, NULL, NULL, NULL},
        {"--all", 0, "all its grants, or all of the role", NULL, &c.all, NULL, NULL},
        {"--yes", 0, "without a question", NULL, &c.yes, NULL, NULL},
        {"--dry-run", 0, "only show who loses what", NULL, &how.dry_run, NULL, NULL},
    };
    struct words words;
    size_t at = 1;
    int r = take_flags(&cmd_revoke, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (r)
        return r;
    c.role = words.n > 1 ? role_find(str_c(words.at[1])) : NULL;
    at += c.role != NULL;
    if (words.n < at || (words.n == at) != c.all)
        return usage(&cmd_revoke, err,
                     "revoke takes a subject, and either namespaces or --all");
    c.subject = words.at[0];
    c.spaces = words.at + at;
    c.n_spaces = words.n - at;
    r = begin(&c, err);
    if (!r)
        r = revoke(&c, err);
    return r ? r : finish(&c, &how, err);
}

const struct command cmd_revoke = {
    "revoke", "revoke SUBJECT [ROLE] (NAMESPACE... | --all) [-m WHY] [--yes] [--dry-run]",
    "takes back what was granted; without a role, grants of every role", run_revoke};

/* ---- grants ---- */

/* All of a subject ("": of everybody) in one message, page by page. */
static int load_all(struct cli *cli, const char *subject, Trimtab__V1__GrantsResponse *all,
                    struct err *err)
{
    Trimtab__V1__GrantsRequest q = TRIMTAB__V1__GRANTS_REQUEST__INIT;
    Trimtab__V1__GrantsResponse *page;

    q.subject = unconst(subject);
    do {
        Trimtab__V1__GrantInfo **more;
        int r = call(cli, "Grants", &q.base, &trimtab__v1__grants_response__descriptor,
                     (ProtobufCMessage **)&page, 0, err);

        if (r)
            return r;
        more =
            ARENA_ARRAY(&cli->arena, Trimtab__V1__GrantInfo *, all->n_grants + page->n_grants);
        if (!more)
            return err_set(err, ERR_NOMEM, "out of memory");
        if (all->n_grants)
            memcpy(more, all->grants, all->n_grants * sizeof(*more));
        if (page->n_grants)
            memcpy(more + all->n_grants, page->grants, page->n_grants * sizeof(*more));
        all->grants = more;
        all->n_grants += page->n_grants;
        all->revision = page->revision;
        q.after = page->next;
    } while (*q.after);
    return 0;
}

static const char *spaces_text(struct cli *cli, const Trimtab__V1__GrantInfo *g)
{
    owned(buf) struct buf text = BUF_NULL(1 * MIB);

    for (size_t i = 0; i < g->n_namespaces; i++)
        buf_printf(&text, "%s%s", i ? " " : "", g->namespaces[i]);
    return arena_c(&cli->arena, buf_status(&text) ? STR("(too many to show)") : buf_str(&text));
}

static void print_grants(struct cli *cli, const Trimtab__V1__GrantsResponse *all)
{
    static const char *const heads[] = {"SUBJECT", "ROLE", "NAMESPACES", "BY", "NOTE"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};

    for (size_t i = 0; i < all->n_grants; i++) {
        const Trimtab__V1__GrantInfo *g = all->grants[i];
        char by[ID_BYTES_MAX + 1];

        (void)snprintf(by, sizeof(by), "trimtab/grant/%s", g->name);
        if (cli->output == OUTPUT_NAME)
            (void)printf("%s\n", by);
        else
            table_row(&t, g->subject, g->role, spaces_text(cli, g), by, g->note);
    }
    if (cli->output == OUTPUT_TABLE)
        table_print(&t);
}

static int run_grants(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__GrantsResponse all = TRIMTAB__V1__GRANTS_RESPONSE__INIT;
    struct words words;
    int r = take_flags(&cmd_grants, NULL, 0, argc, argv, &words, err);

    if (r)
        return r;
    if (words.n > 1)
        return usage(&cmd_grants, err, "grants takes one subject, or none");
    r = words.n ? subject_check(str_c(words.at[0]), err) : 0;
    if (r) {
        err_place(err, "%.200s", words.at[0]);
        return r;
    }
    r = load_all(cli, words.n ? words.at[0] : "", &all, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&all.base, err);
    print_grants(cli, &all);
    return 0;
}

const struct command cmd_grants = {
    "grants", "grants [SUBJECT]",
    "lists who has which role where, or what was granted to one subject", run_grants};

/* ---- who-can ---- */

static void print_who(struct cli *cli, const Trimtab__V1__WhoCanResponse *m)
{
    static const char *const heads[] = {"SUBJECT", "ROLE", "NAMESPACE", "BY"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};

    for (size_t i = 0; i < m->n_rows; i++) {
        const Trimtab__V1__WhoCanRow *row = m->rows[i];
        char by[ID_BYTES_MAX + 64];

        (void)snprintf(by, sizeof(by), "%s%s", row->local ? "(this server itself)" : row->grant,
                       row->absent ? "  (there is no such token, or it has expired)" : "");
        table_row(&t, row->subject, row->role, row->namespace_, by);
    }
    table_print(&t);
    if (m->truncated)
        say(cli, "there are more\n");
}

/* Each subject once. */
static void print_subjects(const Trimtab__V1__WhoCanResponse *m)
{
    struct map seen = MAP_NULL;

    for (size_t i = 0; i < m->n_rows; i++) {
        struct str subject = str_c(m->rows[i]->subject);

        if (map_get(&seen, subject))
            continue;
        (void)printf("%s\n", m->rows[i]->subject);
        if (!map_put(&seen, subject, m->rows[i], NULL))
            break; /* out of memory: the next could only be told twice */
    }
    map_deinit(&seen);
}

static int run_who_can(struct cli *cli, int argc, char **argv, struct err *err)
{
    Trimtab__V1__WhoCanRequest q = TRIMTAB__V1__WHO_CAN_REQUEST__INIT;
    Trimtab__V1__WhoCanResponse *m;
    struct words words;
    int r = take_flags(&cmd_who_can, NULL, 0, argc, argv, &words, err);

    if (r)
        return r;
    if (words.n != 2)
        return usage(&cmd_who_can, err, "who-can takes a right and a namespace");
    q.right = words.at[0];
    q.namespace_ = unconst(words.at[1]);
    r = call(cli, "WhoCan", &q.base, &trimtab__v1__who_can_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    if (cli->output == OUTPUT_NAME)
        print_subjects(m);
    else
        print_who(cli, m);
    return 0;
}

const struct command cmd_who_can = {"who-can", "who-can RIGHT NAMESPACE",
                                    "lists who has a right in a namespace, and by which grant",
                                    run_who_can};

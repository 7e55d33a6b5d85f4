/*
 * token: secrets by which programs and people are known. The secret is made here, shown once, and published as its SHA-256.
 */
#include "base/hash.h"
#include "cli/grants.h"

#include <inttypes.h>

enum { SECRET_BYTES = 32 };

static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c has no const; it is only read */
}

static const char *token_id(struct cli *cli, const char *name)
{
    char id[64 + TOKEN_NAME_MAX];

    (void)snprintf(id, sizeof(id), "trimtab/token/%.*s", TOKEN_NAME_MAX, name);
    return arena_c(&cli->arena, str_c(id));
}

static int take_name(const struct command *c, const struct words *words, struct err *err)
{
    int r;

    if (words->n != 1)
        return usage(c, err, "token %s takes the name of one token", c->name);
    r = token_name_check(str_c(words->at[0]), err);
    if (r)
        err_place(err, "%.200s", words->at[0]);
    return r;
}

/* The published token of a name. ERR_NOT_FOUND. */
static int find_token(struct cli *cli, const char *name, Trimtab__V1__TokenInfo **ret,
                      struct err *err)
{
    Trimtab__V1__TokensRequest q = TRIMTAB__V1__TOKENS_REQUEST__INIT;
    Trimtab__V1__TokensResponse *m;
    int r;

    q.name = unconst(name);
    r = call(cli, "Tokens", &q.base, &trimtab__v1__tokens_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (r)
        return r;
    if (!m->n_tokens) {
        (void)err_set(err, ERR_NOT_FOUND, "no token \"%s\" is published", name);
        err_hint(err,
                 "trimtab token list; those of a server's own file are in its data folder");
        return ERR_NOT_FOUND;
    }
    *ret = m->tokens[0];
    return 0;
}

/* Grants name the token, not its secret: they outlive it. What went before has succeeded, so nothing here fails it. */
static void tell_of_grants(struct cli *cli, const char *name, const char *what)
{
    char subject[SUBJECT_BYTES_MAX + 1];
    struct held_grants held;

    (void)snprintf(subject, sizeof(subject), "token:%s", name);
    if (!cli->is_quiet && grants_load(cli, subject, &held, NULL) == 0 && held.n)
        say(cli, "%zu grant%s to %s %s; to take back: trimtab revoke %s --all\n", held.n,
            held.n == 1 ? "" : "s", subject, what, subject);
}

/* ---- when it expires ---- */

/* "90d", "12h", a time as RFC 3339, or "never": as a document has it, "" for never. */
static int take_expiry(struct cli *cli, const char *text, const char **ret, struct err *err)
{
    int64_t now = clock_wall_ms(), at;
    char time[WALL_TEXT_MAX];
    uint64_t nsec;

    *ret = "";
    if (strcmp(text, "never") == 0)
        return 0;
    if (str_duration(str_c(text), &nsec))
        at = now + (int64_t)(nsec / NSEC_PER_MS);
    else if (!wall_parse(str_c(text), &at)) {
        (void)err_set(err, ERR_INVALID, "\"%.100s\" is no time", text);
        err_place(err, "--expires");
        err_hint(err, "90d, 12h, 2027-06-30T00:00:00Z, or never");
        return ERR_INVALID;
    }
    if (at <= now)
        return err_set(err, ERR_INVALID, "--expires is a time in the past");
    wall_format(at, time);
    *ret = arena_c(&cli->arena, str_c(time));
    return 0;
}

/* ---- making one ---- */

/* A token that is to be published. */
struct making {
    const char *name, *expires, *note; /* expires and note: "" for none */
    uint64_t version;                  /* that it is based on; 0: there is none */
    const char *message;
    char secret[2 * SECRET_BYTES + 1];
};

static int add_token(struct cli *cli, const struct making *m, Trimtab__V1__CommitRequest *q,
                     struct err *err)
{
    struct sha256 sha = sha256_of(str_c(m->secret));
    char hex[SHA256_HEX_BYTES + 1], hash[SHA256_HEX_BYTES + 8];
    json_t *document;
    bool ok;
    int r;

    hex_encode(sha.bytes, SHA256_BYTES, hex);
    (void)snprintf(hash, sizeof(hash), "sha256:%s", hex);
    document = json_pack("{s:s}", "hash", hash);
    ok = document &&
         (!*m->expires || !json_object_set_new(document, "expires", json_string(m->expires)));
    ok = ok && (!*m->note || !json_object_set_new(document, "note", json_string(m->note)));
    r = ok ? document_put(cli, q, token_id(cli, m->name), m->version, document, err)
           : err_set(err, ERR_NOMEM, "out of memory");
    json_decref(document);
    return r;
}

/* The only place where the secret is shown. */
static int show_secret(struct cli *cli, const struct making *m, uint64_t revision,
                       struct err *err)
{
    json_t *document;

    if (cli->output != OUTPUT_JSON) {
        (void)printf("%s\n", m->secret);
        say(cli,
            "token %s, revision %" PRIu64 "; this is the only time that its secret is "
            "shown\n",
            m->name, revision);
        return 0;
    }
    document = json_pack("{s:s, s:s, s:s, s:I}", "name", m->name, "secret", m->secret,
                         "expires", m->expires, "revision", (json_int_t)revision);
    if (!document || json_dumpf(document, stdout, JSON_COMPACT)) {
        json_decref(document);
        return err_set(err, ERR_NOMEM,
                       "the token is published, but cannot be shown: rotate it");
    }
    (void)printf("\n");
    json_decref(document);
    return 0;
}

static int make_token(struct cli *cli, struct making *m, struct err *err)
{
    const struct committing how = {.message = m->message};
    unsigned char bytes[SECRET_BYTES];
    Trimtab__V1__CommitRequest q;
    Trimtab__V1__CommitResponse *answer;
    int r = note_check(m->note, err);

    if (!r && random_bytes(bytes, sizeof(bytes)))
        r = err_set(err, ERR_IO, "the system has no random numbers");
    if (r)
        return r;
    hex_encode(bytes, sizeof(bytes), m->secret);
    r = changes_begin(cli, &q, err);
    if (!r)
        r = add_token(cli, m, &q, err);
    if (!r)
        r = commit_send(cli, &q, &how, &answer, err);
    return r ? r : show_secret(cli, m, answer->revision, err);
}

/* ---- create ---- */

static const struct command cmd_create, cmd_list, cmd_token_revoke, cmd_rotate;

static int run_create(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct making m = {.note = "", .message = ""};
    const char *expires = "never";
    const struct flag flags[] = {
        {"--expires", 0, "90d, 12h, 2027-06-30T00:00:00Z, or never, as without it", &expires,
         NULL, NULL, NULL},
        {"--note", 0, "for people", &m.note, NULL, NULL, NULL},
        {"--message", 'm', "why", &m.message, NULL, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_create, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (!r)
        r = take_name(&cmd_create, &words, err);
    if (!r)
        r = take_expiry(cli, expires, &m.expires, err);
    if (r)
        return r;
    m.name = words.at[0];
    r = make_token(cli, &m, err);
    if (r == ERR_EXISTS)
        err_rehint(err, "a new secret for it: trimtab token rotate %s", m.name);
    if (!r)
        tell_of_grants(cli, m.name, "were there before, and hold for it");
    return r;
}

static const struct command cmd_create = {
    "create", "token create NAME [--expires 90d] [--note TEXT] [-m WHY]",
    "makes a token, and prints its secret: only this once", run_create};

/* ---- rotate ---- */

static int run_rotate(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct making m = {.message = ""};
    const char *expires = NULL, *note = NULL;
    Trimtab__V1__TokenInfo *old;
    const struct flag flags[] = {
        {"--expires", 0, "90d, 12h, 2027-06-30T00:00:00Z, or never; without it as before",
         &expires, NULL, NULL, NULL},
        {"--note", 0, "for people; without it as before", &note, NULL, NULL, NULL},
        {"--message", 'm', "why", &m.message, NULL, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_rotate, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (!r)
        r = take_name(&cmd_rotate, &words, err);
    if (!r)
        r = find_token(cli, words.at[0], &old, err);
    if (r)
        return r;
    if (old->expired && !expires) {
        (void)err_set(err, ERR_INVALID, "the token %s has expired at %s", old->name,
                      old->expires);
        err_hint(err, "say how long the new secret is good: --expires 90d, or never");
        return ERR_INVALID;
    }
    m.name = old->name;
    m.version = old->version;
    m.expires = old->expires;
    m.note = note ? note : old->note;
    if (expires)
        r = take_expiry(cli, expires, &m.expires, err);
    return r ? r : make_token(cli, &m, err);
}

static const struct command cmd_rotate = {
    "rotate", "token rotate NAME [--expires 90d] [--note TEXT] [-m WHY]",
    "gives a token a new secret, and prints it; the old one ends, and all grants stay",
    run_rotate};

/* ---- list ---- */

static void list_row(struct cli *cli, struct table *t, const Trimtab__V1__TokenInfo *k)
{
    char expires[WALL_TEXT_MAX + 16];

    if (cli->output == OUTPUT_NAME) {
        (void)printf("%s\n", k->name);
        return;
    }
    (void)snprintf(expires, sizeof(expires), "%.*s%s", WALL_TEXT_MAX,
                   *k->expires ? k->expires : "never", k->expired ? " (expired)" : "");
    table_row(t, k->name, k->published, expires, *k->last_used ? k->last_used : "-", k->note);
}

static int run_list(struct cli *cli, int argc, char **argv, struct err *err)
{
    static const char *const heads[] = {"NAME", "PUBLISHED", "EXPIRES", "LAST USED", "NOTE"};
    struct table t = {.arena = &cli->arena, .heads = heads, .n_columns = ARRAY_LEN(heads)};
    Trimtab__V1__TokensRequest q = TRIMTAB__V1__TOKENS_REQUEST__INIT;
    Trimtab__V1__TokensResponse *m;
    struct words words;
    int r = take_flags(&cmd_list, NULL, 0, argc, argv, &words, err);

    if (r)
        return r;
    if (words.n)
        return usage(&cmd_list, err, "token list takes no words");
    r = call(cli, "Tokens", &q.base, &trimtab__v1__tokens_response__descriptor,
             (ProtobufCMessage **)&m, 0, err);
    if (!r)
        r = call_rest(cli, "Tokens", &q.base, "tokens", 0, &m->base, err);
    if (r)
        return r;
    if (cli->output == OUTPUT_JSON)
        return print_json(&m->base, err);
    for (size_t i = 0; i < m->n_tokens; i++)
        list_row(cli, &t, m->tokens[i]);
    if (cli->output == OUTPUT_TABLE)
        table_print(&t);
    return 0;
}

static const struct command cmd_list = {
    "list", "token list",
    "lists tokens with expiry and last use at this server since it started", run_list};

/* ---- revoke ---- */

static int run_token_revoke(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct committing how = {.message = ""};
    Trimtab__V1__TokenInfo *old;
    Trimtab__V1__CommitRequest q;
    bool yes = false;
    const struct flag flags[] = {
        {"--message", 'm', "why", &how.message, NULL, NULL, NULL},
        {"--yes", 0, "without a question", NULL, &yes, NULL, NULL},
        {"--dry-run", 0, "only show what would go", NULL, &how.dry_run, NULL, NULL},
    };
    struct words words;
    int r = take_flags(&cmd_token_revoke, flags, ARRAY_LEN(flags), argc, argv, &words, err);

    if (!r)
        r = take_name(&cmd_token_revoke, &words, err);
    if (!r)
        r = find_token(cli, words.at[0], &old, err);
    if (!r)
        r = changes_begin(cli, &q, err);
    if (!r)
        r = document_delete(cli, &q, token_id(cli, old->name), old->version, err);
    if (!r && !yes && !how.dry_run)
        r = commit_ask(cli, &q, old->name, err);
    if (!r)
        r = commit(cli, &q, &how, err);
    if (!r && !how.dry_run)
        tell_of_grants(cli, old->name, "stay, and would hold for a new token of that name");
    return r;
}

static const struct command cmd_token_revoke = {
    "revoke", "token revoke NAME [-m WHY] [--yes] [--dry-run]",
    "ends a token; grants to it stay", run_token_revoke};

/* ---- the command ---- */

static const struct command *const subs[] = {&cmd_create, &cmd_list, &cmd_token_revoke,
                                             &cmd_rotate};

void token_complete(const char *begin)
{
    for (size_t i = 0; i < ARRAY_LEN(subs); i++)
        if (str_starts(str_c(subs[i]->name), str_c(begin)))
            (void)printf("%s\n", subs[i]->name);
}

static int run_token(struct cli *cli, int argc, char **argv, struct err *err)
{
    if (argc < 2)
        return usage(&cmd_token, err, "token takes a subcommand");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        (void)printf("usage: trimtab %s\n\n%s\n\n", cmd_token.usage, cmd_token.help);
        for (size_t i = 0; i < ARRAY_LEN(subs); i++)
            (void)printf("  %-8s %s\n", subs[i]->name, subs[i]->help);
        return COMMAND_HELPED;
    }
    for (size_t i = 0; i < ARRAY_LEN(subs); i++)
        if (strcmp(subs[i]->name, argv[1]) == 0)
            return subs[i]->run(cli, argc - 1, argv + 1, err);
    return usage(&cmd_token, err, "there is no \"token %s\"", argv[1]);
}

const struct command cmd_token = {"token", "token create|list|revoke|rotate ...",
                                  "secrets by which programs and people are known", run_token};

/*
 * Types of contents: guesses and what they give way to, what is declared and remembered, rules of namespaces, and that all
 * refusals of a commit are told at once.
 */
#include "unit/commits.h"

#include "codec/evidence.h"
#include "model/content.h"
#include "model/guess.h"

/* One change; content NULL deletes. */
struct put {
    const char *id, *content, *type;
    bool as_is;
};

static struct change change_of(const struct put *p)
{
    return (struct change){.id = str_c(p->id),
                           .delete = !p->content,
                           .keep_meta = true,
                           .content = str_c(p->content),
                           .content_type = str_c(p->type),
                           .as_is = p->as_is};
}

/* What was looked at beforehand comes to the same. */
static void check_look(const struct state *s, struct change c)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct change looked = c;
    struct change_plan plan = {.number = 0}, plan_looked = {.number = 0};
    struct err err = ERR_NULL, err_looked = ERR_NULL;
    int r = commit_check(s, &(struct commit){.changes = &c, .n = 1}, &plan, &a, &err);

    if (!c.delete)
        content_look(s, &looked, &a);
    CHECK(c.delete || looked.verdict);
    CHECK_I64(commit_check(s, &(struct commit){.changes = &looked, .n = 1}, &plan_looked, &a,
                           &err_looked),
              r);
    CHECK_STR(str_c(err_looked.text), str_c(err.text));
    CHECK_STR(str_c(err_looked.hint), str_c(err.hint));
    CHECK_U64(err_looked.column, err.column);
    CHECK_STR(plan_looked.content_type, plan.content_type);
    CHECK_STR(plan_looked.type_against, plan.type_against);
    CHECK_STR(plan_looked.type_seen, plan.type_seen);
}

static int put(struct state **s, struct put p, struct err *err)
{
    struct change c = change_of(&p);

    check_look(*s, c);
    return commit_to(s, &(struct commit){.changes = &c, .n = 1, .author = STR("ann")}, err);
}

static const struct version *newest(const struct state *s, const char *id)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct name name;

    if (!CHECK_I64(name_parse(str_c(id), &name, NULL), 0))
        return NULL;
    name_put_key(name, &key);
    return state_newest(s, buf_str(&key));
}

/* "declared text/plain not application/json" */
static void check_type(const struct state *s, const char *id, const char *want)
{
    const struct version *v = newest(s, id);
    owned(buf) struct buf got = BUF_NULL(KIB);

    if (!CHECK(v))
        return;
    buf_printf(&got, "%s %.*s", type_origin_name(v->type_origin), STR_ARG(v->content_type));
    if (v->type_against.len)
        buf_printf(&got, " not %.*s", STR_ARG(v->type_against));
    if (!CHECK_STR(buf_str(&got), str_c(want)))
        tap_note("%s", id);
}

static const char mine[] = "a/b/file/x.json", wrong[] = "{\"a\": [1, 2}";

TEST("a guess is a guess, and what is declared is declared")
{
    owned(state_unref) struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, (struct put){mine, "1", NULL, false}, &err), 0);
    check_type(s, mine, "guessed application/json");
    CHECK_I64(put(&s, (struct put){mine, "1", "application/json", false}, &err), 0);
    check_type(s, mine, "declared application/json");
    CHECK_U64(newest(s, mine)->number, 2); /* the same content, but now somebody said it */
    CHECK_I64(put(&s, (struct put){mine, "1", NULL, false}, &err), 0);
    CHECK_U64(newest(s, mine)->number, 2);
    CHECK_I64(put(&s, (struct put){"a/b/file/x.conf", "{", NULL, false}, &err), 0);
    check_type(s, "a/b/file/x.conf", "guessed text/plain");
    CHECK_I64(put(&s, (struct put){"a/b/file/y.bin", "\xff", NULL, false}, &err), 0);
    check_type(s, "a/b/file/y.bin", "guessed application/octet-stream");
    CHECK_I64(put(&s, (struct put){"a/b/file/c.jsonc", "1 // c", NULL, false}, &err), 0);
    check_type(s, "a/b/file/c.jsonc", "guessed application/jsonc");
}

TEST("a guess that is wrong is refused with the type and the way out, also behind as_is where "
     "it means nothing")
{
    static const struct put rows[] = {
        {mine, wrong, NULL, false},
        {"a/b/file/x.yaml", "a: [1, 2", NULL, false},
        {"a/b/file/x.toml", "a = [1, 2", NULL, false},
        {"a/b/file/x.xml", "<a><b></a>", NULL, false},
        {"a/b/file/x.properties", "a=1\na=2", NULL, false},
        {"a/b/file/x.ini", "[a", NULL, false},
        /* markers where the format allows them are no evidence */
        {mine, "{\"a\": \"{{ x }}\", \"b\": [1, 2}", NULL, false},
        {mine, "{\"a\": \"${x}\", \"b\": [1, 2}", NULL, false},
        {mine, "{\"// a\": 1,}", NULL, false},
        {mine, "{\"a\": 1, // c\n", NULL, false},
        {"a/b/file/x.yaml", "a: '{{ x }}'\nb: [1, 2", NULL, false},
        {"a/b/file/x.yaml", "a: use {{ x }} here\nb: [1, 2", NULL, false},
        {"a/b/file/x.yaml", "t: |\n  {{ define \"x\" }}\nb: [1, 2", NULL, false},
        {"a/b/file/x.toml", "a = \"${x}\"\nb = [1, 2", NULL, false},
        {"a/b/file/x.xml", "<a>{{ x }}<b></a>", NULL, false},
        {"a/b/file/x.properties", "a={{ x }}\nb=1\nb=2", NULL, false},
    };
    owned(state_unref) struct state *s = state_new();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct name name;
        struct str guess;
        struct err err;
        int r = put(&s, rows[i], &err);

        REQUIRE(name_parse(str_c(rows[i].id), &name, NULL) == 0);
        guess = content_type_guess(name.kind, name.name, STR(""));
        tap_check(r == ERR_INVALID && str_starts(str_c(err.hint), guess) &&
                      strstr(err.hint, "--as-is") && strstr(err.hint, "--type") && err.line,
                  __FILE__, __LINE__, "%s %s: %d %s; %s", rows[i].id, rows[i].content, r,
                  err.text, err.hint);
    }
    CHECK_U64(s->revision, 0);
    struct err err;

    CHECK_I64(put(&s, (struct put){"a/b/item/x", "{", NULL, true}, &err), ERR_INVALID);
    CHECK_STR(str_c(err.hint), STR(""));
    CHECK_I64(put(&s, (struct put){"a/b/item/x", "12345678901234567890", NULL, false}, &err),
              ERR_INVALID);
    CHECK_U64(err.column, 1);
    CHECK_I64(put(&s, (struct put){mine, "{", "text/json", true}, &err), ERR_INVALID);
    CHECK_STR(str_c(err.hint), STR(""));
    CHECK_I64(put(&s, (struct put){mine, "{", "application/vnd.x.yaml", false}, &err),
              ERR_INVALID);
}

TEST("a guess gives way to evidence, and is made anew with every content")
{
    static const struct {
        const char *id, *content, *want;
    } rows[] = {
        {mine, "{ // c\n\"a\": 1,}", "guessed application/jsonc not application/json"},
        {mine, "/* c */ 1", "guessed application/jsonc not application/json"},
        {mine, "{\"a\": {{ x }}}", "guessed text/x-template not application/json"},
        {mine, "{\"a\": ${PORT}}", "guessed text/x-template not application/json"},
        {mine, "{% if x %}{}{% endif %}", "guessed text/x-template not application/json"},
        {mine, "{\"a\": 2}", "guessed application/json"},
        {"a/b/file/x.yaml", "{{- if .x }}\na: 1\n{{- end }}\n",
         "guessed text/x-template not application/yaml"},
        {"a/b/file/x.yaml", "a: {{ .x }}-{{ .y }}\n",
         "guessed text/x-template not application/yaml"},
        {"a/b/file/x.yaml", "a: 1\n{% if x %}\nb: 1\n{% endif %}\n",
         "guessed text/x-template not application/yaml"},
        {"a/b/file/x.yaml", "a: ${x}\n", "guessed application/yaml"},
        {"a/b/file/x.toml", "a = {{ x }}\n", "guessed text/x-template not application/toml"},
        {"a/b/file/x.toml", "{% for x in y %}\na = 1\n",
         "guessed text/x-template not application/toml"},
        {"a/b/file/x.toml", "a = ${x}\n", "guessed text/x-template not application/toml"},
        {"a/b/file/x.xml", "<a {{ x }}/>", "guessed text/x-template not application/xml"},
        {"a/b/file/x.xml", "{% if x %}<a/>", "guessed text/x-template not application/xml"},
        {"a/b/file/x.xml", "<a>{{ x && y }}</a>",
         "guessed text/x-template not application/xml"},
        {"a/b/file/x.properties", "{% if a %}\nx=1\n{% else %}\nx=2\n{% endif %}\n",
         "guessed text/x-template not text/x-java-properties"},
    };
    owned(state_unref) struct state *s = state_new();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        int r = put(&s, (struct put){rows[i].id, rows[i].content, NULL, false}, &err);

        tap_check(r == 0, __FILE__, __LINE__, "%s: %s", rows[i].content, err.text);
        check_type(s, rows[i].id, rows[i].want);
    }
}

TEST("what was seen is told: the comment or the marker, and its line")
{
    static const struct {
        const char *content, *want;
    } rows[] = {
        {"{\n \"//\": 1, // c\n}", "a comment in line 2"},
        {"{\n\"a\": {{ .x }}}", "{{ .x }} in line 2"},
        {"{\"a\": ${x}}", "${x} in line 1"},
        {"{\"a\": {% a\xc3\xa9"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa %}}",
         "{% a\xc3\xa9"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa in line 1"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct change c = change_of(&(struct put){mine, rows[i].content, NULL, false});
        owned(arena) struct arena a = ARENA_NULL;
        owned(state_unref) struct state *s = state_new();
        struct change_plan plan;
        struct err err = ERR_NULL;

        CHECK_I64(commit_check(s, &(struct commit){.changes = &c, .n = 1}, &plan, &a, &err), 0);
        CHECK_STR(plan.type_seen, str_c(rows[i].want));
    }
}

TEST("what is taken as it is stays text, also over a deletion, and stays marked")
{
    owned(state_unref) struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, (struct put){mine, wrong, NULL, true}, &err), 0);
    check_type(s, mine, "declared text/plain not application/json");
    CHECK_I64(put(&s, (struct put){mine, "{\"a\": [1, 2, 3}", NULL, false}, &err), 0);
    check_type(s, mine, "declared text/plain not application/json");
    CHECK_I64(put(&s, (struct put){mine, "{}", NULL, false}, &err), 0);
    check_type(s, mine, "declared text/plain");
    CHECK_I64(put(&s, (struct put){mine, NULL, NULL, false}, &err), 0);
    CHECK_I64(put(&s, (struct put){mine, wrong, NULL, false}, &err), 0);
    check_type(s, mine, "declared text/plain not application/json");
    CHECK_I64(put(&s, (struct put){mine, "{", "application/json", false}, &err), ERR_INVALID);
    CHECK_I64(put(&s, (struct put){mine, "{}", "application/json", false}, &err), 0);
    check_type(s, mine, "declared application/json");
    CHECK_I64(put(&s, (struct put){mine, wrong, NULL, false}, &err), ERR_INVALID);
    /* a good content stays what it was guessed to be */
    CHECK_I64(put(&s, (struct put){"a/b/file/y.json", "1", NULL, true}, &err), 0);
    check_type(s, "a/b/file/y.json", "guessed application/json");
    CHECK_I64(put(&s, (struct put){"a/b/file/y.json", NULL, NULL, false}, &err), 0);
    CHECK_I64(put(&s, (struct put){"a/b/file/y.json", wrong, NULL, false}, &err), ERR_INVALID);
    CHECK_I64(put(&s, (struct put){"a/b/file/y.json", "\xff", NULL, true}, &err), 0);
    check_type(s, "a/b/file/y.json", "declared application/octet-stream not application/json");
    /* only of files: what Trimtab itself reads is read by what it says each time */
    CHECK_I64(put(&s, (struct put){"a/b/item/z", "1", "text/json", false}, &err), 0);
    CHECK_I64(put(&s, (struct put){"a/b/item/z", NULL, NULL, false}, &err), 0);
    CHECK_I64(put(&s, (struct put){"a/b/item/z", "1", NULL, false}, &err), 0);
    check_type(s, "a/b/item/z", "guessed application/json");
}

TEST("a type that is declared against the guess is marked only when the guess was wrong")
{
    owned(state_unref) struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, (struct put){mine, wrong, "text/plain; charset=utf-8", false}, &err), 0);
    check_type(s, mine, "declared text/plain; charset=utf-8 not application/json");
    CHECK_I64(put(&s, (struct put){mine, "{}", "text/plain", false}, &err), 0);
    check_type(s, mine, "declared text/plain");
    CHECK_I64(put(&s, (struct put){"a/b/file/x.yml", "a: 1", "text/x-yaml", false}, &err), 0);
    check_type(s, "a/b/file/x.yml", "declared text/x-yaml");
}

TEST("a rule of the namespace is strict or lenient, and strict is stronger")
{
    owned(state_unref) struct state *s = state_new();
    struct err err;

    CHECK_I64(
        put(&s,
            (struct put){"trimtab/guess/a",
                         "{\"namespaces\": [\"a/*\"], \"policy\": \"strict\"}", NULL, false},
            &err),
        0);
    CHECK_I64(put(&s,
                  (struct put){"trimtab/guess/b",
                               "{\"namespaces\": [\"l\", \"a/b\"], \"policy\": \"lenient\"}",
                               NULL, false},
                  &err),
              0);
    CHECK_I64(put(&s, (struct put){mine, wrong, NULL, true}, &err), ERR_INVALID);
    CHECK(strstr(err.hint, "strict"));
    CHECK_I64(put(&s, (struct put){mine, "1 // c", NULL, false}, &err), ERR_INVALID);
    CHECK_I64(put(&s, (struct put){mine, wrong, "text/plain", false}, &err), 0);
    check_type(s, mine, "declared text/plain not application/json");
    CHECK_I64(put(&s, (struct put){"l/file/x.json", wrong, NULL, false}, &err), 0);
    check_type(s, "l/file/x.json", "guessed text/plain not application/json");
    CHECK_I64(put(&s, (struct put){"l/file/x.json", "{}", NULL, false}, &err), 0);
    check_type(s, "l/file/x.json", "guessed application/json");
    CHECK_I64(put(&s, (struct put){"l/file/y.json", wrong, NULL, true}, &err), 0);
    check_type(s, "l/file/y.json", "declared text/plain not application/json");
    CHECK_I64(put(&s, (struct put){"l/m/file/x.json", wrong, NULL, false}, &err), ERR_INVALID);
    CHECK_I64(put(&s, (struct put){"trimtab/guess/b", NULL, NULL, false}, &err), 0);
    CHECK_I64(put(&s, (struct put){"l/file/x.json", wrong, NULL, false}, &err), ERR_INVALID);
}

TEST("a rule that is none is refused")
{
    static const char *const rules[] = {
        "1",
        "{}",
        "{\"policy\": \"strict\"}",
        "{\"namespaces\": [], \"policy\": \"strict\"}",
        "{\"namespaces\": [\"a\"]}",
        "{\"namespaces\": [\"a\"], \"policy\": \"loose\"}",
        "{\"namespaces\": [1], \"policy\": \"strict\"}",
        "{\"namespaces\": \"a\", \"policy\": \"strict\"}",
        "{\"namespaces\": [\"a\"], \"policy\": true}",
        "{\"namespaces\": [\"a\"], \"policy\": \"strict\", \"x\": 1}",
    };
    owned(state_unref) struct state *s = state_new();

    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct err err;
        int r = put(&s, (struct put){"trimtab/guess/a", rules[i], NULL, false}, &err);

        tap_check(r == ERR_INVALID, __FILE__, __LINE__, "%s: %d", rules[i], r);
    }
}

TEST("all changes that are refused are told, and nothing is committed")
{
    static const struct put rows[] = {{"a/b/file/good.json", "1", NULL, false},
                                      {"a/b/file/x.json", "{", NULL, false},
                                      {"a/b/file/x.toml", "a = 1\nb =", NULL, false},
                                      {"a/b/file/gone", NULL, NULL, false},
                                      {"a/b/file/x.yaml", "a: [", NULL, false}};
    struct change changes[ARRAY_LEN(rows)];
    struct change_plan plans[ARRAY_LEN(rows)];
    struct commit c = {.changes = changes, .n = ARRAY_LEN(rows)};
    owned(state_unref) struct state *s = state_new();
    owned(arena) struct arena a = ARENA_NULL;
    struct err err = ERR_NULL;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        changes[i] = change_of(&rows[i]);
    CHECK_I64(commit_check(s, &c, plans, &a, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("a/b/file/x.json"));
    CHECK_U64(err.line, 1);
    if (CHECK_U64(c.n_refused, 4)) {
        CHECK_STR(c.refused[1].id, STR("a/b/file/x.toml"));
        CHECK_U64(c.refused[1].line, 2);
        CHECK(str_starts(c.refused[1].hint, STR("application/toml was guessed")));
        CHECK_I64(c.refused[2].code, ERR_NOT_FOUND);
        CHECK_STR(c.refused[3].id, STR("a/b/file/x.yaml"));
    }
    CHECK(strstr(err.text, "also refused: a/b/file/x.toml:2:"));
    CHECK(strstr(err.text, "a/b/file/x.yaml:1:"));
}

TEST("of very many refusals the first thousand are kept, and the story says how many there are "
     "more")
{
    enum { MANY = 1500 };
    static struct change changes[MANY];
    static struct change_plan plans[MANY];
    static char ids[MANY][40];
    struct commit c = {.changes = changes, .n = MANY};
    owned(state_unref) struct state *s = state_new();
    owned(arena) struct arena a = ARENA_NULL;
    struct err err = ERR_NULL;

    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(ids[i], sizeof(ids[i]), "a/b/file/x%zu.json", i);
        changes[i] = change_of(&(struct put){ids[i], "{", NULL, false});
    }
    CHECK_I64(commit_check(s, &c, plans, &a, &err), ERR_INVALID);
    CHECK_U64(c.n_refused, REFUSED_MAX);
    CHECK(strstr(err.text, " more") && strlen(err.text) < ERR_TEXT_MAX);
    c.n = 1;
    changes[0].content = STR("{}");
    CHECK_I64(commit_check(s, &c, plans, &a, &err), 0);
    CHECK_U64(c.n_refused, 0); /* asked again, what was refused before is forgotten */
}

TEST("memory that runs out is told, and no guess gives way for it")
{
    struct change c = change_of(&(struct put){mine, "{ // c\n\"a\": 1}", NULL, true});
    struct state *s = state_new();
    struct change_plan plan;
    int r = 0;

    ALLOC_SWEEP (n) {
        owned(arena) struct arena a = ARENA_NULL;

        r = commit_check(s, &(struct commit){.changes = &c, .n = 1}, &plan, &a, NULL);
        if (r ? r != ERR_NOMEM : !str_eq(plan.content_type, STR("application/jsonc")))
            break;
    }
    CHECK_I64(r, 0);
    CHECK_STR(plan.content_type, STR("application/jsonc"));
    (void)state_unref(s);
}

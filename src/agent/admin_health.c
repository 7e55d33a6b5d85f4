/*
 * /v1/health of the admin listener: what the judges say, and the word of a caller.
 *
 * Whoever says that this host fails can stop a rollout, so that takes the token of admin_token_file, on loopback too (I11).
 */
#include "agent/admin.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"

#include <unistd.h>

enum { BODY_MAX = 16 * 1024, TOKEN_BYTES = 24, TOKEN_DIGITS = 48, TOKEN_FILE_MAX = 1024 };

/* ---- answers ---- */

void admin_answer_json(struct exchange *x, json_t *j)
{
    char *dump = json_dumps(j, JSON_INDENT(2));
    struct err err = ERR_NULL;

    if (dump) {
        (void)exchange_respond_text(x, 200, "application/json", str_c(dump));
    } else {
        (void)err_set(&err, ERR_NOMEM, "out of memory");
        (void)exchange_respond_err(x, &err);
    }
    free(dump); /* jansson's own memory */
    json_decref(j);
}

/* ---- the token ---- */

static int make_token(const char *path, struct err *err)
{
    unsigned char bytes[TOKEN_BYTES];
    char text[TOKEN_DIGITS + 1]; /* a line feed in place of the NUL */

    if (random_bytes(bytes, sizeof(bytes)))
        return err_set(err, ERR_IO, "the system has no random bytes");
    hex_encode(bytes, sizeof(bytes), text);
    text[TOKEN_DIGITS] = '\n';
    return file_replace(path, str_of(text, sizeof(text)), 0600, err);
}

int admin_open_token(struct agent *a, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(TOKEN_FILE_MAX);
    const char *path = config_admin_token_file(&a->config, &a->arena);
    struct str token;
    int r;

    if (arena_failed(&a->arena))
        return err_set(err, ERR_NOMEM, "out of memory");
    r = access(path, F_OK) == 0 ? 0 : make_token(path, err);
    if (!r)
        r = file_read(path, &text, err);
    if (r)
        return r;
    token = str_trim(buf_str(&text));
    if (!token.len || memchr(token.data, '\n', token.len))
        return err_set(err, ERR_INVALID, "%s must hold one token", path);
    a->admin_token = sha256_of(token);
    return 0;
}

/* Hashes are compared: how long that takes says nothing about the token. */
static bool is_allowed(const struct agent *a, const struct exchange *x)
{
    struct str given = exchange_header(x, "authorization");
    struct sha256 hash;

    if (!str_eq_nocase(str_part(given, 0, 7), STR("bearer ")))
        return false;
    hash = sha256_of(str_trim(str_from(given, 7)));
    return sha256_eq(&hash, &a->admin_token);
}

/* ---- what it is ---- */

static const char *state_name(enum verdict_state s)
{
    static const char *const names[] = {"unjudged", "well", "failing"};

    return names[s];
}

static json_t *probe_json(const struct probe_state *s)
{
    json_t *j = json_object();

    (void)json_object_set_new(j, "name", json_string(s->name));
    (void)json_object_set_new(j, "kind", json_string(s->kind));
    (void)json_object_set_new(j, "state", json_string(state_name(s->verdict->state)));
    (void)json_object_set_new(j, "revision", json_integer((json_int_t)s->verdict->revision));
    (void)json_object_set_new(j, "reason", json_string(s->verdict->reason));
    (void)json_object_set_new(j, "probes", json_integer((json_int_t)s->n_probes));
    (void)json_object_set_new(j, "probes_failed", json_integer((json_int_t)s->n_failed));
    return j;
}

json_t *admin_health_json(const struct agent *a)
{
    json_t *j = json_object(), *list = json_array();
    struct sync_judgement sum;
    bool is_judged = prober_sum(a->prober, &sum);

    (void)json_object_set_new(j, "judged", json_boolean(is_judged));
    (void)json_object_set_new(j, "failing", json_boolean(sum.failing));
    (void)json_object_set_new(j, "revision",
                              json_integer(is_judged ? (json_int_t)sum.revision : 0));
    (void)json_object_set_new(j, "reason", json_string(sum.reason));
    (void)json_object_set_new(j, "source", json_string(sum.source));
    for (size_t i = 0; i < prober_count(a->prober); i++) {
        struct probe_state state = prober_at(a->prober, i);

        (void)json_array_append_new(list, probe_json(&state));
    }
    (void)json_object_set_new(j, "judges", list);
    return j;
}

/* ---- what is said ---- */

static int bad_body(struct err *err, const char *text)
{
    (void)err_set(err, ERR_INVALID, "%s", text);
    err_hint(err, "write {\"failing\": true, \"reason\": \"...\"}");
    return ERR_INVALID;
}

static int take_word(struct agent *a, struct str body, struct err *err)
{
    json_error_t where;
    json_t *j =
        json_loadb(body.data ? body.data : "", body.len, JSON_REJECT_DUPLICATES, &where);
    const json_t *failing = json_object_get(j, "failing"),
                 *reason = json_object_get(j, "reason");
    size_t known = (failing ? 1u : 0u) + (reason ? 1u : 0u);
    int r = 0;

    if (!json_is_object(j))
        r = bad_body(err, "the body is not a JSON object");
    else if (!json_is_boolean(failing))
        r = bad_body(err, "failing must be true or false");
    else if (reason && !json_is_string(reason))
        r = bad_body(err, "reason must be a string");
    else if (json_object_size(j) != known)
        r = bad_body(err, "there are only failing and reason");
    else
        r = prober_say(a->prober, json_is_true(failing),
                       str_of(json_string_value(reason), json_string_length(reason)), err);
    json_decref(j);
    return r;
}

static void on_body(struct exchange *x, void *ctx, int r, struct str body)
{
    struct agent *a = ctx;
    struct err err = ERR_NULL;

    if (r)
        return; /* answered already */
    r = take_word(a, body, &err);
    if (r)
        (void)exchange_respond_err(x, &err);
    else
        admin_answer_json(x, admin_health_json(a));
}

void admin_health_post(struct agent *a, struct exchange *x)
{
    struct err err = ERR_NULL;

    if (is_allowed(a, x)) {
        exchange_read_body(x, BODY_MAX, on_body, a);
        return;
    }
    (void)err_set(&err, ERR_UNAUTHENTICATED, "this takes the agent's admin token");
    err_hint(&err, "send the content of admin_token_file as a bearer token");
    (void)exchange_respond_err(x, &err);
}

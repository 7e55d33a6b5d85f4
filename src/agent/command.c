/*
 * Commands to the agent that runs here: one request to its admin listener. See command.h.
 */
#include "agent/command.h"

#include "base/file.h"
#include "net/fetch.h"

#include <jansson.h>

enum { ANSWER_MAX = 256 * 1024, ANSWER_WITHIN_MS = 10000, FILE_MAX = 1024 };

/* How it went. */
struct talk {
    struct err err;
    bool is_done;
};

/* ---- the words ---- */

static int usage(struct err *err, const char *text)
{
    (void)err_set(err, ERR_INVALID, "%s", text);
    err_hint(err, "trimtab-agent health ok, or trimtab-agent health failing [-m REASON]");
    return ERR_INVALID;
}

static int read_words(const struct config *c, bool *ret_failing, const char **ret_reason,
                      struct err *err)
{
    bool has_reason = c->n_words == 4 && strcmp(c->words[2], "-m") == 0;

    if (c->n_words < 2)
        return usage(err, "health takes ok or failing");
    *ret_failing = strcmp(c->words[1], "failing") == 0;
    *ret_reason = has_reason ? c->words[3] : "";
    if (!*ret_failing && strcmp(c->words[1], "ok") != 0)
        return usage(err, "health takes ok or failing");
    if (c->n_words > 2 && (!has_reason || !*ret_failing))
        return usage(err, "only health failing takes more, -m and a reason");
    if (!str_is_utf8(str_c(*ret_reason)))
        return usage(err, "the reason is not UTF-8");
    return 0;
}

/* ---- the way to the agent ---- */

/* The one word that a file holds. */
static int read_word(const char *path, struct arena *a, const char **ret, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(FILE_MAX);
    int r = file_read(path, &text, err);

    if (r)
        return r;
    *ret = arena_c(a, str_trim(buf_str(&text)));
    return arena_failed(a) ? ERR_NOMEM : 0;
}

static int find_agent(const struct config *c, struct arena *a, struct fetch_opts *o,
                      struct err *err)
{
    const char *path = config_admin_token_file(c, a);
    int r = arena_failed(a) ? ERR_NOMEM : 0;

    if (!*c->admin_listen)
        return err_set(err, ERR_UNSUPPORTED, "the agent has no admin_listen to be reached at");
    o->address = c->admin_listen;
    if (!r && *c->admin_address_file)
        r = read_word(c->admin_address_file, a, &o->address, err);
    return r ? r : read_word(path, a, &o->token, err);
}

static void on_answer(void *ctx, const struct fetch_result *result)
{
    struct talk *t = ctx;

    t->is_done = true;
    if (result->err)
        t->err = *result->err;
    else if (result->status != 200)
        (void)err_set(&t->err, result->status == 401 ? ERR_UNAUTHENTICATED : ERR_REFUSED,
                      "the agent answered: HTTP status %d: %.*s", result->status,
                      STR_ARG(result->body));
}

/* Waits on a loop of its own. */
static int talk(struct fetch_opts *o, struct err *err)
{
    static struct loop loop; /* it must not move */
    struct talk t = {.err = ERR_NULL};
    struct fetch *fetch;
    int r = loop_open(&loop, err);

    if (r)
        return r;
    o->loop = &loop;
    o->done = on_answer;
    o->ctx = &t;
    r = fetch_start(o, &fetch, err);
    while (!r && !t.is_done)
        loop_turn(&loop, LOOP_WAIT);
    loop_close(&loop);
    if (!r && t.err.code) {
        *err = t.err;
        err_place(err, "%s", o->address);
    }
    return r ? r : t.err.code;
}

int command_run(const struct config *config, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct fetch_opts o = {.url = "http://localhost/v1/health",
                           .method = "POST",
                           .body_max = ANSWER_MAX,
                           .timeout_ms = ANSWER_WITHIN_MS};
    const char *reason = "";
    bool failing = false;
    json_t *said;
    char *text;
    int r = read_words(config, &failing, &reason, err);

    if (!r)
        r = find_agent(config, &a, &o, err);
    if (r)
        return r;
    said = json_pack("{s:b, s:s}", "failing", failing, "reason", reason);
    text = json_dumps(said, 0);
    json_decref(said);
    if (!text)
        return err_set(err, ERR_NOMEM, "out of memory");
    o.json = str_c(text);
    r = talk(&o, err);
    free(text); /* jansson's own memory */
    return r;
}

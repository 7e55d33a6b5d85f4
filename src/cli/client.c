/*
 * Reaching the server: contexts, tokens, calls, and waiting for what instances say. See cmd.h.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/settings.h"
#include "base/text.h"
#include "cli/cmd.h"
#include "net/grpc_client.h"
#include "proto/convert.h"

#include <unistd.h>

enum { TOKEN_FILE_MAX = 4096, RESPONSE_MAX = 512 << 20, CONTEXTS_MAX = 1 << 20 };

/* ---- contexts ---- */

struct finding {
    struct cli *cli;
    const char *current;
};

const char *contexts_path(struct arena *a)
{
    const char *home = getenv("HOME"), *config = getenv("XDG_CONFIG_HOME"),
               *own = getenv("TRIMTAB_CONTEXTS");
    char path[4096];

    if (own && *own)
        return own;
    if (config && *config)
        (void)snprintf(path, sizeof(path), "%s/trimtab/contexts", config);
    else
        (void)snprintf(path, sizeof(path), "%s/.config/trimtab/contexts", home ? home : "");
    return arena_c(a, str_c(path));
}

static int find_current(void *ctx, struct str section, struct str label, struct str key,
                        struct str value, struct err *err)
{
    struct finding *f = ctx;

    (void)label;
    (void)err;
    if (section.len == 0 && str_eq(key, STR("current")))
        f->current = arena_c(&f->cli->arena, value);
    return 0;
}

static int take_context(void *ctx, struct str section, struct str label, struct str key,
                        struct str value, struct err *err)
{
    struct finding *f = ctx;
    struct cli *cli = f->cli;
    const struct {
        struct str key;
        const char **field;
    } fields[] = {
        {STR("server"), &cli->server}, {STR("token_file"), &cli->token_file},
        {STR("ca"), &cli->ca},         {STR("cert"), &cli->cert},
        {STR("key"), &cli->key},
    };

    if (!str_eq(section, STR("context")) || !str_eq(label, str_c(f->current)))
        return 0;
    if (!key.len) { /* the section line */
        cli->context = f->current;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (str_eq(key, fields[i].key)) {
            if (!*fields[i].field)
                *fields[i].field = arena_c(&cli->arena, value);
            return 0;
        }
    return err_set(err, ERR_INVALID, "a context has no \"%.*s\"", STR_ARG(key));
}

int context_apply(struct cli *cli, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(CONTEXTS_MAX);
    const char *path = contexts_path(&cli->arena), *wanted = cli->context;
    struct finding f = {cli, wanted};
    int r = file_read(path, &text, NULL);

    if (r == ERR_NOT_FOUND && !wanted)
        return 0;
    if (r)
        return err_set(err, r, "the contexts file %s cannot be read", path);
    if (!wanted)
        r = settings_parse(buf_str(&text), path, find_current, &f, err);
    if (r || !f.current)
        return r;
    cli->context = NULL;
    r = settings_parse(buf_str(&text), path, take_context, &f, err);
    if (!r && !cli->context) {
        (void)err_set(err, ERR_NOT_FOUND, "there is no context \"%s\" in %s", f.current, path);
        err_hint(err, "trimtab context list");
        return ERR_NOT_FOUND;
    }
    return r;
}

/* ---- calls ---- */

static int read_token(struct cli *cli, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(TOKEN_FILE_MAX);
    int r;

    if (cli->token || !cli->token_file)
        return 0;
    r = file_read(cli->token_file, &text, err);
    if (r) {
        err_hint(err, "the token that the server made at its first start is admin.token in its "
                      "data folder");
        return r;
    }
    cli->token = arena_c(&cli->arena, str_trim(buf_str(&text)));
    return 0;
}

int channel_of(struct cli *cli, struct channel_opts *opts, struct tls **ret_tls,
               struct err *err)
{
    static const char *address[1];
    struct tls_client_opts tls = {
        .ca_file = cli->ca, .cert_file = cli->cert, .key_file = cli->key};
    int r = context_apply(cli, err);

    if (!r)
        r = read_token(cli, err);
    if (r)
        return r;
    address[0] = cli->server ? cli->server : "127.0.0.1:7700";
    tls.ca_file = cli->ca;
    tls.cert_file = cli->cert;
    tls.key_file = cli->key;
    *ret_tls = NULL;
    if (cli->ca || strncmp(address[0], "https://", 8) == 0)
        r = tls_client_open(&tls, ret_tls, err);
    if (strncmp(address[0], "https://", 8) == 0)
        address[0] += 8;
    else if (strncmp(address[0], "http://", 7) == 0)
        address[0] += 7;
    *opts = (struct channel_opts){.addresses = address,
                                  .n_addresses = 1,
                                  .tls = *ret_tls,
                                  .token = cli->token,
                                  .user_agent = "trimtab/" TRIMTAB_VERSION,
                                  .seed = clock_now(),
                                  .max_message = RESPONSE_MAX};
    return r;
}

/* protobuf-c on the arena: answers live as long as the command. */
static void *answer_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void answer_free(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

/* What is published is printed byte for byte, and so are differences of it. */
static bool is_published(const ProtobufCFieldDescriptor *f)
{
    return strcmp(f->name, "text") == 0 || strcmp(f->name, "diff") == 0 ||
           strcmp(f->name, "metadata") == 0;
}

static void make_text_plain(char **text, struct arena *a)
{
    owned(buf) struct buf plain = BUF_NULL(RESPONSE_MAX);

    if (text_is_plain(str_c(*text), TEXT_LINES))
        return;
    text_put_plain(&plain, str_c(*text), TEXT_LINES, RESPONSE_MAX);
    if (buf_status(&plain))
        a->failed = true;
    *text = arena_c(a, buf_str(&plain));
}

/* Texts of a message as a terminal may show them. */
static void make_plain(ProtobufCMessage *m, struct arena *a)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        bool is_list = f->label == PROTOBUF_C_LABEL_REPEATED;
        void *at = (char *)m + f->offset;
        size_t n = is_list ? *(size_t *)(void *)((char *)m + f->quantifier_offset) : 1;
        void **list = is_list ? *(void ***)at : at;

        for (size_t j = 0; j < n && !is_published(f); j++) {
            if (f->type == PROTOBUF_C_TYPE_STRING)
                make_text_plain((char **)&list[j], a);
            else if (f->type == PROTOBUF_C_TYPE_MESSAGE && list[j])
                make_plain(list[j], a);
        }
    }
}

ProtobufCMessage *answer_unpack(const struct cli *cli, struct arena *a,
                                const ProtobufCMessageDescriptor *type, struct str bytes)
{
    ProtobufCAllocator allocator = {answer_alloc, answer_free, a};
    ProtobufCMessage *m =
        protobuf_c_message_unpack(type, &allocator, bytes.len, (const uint8_t *)bytes.data);

    if (m && cli->output != OUTPUT_JSON)
        make_plain(m, a);
    return arena_failed(a) ? NULL : m;
}

int call(struct cli *cli, const char *method, const ProtobufCMessage *request,
         const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, uint32_t timeout_ms,
         struct err *err)
{
    owned(shared_unref) struct shared *packed = proto_pack(request, 0);
    owned(buf) struct buf response = BUF_NULL(RESPONSE_MAX);
    char path[64];
    struct channel_opts opts;
    struct tls *tls = NULL;
    struct rpc_opts rpc = {.method = path, .timeout_ms = timeout_ms ? timeout_ms : 30000};
    int r =
        packed ? channel_of(cli, &opts, &tls, err) : err_set(err, ERR_NOMEM, "out of memory");

    if (r)
        return r;
    (void)snprintf(path, sizeof(path), "/trimtab.v1.Admin/%s", method);
    r = channel_call_blocking(&opts, &rpc, shared_str(packed), &response, err);
    tls_close(tls);
    if (r == ERR_UNAVAILABLE)
        err_hint(err, "is trimtabd running at %s? Set --server or TRIMTAB_SERVER",
                 opts.addresses[0]);
    if (r == ERR_UNAUTHENTICATED && !cli->token)
        err_hint(err, "set --token-file or TRIMTAB_TOKEN_FILE; the server's first token is "
                      "admin.token in its data folder");
    if (r)
        return r;
    *ret = answer_unpack(cli, &cli->arena, type, buf_str(&response));
    return *ret ? 0 : err_set(err, ERR_INVALID, "the server's answer cannot be read");
}

/* ---- pages ---- */

struct field {
    void *at;
    size_t *n; /* of a list */
};

static struct field field_of(const ProtobufCMessage *m, const char *name)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);
    char *base = (char *)(uintptr_t)m; /* protobuf-c has no const */

    ASSERT(f != NULL);
    return (struct field){base + f->offset, (size_t *)(void *)(base + f->quantifier_offset)};
}

int page_add(struct cli *cli, ProtobufCMessage *all, const ProtobufCMessage *page,
             const char *list, size_t *cap, struct err *err)
{
    struct field to = field_of(all, list), from = field_of(page, list);
    void **entries = *(void ***)to.at;

    if (*to.n + *from.n > *cap) {
        *cap = MAX(2 * *cap, *to.n + *from.n);
        entries = arena_array(&cli->arena, *cap, sizeof(*entries));
        if (!entries)
            return err_set(err, ERR_NOMEM, "out of memory");
        if (*to.n)
            memcpy(entries, *(void ***)to.at, *to.n * sizeof(*entries));
        *(void ***)to.at = entries;
    }
    if (*from.n)
        memcpy(entries + *to.n, *(void ***)from.at, *from.n * sizeof(*entries));
    *to.n += *from.n;
    return 0;
}

int call_rest(struct cli *cli, const char *method, ProtobufCMessage *request, const char *list,
              uint64_t limit, ProtobufCMessage *all, struct err *err)
{
    char **next = field_of(all, "next").at, **after = field_of(request, "after").at;
    uint32_t *page_limit = field_of(request, "limit").at;
    const size_t *n = field_of(all, list).n;
    size_t cap = *n;
    int r = 0;

    while (!r && **next && (!limit || *n < limit)) {
        ProtobufCMessage *page;

        *after = *next;
        if (limit)
            *page_limit = (uint32_t)MIN(limit - *n, (uint64_t)UINT32_MAX);
        r = call(cli, method, request, all->descriptor, &page, 0, err);
        if (!r)
            r = page_add(cli, all, page, list, &cap, err);
        if (!r)
            *next = *(char **)field_of(page, "next").at;
    }
    return r;
}

const char *request_id(struct cli *cli)
{
    unsigned char bytes[16];
    char hex[33];

    if (random_bytes(bytes, sizeof(bytes)))
        return "";
    hex_encode(bytes, sizeof(bytes), hex);
    return arena_c(&cli->arena, str_c(hex));
}

/* ---- waiting ---- */

static int ask_status(struct cli *cli, const struct awaited *what, uint32_t wait_ms,
                      uint64_t known, Trimtab__V1__StatusResponse **ret, struct err *err)
{
    Trimtab__V1__StatusRequest q = TRIMTAB__V1__STATUS_REQUEST__INIT;

    q.revision = what->revision;
    q.resources = what->resources;
    q.n_resources = what->n_resources;
    q.wait_ms = wait_ms;
    q.known = known;
    return call(cli, "Status", &q.base, &trimtab__v1__status_response__descriptor,
                (ProtobufCMessage **)ret, wait_ms + 10000, err);
}

static void show_progress(const struct cli *cli, const Trimtab__V1__StatusResponse *s,
                          bool is_last)
{
    bool is_terminal = isatty(STDERR_FILENO);
    char unproven[48] = "";

    if (!is_terminal && !is_last)
        return;
    if (s->unproven)
        (void)snprintf(unproven, sizeof(unproven), ", %llu unproven",
                       (unsigned long long)s->unproven);
    say(cli, "%srevision %llu: %llu of %llu applied, %llu refused, %llu pending%s%s",
        is_terminal ? "\r" : "", (unsigned long long)s->revision,
        (unsigned long long)s->applied, (unsigned long long)s->concerned,
        (unsigned long long)s->refused, (unsigned long long)s->pending, unproven,
        is_terminal && !is_last ? "   " : "   \n");
}

static void show_waiting(const struct cli *cli, const Trimtab__V1__StatusResponse *s)
{
    for (size_t i = 0; i < s->n_waiting; i++) {
        const Trimtab__V1__InstanceInfo *w = s->waiting[i];

        say(cli, "  %s: %s%s%s", w->instance->id, w->state, *w->unproven ? ", it " : "",
            w->unproven);
        for (size_t j = 0; j < w->n_refused; j++)
            say(cli, "\n    %s %s: %s%s%s", w->refused[j]->key, w->refused[j]->code,
                w->refused[j]->message, *w->refused[j]->held_by ? " because of " : "",
                w->refused[j]->held_by);
        say(cli, "\n");
    }
}

/* What the last answer comes to. */
static int judge_status(const struct awaited *what, const Trimtab__V1__StatusResponse *s,
                        struct err *err)
{
    unsigned long long revision = s->revision, concerned = s->concerned;

    if (s->refused)
        (void)err_set(err, ERR_REFUSED,
                      "revision %llu is stored, but %llu of %llu instances refused it", revision,
                      (unsigned long long)s->refused, concerned);
    else if (s->pending || s->unproven)
        (void)err_set(err, ERR_TIMEOUT,
                      "revision %llu is stored, but %llu of %llu instances have not %s", revision,
                      (unsigned long long)(s->pending + s->unproven), concerned,
                      s->pending ? "applied it yet" : "proved that they serve it");
    else if (!concerned && !what->allow_none) {
        (void)err_set(err, ERR_TIMEOUT,
                      "revision %llu is stored, but it concerns no connected instance", revision);
        err_hint(err, "is the namespace right? if nobody is to have it yet: --allow-none");
        return ERR_TIMEOUT;
    } else
        return 0;
    err_hint(err, "trimtab status %llu", revision);
    return err->code;
}

int wait_applied(struct cli *cli, const struct awaited *what, struct err *err)
{
    nsec_t end = clock_now() + what->timeout_s * NSEC_PER_S;
    Trimtab__V1__StatusResponse *s = NULL;
    uint64_t known = 0;
    int r;

    for (;;) {
        nsec_t now = clock_now();
        uint64_t left_ms = now < end ? (end - now) / NSEC_PER_MS : 0;

        r = ask_status(cli, what, (uint32_t)MIN(left_ms, 5000u), known, &s, err);
        if (r)
            return r;
        known = s->stamp;
        if (s->pending + s->unproven == 0 || left_ms == 0)
            break;
        show_progress(cli, s, false);
    }
    show_progress(cli, s, true);
    show_waiting(cli, s);
    return judge_status(what, s, err);
}

/* ---- input ---- */

int read_input(const char *path, struct buf *out, struct err *err)
{
    int r = file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, out, err);

    if (r == ERR_LIMIT)
        err_hint(err, "a resource holds at most 8 MiB");
    return r;
}

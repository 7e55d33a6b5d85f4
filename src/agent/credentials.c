/*
 * Token and certificates. See credentials.h.
 */
#include "agent/credentials.h"

#include "base/file.h"
#include "base/log.h"

/* "" for NULL, as settings have it. */
static const char *or_null(const char *text)
{
    return *text ? text : NULL;
}

static void name_files(const struct config *config, const char *files[CREDENTIALS_FILES])
{
    files[0] = config->token_file;
    files[1] = config->tls_ca;
    files[2] = config->tls_cert;
    files[3] = config->tls_key;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Through links: a mounted secret is exchanged by pointing a link elsewhere. What is not there is all zero. */
static void look(const struct config *config, struct stat seen[CREDENTIALS_FILES])
{
    const char *files[CREDENTIALS_FILES];

    name_files(config, files);
    memset(seen, 0, CREDENTIALS_FILES * sizeof(*seen));
    for (size_t i = 0; i < CREDENTIALS_FILES; i++)
        if (*files[i] && stat(files[i], &seen[i]))
            memset(&seen[i], 0, sizeof(seen[i]));
}

/* As ssh does with keys, but that mounted secrets often are so: it is said. */
static void warn_of_readers(const char *path, const struct stat *st)
{
    if (st->st_mode & S_IROTH)
        LOG(WARN, "token_readable", LOG_C("file", path),
            LOG_C("reason", "everybody on this host can read it"),
            LOG_C("instead", "chmod 0600"));
}

static int read_token(struct credentials *c, const struct stat *st, struct err *err)
{
    const char *path = c->config->token_file;
    owned(buf) struct buf text = BUF_NULL(CREDENTIALS_TOKEN_MAX - 1);
    struct str token;
    int r;

    if (!*path)
        return 0;
    r = file_read(path, &text, err);
    if (r)
        return r;
    token = str_trim(buf_str(&text));
    if (!token.len || memchr(token.data, '\n', token.len))
        return err_set(err, ERR_INVALID, "%s must hold one token", path);
    (void)snprintf(c->token, sizeof(c->token), "%.*s", STR_ARG(token));
    warn_of_readers(path, st);
    return 0;
}

static int open_tls(struct credentials *c, struct err *err)
{
    const struct config *config = c->config;
    struct tls_client_opts opts = {.ca_file = or_null(config->tls_ca),
                                   .cert_file = or_null(config->tls_cert),
                                   .key_file = or_null(config->tls_key),
                                   .server_name = or_null(config->tls_server_name)};

    if (!config->tls && !opts.ca_file && !opts.cert_file)
        return 0;
    return tls_client_open(&opts, &c->tls, err);
}

int credentials_open(struct credentials *c, const struct config *config, struct err *err)
{
    int r;

    *c = (struct credentials){.config = config};
    look(config, c->seen);
    r = read_token(c, &c->seen[0], err);
    return r ? r : open_tls(c, err);
}

void credentials_close(struct credentials *c)
{
    tls_close(c->tls);
    c->tls = NULL;
}

int credentials_refresh(struct credentials *c, enum credentials_when when, struct err *err)
{
    struct stat seen[CREDENTIALS_FILES];
    bool is_same = when == CREDENTIALS_WHEN_CHANGED;
    int r;

    look(c->config, seen); /* before they are read: what changes meanwhile is seen next time */
    for (size_t i = 0; i < CREDENTIALS_FILES; i++)
        is_same = is_same && is_same_file(&seen[i], &c->seen[i]);
    if (is_same)
        return CREDENTIALS_SAME;
    r = read_token(c, &seen[0], err);
    if (!r && c->tls)
        r = tls_reload(c->tls, err);
    if (r)
        return r;
    memcpy(c->seen, seen, sizeof(seen));
    return CREDENTIALS_NEW;
}

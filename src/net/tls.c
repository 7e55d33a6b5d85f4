/*
 * TLS contexts on OpenSSL 3. See tls.h.
 *
 * Memory per idle connection is what counts here: buffers are released, there is no session cache (tickets carry
 * the state), and one ticket is enough.
 */
#include "net/tls.h"

#include "base/alloc.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { TICKET_LIFE_S = 3600 };

struct tls {
    pthread_mutex_t lock; /* over ctx */
    SSL_CTX *ctx;
    bool is_server;
    enum tls_client_auth client_auth;
    bool enable_ktls, skip_verify;
    char *cert_file, *key_file, *ca_file, *server_name;
};

static const unsigned char alpn_offer[] = "\x02h2";
static const unsigned char alpn_known[] = "\x02h2\x08http/1.1\x08http/1.0";

/* ---- reading the files ---- */

static const char *openssl_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    return reason ? reason : "unknown reason";
}

static int must_be_readable(const char *path, const char *what, struct err *err)
{
    int r;

    if (access(path, R_OK) == 0)
        return 0;
    r = errno == ENOENT ? ERR_NOT_FOUND : ERR_INVALID;
    err_set(err, r, "cannot read the %s: %s", what, strerror(errno));
    err_place(err, "%s", path);
    return r;
}

static int bad_file(const char *path, struct err *err, const char *text)
{
    err_set(err, ERR_INVALID, "%s (%s)", text, openssl_reason());
    err_place(err, "%s", path);
    ERR_clear_error();
    return ERR_INVALID;
}

static int no_passphrase(char *out, int size, int for_writing, void *ctx)
{
    (void)out;
    (void)size;
    (void)for_writing;
    (void)ctx;
    return 0; /* an encrypted key fails, rather than asking on a terminal that may not be there */
}

static int load_identity(SSL_CTX *ctx, const struct tls *tls, struct err *err)
{
    int r = must_be_readable(tls->cert_file, "certificate", err);

    if (!r)
        r = must_be_readable(tls->key_file, "private key", err);
    if (r)
        return r;
    if (SSL_CTX_use_certificate_chain_file(ctx, tls->cert_file) != 1)
        return bad_file(tls->cert_file, err, "not a usable PEM certificate");
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    if (SSL_CTX_use_PrivateKey_file(ctx, tls->key_file, SSL_FILETYPE_PEM) != 1) {
        if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
            return bad_file(tls->key_file, err,
                            "the private key does not belong to the certificate");
        return bad_file(tls->key_file, err, "not a usable PEM private key without passphrase");
    }
    if (SSL_CTX_check_private_key(ctx) != 1)
        return bad_file(tls->key_file, err,
                        "the private key does not belong to the certificate");
    return 0;
}

static int load_authorities(SSL_CTX *ctx, const struct tls *tls, struct err *err)
{
    STACK_OF(X509_NAME) * names;
    int r;

    if (!tls->ca_file) {
        if (!tls->is_server && SSL_CTX_set_default_verify_paths(ctx) != 1)
            return err_set(err, ERR_IO, "cannot load the system's certificates");
        return 0;
    }
    r = must_be_readable(tls->ca_file, "certificate authority", err);
    if (r)
        return r;
    if (SSL_CTX_load_verify_file(ctx, tls->ca_file) != 1)
        return bad_file(tls->ca_file, err, "not a usable PEM certificate authority");
    if (!tls->is_server)
        return 0;
    names = SSL_load_client_CA_file(tls->ca_file);
    if (!names)
        return bad_file(tls->ca_file, err, "not a usable PEM certificate authority");
    SSL_CTX_set_client_CA_list(ctx, names);
    return 0;
}

/* ---- contexts ---- */

static int choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                           const unsigned char *offered, unsigned int n, void *arg)
{
    unsigned char *chosen;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, ret_len, alpn_known, sizeof(alpn_known) - 1, offered,
                              n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void setup_server(SSL_CTX *ctx, const struct tls *tls)
{
    static const unsigned char id[] = "trimtab";

    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    (void)SSL_CTX_set_session_id_context(ctx, id,
                                         sizeof(id) - 1); /* fails only when too long */
    (void)SSL_CTX_set_num_tickets(ctx, 1);                /* always 1 */
    (void)SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);        /* the former value */
    if (tls->client_auth == TLS_CLIENT_REQUIRED)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    else if (tls->client_auth == TLS_CLIENT_OPTIONAL)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
}

static void setup_common(SSL_CTX *ctx, const struct tls *tls)
{
    (void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION); /* a version that exists */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (tls->enable_ktls)
        SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* the former mode */
}

static int context_make(const struct tls *tls, SSL_CTX **ret_ctx, struct err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(tls->is_server ? TLS_server_method() : TLS_client_method());
    int r = 0;

    if (!ctx)
        return err_set(err, ERR_NOMEM, "cannot make a TLS context");
    setup_common(ctx, tls);
    if (tls->is_server)
        setup_server(ctx, tls);
    else if (SSL_CTX_set_alpn_protos(ctx, alpn_offer, sizeof(alpn_offer) - 1) != 0)
        r = err_set(err, ERR_NOMEM, "cannot make a TLS context");
    if (!tls->is_server && !tls->skip_verify)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (!r && tls->cert_file)
        r = load_identity(ctx, tls, err);
    if (!r)
        r = load_authorities(ctx, tls, err);
    if (r) {
        SSL_CTX_free(ctx);
        return r;
    }
    *ret_ctx = ctx;
    return 0;
}

/* ---- life ---- */

static bool copy_path(char **at, const char *path)
{
    if (!path)
        return true;
    *at = mem_dup(path, strlen(path));
    return *at != NULL;
}

static int tls_make(struct tls *draft, struct tls **ret_tls, struct err *err)
{
    struct tls *tls = NEW(struct tls);
    int r;

    if (!tls)
        return err_set(err, ERR_NOMEM, "no memory for a TLS context");
    tls->is_server = draft->is_server;
    tls->client_auth = draft->client_auth;
    tls->enable_ktls = draft->enable_ktls;
    tls->skip_verify = draft->skip_verify;
    (void)pthread_mutex_init(&tls->lock, NULL); /* cannot fail with default attributes */
    if (!copy_path(&tls->cert_file, draft->cert_file) ||
        !copy_path(&tls->key_file, draft->key_file) ||
        !copy_path(&tls->ca_file, draft->ca_file) ||
        !copy_path(&tls->server_name, draft->server_name))
        r = err_set(err, ERR_NOMEM, "no memory for a TLS context");
    else
        r = context_make(tls, &tls->ctx, err);
    if (r) {
        tls_close(tls);
        return r;
    }
    *ret_tls = tls;
    return 0;
}

/* The drafts below borrow their texts; tls_make copies them. */
static char *borrowed(const char *text)
{
    union {
        const char *in;
        char *out;
    } cast = {.in = text};

    return cast.out;
}

int tls_server_open(const struct tls_server_opts *opts, struct tls **ret_tls, struct err *err)
{
    struct tls draft = {
        .is_server = true,
        .client_auth = opts->client_auth,
        .enable_ktls = opts->enable_ktls,
        .cert_file = borrowed(opts->cert_file),
        .key_file = borrowed(opts->key_file),
        .ca_file = borrowed(opts->client_ca_file),
    };

    if (!opts->cert_file || !opts->key_file)
        return err_set(err, ERR_INVALID,
                       "a TLS server needs a certificate and its private key");
    if (opts->client_auth != TLS_CLIENT_NONE && !opts->client_ca_file)
        return err_set(err, ERR_INVALID,
                       "client certificates need a certificate authority to verify them");
    return tls_make(&draft, ret_tls, err);
}

int tls_client_open(const struct tls_client_opts *opts, struct tls **ret_tls, struct err *err)
{
    struct tls draft = {
        .skip_verify = opts->skip_verify,
        .cert_file = borrowed(opts->cert_file),
        .key_file = borrowed(opts->key_file),
        .ca_file = borrowed(opts->ca_file),
        .server_name = borrowed(opts->server_name),
    };

    if (!opts->cert_file != !opts->key_file)
        return err_set(err, ERR_INVALID,
                       "a client certificate and its private key go together");
    return tls_make(&draft, ret_tls, err);
}

int tls_reload(struct tls *tls, struct err *err)
{
    SSL_CTX *fresh, *old;
    int r = context_make(tls, &fresh, err);

    if (r)
        return r;
    (void)pthread_mutex_lock(&tls->lock); /* fails only on misuse, as does unlock */
    old = tls->ctx;
    tls->ctx = fresh;
    (void)pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(old); /* open connections hold their own reference */
    return 0;
}

void tls_close(struct tls *tls)
{
    if (!tls)
        return;
    SSL_CTX_free(tls->ctx);
    (void)pthread_mutex_destroy(&tls->lock); /* nobody holds it */
    (void)mem_free(tls->cert_file);
    (void)mem_free(tls->key_file);
    (void)mem_free(tls->ca_file);
    (void)mem_free(tls->server_name);
    (void)mem_free(tls);
}

/* ---- sessions ---- */

/* An address is verified against the certificate's addresses, a name against its names (and sent as SNI). */
static bool expect_host(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return true;
    ERR_clear_error();
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, host) == 1;
}

SSL *tls_session(struct tls *tls, const char *host)
{
    SSL *ssl;

    (void)pthread_mutex_lock(&tls->lock); /* fails only on misuse, as does unlock */
    ssl = SSL_new(tls->ctx);
    (void)pthread_mutex_unlock(&tls->lock);
    if (!ssl)
        return NULL;
    if (tls->is_server) {
        SSL_set_accept_state(ssl);
        return ssl;
    }
    SSL_set_connect_state(ssl);
    if (tls->server_name)
        host = tls->server_name;
    if (host && !expect_host(ssl, host)) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

struct str tls_peer_name(SSL *ssl, char out[TLS_NAME_MAX])
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    X509_NAME *subject;
    BIO *memory;
    int n;

    if (!cert || SSL_get_verify_result(ssl) != X509_V_OK)
        return STR_NULL;
    subject = X509_get_subject_name(cert);
    n = X509_NAME_get_text_by_NID(subject, NID_commonName, out, TLS_NAME_MAX);
    if (n > 0 && strlen(out) == (size_t)n) /* a name with a NUL inside pretends to be another */
        return str_of(out, (size_t)n);
    memory = BIO_new(BIO_s_mem());
    if (!memory)
        return STR_NULL;
    (void)X509_NAME_print_ex(memory, subject, 0,
                             XN_FLAG_RFC2253); /* what was printed is what counts */
    n = BIO_read(memory, out, TLS_NAME_MAX);
    (void)BIO_free(memory); /* of a memory buffer: always 1 */
    return n > 0 ? str_of(out, (size_t)n) : STR_NULL;
}

void tls_story(SSL *ssl, struct err *err)
{
    long verdict = SSL_get_verify_result(ssl);
    unsigned long code = ERR_peek_last_error();

    if (verdict != X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE)
        err_set(err, ERR_UNAUTHENTICATED, "the peer's certificate is refused: %s",
                X509_verify_cert_error_string(verdict));
    else if (ERR_GET_REASON(code) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        err_set(err, ERR_UNAUTHENTICATED, "the peer sent no certificate");
    else if (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
        err_set(err, ERR_UNAVAILABLE, "the peer does not speak TLS on this port");
    else if (code)
        err_set(err, ERR_UNAVAILABLE, "TLS failed: %s", openssl_reason());
    else
        err_set(err, ERR_UNAVAILABLE, "the peer closed the connection during TLS");
    ERR_clear_error();
}

/*
 * TLS on the server's port: both protocols, client certificates, and what is said when files or certificates are wrong.
 * The certificates are made anew in the case's folder.
 */
#include "base/file.h"
#include "tap.h"
#include "world.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

static struct world w;

/* ---- certificates ---- */

struct identity {
    EVP_PKEY *key;
    X509 *cert;
    char cert_file[128], key_file[128];
};

static void identity_deinit(struct identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    CHECK(extension && X509_add_ext(cert, extension, -1));
    X509_EXTENSION_free(extension);
}

static void write_files(struct identity *id, const char *name)
{
    FILE *f;

    (void)snprintf(id->cert_file, sizeof(id->cert_file), "%s/%s.crt", tap_tmpdir(), name);
    (void)snprintf(id->key_file, sizeof(id->key_file), "%s/%s.key", tap_tmpdir(), name);
    f = fopen(id->cert_file, "w");
    CHECK(f && PEM_write_X509(f, id->cert) && fclose(f) == 0);
    f = fopen(id->key_file, "w");
    CHECK(f && PEM_write_PrivateKey(f, id->key, NULL, NULL, 0, NULL, NULL) && fclose(f) == 0);
}

/* from and to: seconds from now. by NULL: self-signed, an authority. */
struct validity {
    long from, to;
};

static struct identity make_identity(const char *name, const struct identity *by,
                                     struct validity valid)
{
    struct identity id = {.key = EVP_EC_gen("P-256"), .cert = X509_new()};
    X509_NAME *subject = X509_get_subject_name(id.cert);

    CHECK(X509_set_version(id.cert, 2));
    CHECK(
        ASN1_INTEGER_set(X509_get_serialNumber(id.cert), (long)strlen(name) + (by ? 100 : 1)));
    CHECK(X509_gmtime_adj(X509_getm_notBefore(id.cert), valid.from) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(id.cert), valid.to) != NULL);
    CHECK(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name,
                                     -1, -1, 0));
    CHECK(X509_set_issuer_name(id.cert, by ? X509_get_subject_name(by->cert) : subject));
    CHECK(X509_set_pubkey(id.cert, id.key));
    add_extension(id.cert, by ? by->cert : id.cert, NID_basic_constraints,
                  by ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (by)
        add_extension(id.cert, by->cert, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    CHECK(X509_sign(id.cert, by ? by->key : id.key, EVP_sha256()));
    write_files(&id, name);
    return id;
}

static const struct validity now_valid = {-3600, 3600}, expired = {-7200, -3600};

static struct {
    struct identity ca, server, client, other_ca, foreign, old;
} ids;

static void ids_make(void)
{
    ids.ca = make_identity("ca", NULL, now_valid);
    ids.server = make_identity("server", &ids.ca, now_valid);
    ids.client = make_identity("agent-7", &ids.ca, now_valid);
    ids.other_ca = make_identity("other-ca", NULL, now_valid);
    ids.foreign = make_identity("foreign", &ids.other_ca, now_valid);
    ids.old = make_identity("old", &ids.ca, expired);
}

static void ids_drop(void)
{
    identity_deinit(&ids.ca);
    identity_deinit(&ids.server);
    identity_deinit(&ids.client);
    identity_deinit(&ids.other_ca);
    identity_deinit(&ids.foreign);
    identity_deinit(&ids.old);
}

/* ---- the two ends ---- */

struct ends {
    struct tls *server, *client;
};

static bool ends_open(struct ends *e, enum tls_client_auth auth, const struct identity *client,
                      const char *ca)
{
    struct tls_server_opts server = {.cert_file = ids.server.cert_file,
                                     .key_file = ids.server.key_file,
                                     .client_auth = auth,
                                     .client_ca_file =
                                         auth == TLS_CLIENT_NONE ? NULL : ids.ca.cert_file};
    struct tls_client_opts opts = {.ca_file = ca,
                                   .cert_file = client ? client->cert_file : NULL,
                                   .key_file = client ? client->key_file : NULL};
    struct err err = ERR_NULL;

    *e = (struct ends){NULL, NULL};
    if (tls_server_open(&server, &e->server, &err) ||
        tls_client_open(&opts, &e->client, &err)) {
        tap_note("%s: %s", err.place, err.text);
        return false;
    }
    return world_open(&w, (struct http_server_opts){.tls = e->server},
                      (struct channel_opts){.tls = e->client});
}

static void ends_close(struct ends *e)
{
    world_close(&w);
    tls_close(e->server);
    tls_close(e->client);
    ids_drop();
}

static int whoami(void)
{
    return world_call(&w, &(struct rpc_opts){.method = "/test/WhoAmI"}, STR_NULL);
}

TEST("calls work over TLS, also large ones")
{
    struct shared *big = shared_new(8 * MIB);
    struct ends e;

    ids_make();
    REQUIRE(ends_open(&e, TLS_CLIENT_NONE, NULL, ids.ca.cert_file));
    CHECK_I64(whoami(), GRPC_OK);
    CHECK_STR(buf_str(&w.response), STR("|"));
    for (size_t i = 0; i < big->len; i++)
        big->data[i] = (char)(i * 13);
    CHECK_I64(world_call(&w, &(struct rpc_opts){.method = "/test/Echo"}, shared_str(big)),
              GRPC_OK);
    CHECK(str_eq(buf_str(&w.response), shared_str(big)));
    (void)shared_unref(big);
    ends_close(&e);
}

TEST("a required client certificate names the client; a missing, foreign or expired one is "
     "refused")
{
    const struct identity *clients[] = {NULL, &ids.foreign, &ids.old};
    struct ends e;

    ids_make();
    REQUIRE(ends_open(&e, TLS_CLIENT_REQUIRED, &ids.client, ids.ca.cert_file));
    CHECK_I64(whoami(), GRPC_OK);
    CHECK_STR(buf_str(&w.response), STR("|agent-7"));
    ends_close(&e);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        ids_make();
        REQUIRE(ends_open(&e, TLS_CLIENT_REQUIRED, clients[i], ids.ca.cert_file));
        CHECK_I64(whoami(), GRPC_UNAVAILABLE);
        tap_note("%s", w.err.text);
        CHECK(strstr(w.err.text, "certificate") || strstr(w.err.text, "unknown ca"));
        CHECK_U64(http_server_stats(w.server).requests, 0);
        ends_close(&e);
    }
}

TEST("an optional client certificate may be missing, but not be foreign")
{
    struct ends e;

    ids_make();
    REQUIRE(ends_open(&e, TLS_CLIENT_OPTIONAL, NULL, ids.ca.cert_file));
    CHECK_I64(whoami(), GRPC_OK);
    CHECK_STR(buf_str(&w.response), STR("|"));
    ends_close(&e);
    ids_make();
    REQUIRE(ends_open(&e, TLS_CLIENT_OPTIONAL, &ids.foreign, ids.ca.cert_file));
    CHECK_I64(whoami(), GRPC_UNAVAILABLE);
    ends_close(&e);
}

TEST("a client refuses a server of another authority, and one with another name")
{
    struct tls_client_opts opts = {.server_name = "elsewhere.example"};
    struct channel_opts channel = {0};
    struct tls_server_opts server;
    struct tls *client, *tls;

    struct ends e;

    ids_make();
    REQUIRE(ends_open(&e, TLS_CLIENT_NONE, NULL, ids.other_ca.cert_file));
    CHECK_I64(whoami(), GRPC_UNAVAILABLE);
    CHECK(strstr(w.err.text, "certificate is refused"));
    ends_close(&e);
    ids_make();
    opts.ca_file = ids.ca.cert_file;
    server = (struct tls_server_opts){.cert_file = ids.server.cert_file,
                                      .key_file = ids.server.key_file};
    REQUIRE(tls_client_open(&opts, &client, NULL) == 0 &&
            tls_server_open(&server, &tls, NULL) == 0);
    channel.tls = client;
    REQUIRE(world_open(&w, (struct http_server_opts){.tls = tls}, channel));
    CHECK_I64(whoami(), GRPC_UNAVAILABLE);
    CHECK(strstr(w.err.text, "hostname mismatch") != NULL);
    e = (struct ends){tls, client};
    ends_close(&e);
}

TEST("plain text to a TLS port, and TLS to a plain one, fail with the reason")
{
    struct channel *plain;
    struct ends e;
    const char *address;
    struct channel_opts opts = {.addresses = &address, .n_addresses = 1};
    struct http_server *server;
    struct http_server_opts plain_server = {.address = "127.0.0.1:0"};
    struct err err;
    int before;

    ids_make();
    REQUIRE(ends_open(&e, TLS_CLIENT_NONE, NULL, ids.ca.cert_file));
    address = http_server_address(w.server);
    REQUIRE(channel_open(&w.loop, &opts, &plain, &err) == 0);
    before = w.n_done;
    REQUIRE(channel_unary(plain, &(struct rpc_opts){.method = "/test/Echo"}, STR_NULL,
                          world_done, &w, NULL) == 0);
    WHILE(&w, w.n_done == before);
    CHECK_I64(w.status, GRPC_UNAVAILABLE);
    channel_close(plain, NULL, NULL);
    REQUIRE(http_server_open(&w.loop, &plain_server, &server, &err) == 0);
    address = http_server_address(server);
    opts.tls = e.client;
    REQUIRE(channel_open(&w.loop, &opts, &plain, &err) == 0);
    before = w.n_done;
    REQUIRE(channel_unary(plain, &(struct rpc_opts){.method = "/test/Echo"}, STR_NULL,
                          world_done, &w, NULL) == 0);
    WHILE(&w, w.n_done == before);
    CHECK_I64(w.status, GRPC_UNAVAILABLE);
    tap_note("%s", w.err.text);
    CHECK(strstr(w.err.text, "does not speak TLS"));
    channel_close(plain, NULL, NULL);
    http_server_close(server, NULL, NULL);
    ends_close(&e);
}

TEST("files that are missing, mixed up or no PEM are named")
{
    struct tls *tls;
    struct err err = ERR_NULL;
    struct tls_server_opts opts;

    ids_make();
    opts = (struct tls_server_opts){.cert_file = "/nonexistent.crt",
                                    .key_file = ids.server.key_file};
    CHECK_I64(tls_server_open(&opts, &tls, &err), ERR_NOT_FOUND);
    CHECK_STR(str_c(err.place), STR("/nonexistent.crt"));
    opts.cert_file = ids.server.key_file;
    CHECK_I64(tls_server_open(&opts, &tls, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), str_c(ids.server.key_file));
    opts = (struct tls_server_opts){.cert_file = ids.server.cert_file,
                                    .key_file = ids.client.key_file};
    CHECK_I64(tls_server_open(&opts, &tls, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), str_c(ids.client.key_file));
    CHECK(strstr(err.text, "does not belong"));
    opts = (struct tls_server_opts){.cert_file = ids.server.cert_file,
                                    .key_file = ids.server.key_file,
                                    .client_auth = TLS_CLIENT_REQUIRED,
                                    .client_ca_file = ids.ca.key_file};
    CHECK_I64(tls_server_open(&opts, &tls, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), str_c(ids.ca.key_file));
    ids_drop();
}

TEST("a reload takes the new certificate for new connections, and keeps the old one if the new "
     "is bad")
{
    owned(buf) struct buf pem = BUF_NULL(MIB);
    struct ends e;
    struct err err = ERR_NULL;
    int ready;

    ids_make();
    REQUIRE(ends_open(&e, TLS_CLIENT_NONE, NULL, ids.ca.cert_file));
    CHECK_I64(whoami(), GRPC_OK);
    REQUIRE(file_replace(ids.server.cert_file, STR("broken"), 0600, &err) == 0);
    CHECK_I64(tls_reload(e.server, &err), ERR_INVALID);
    ready = w.n_ready;
    channel_reconnect(w.channel);
    WHILE(&w, w.n_ready == ready);
    CHECK_I64(whoami(), GRPC_OK);
    REQUIRE(file_read(ids.foreign.cert_file, &pem, &err) == 0);
    REQUIRE(file_replace(ids.server.cert_file, buf_str(&pem), 0600, &err) == 0);
    buf_clear(&pem);
    REQUIRE(file_read(ids.foreign.key_file, &pem, &err) == 0);
    REQUIRE(file_replace(ids.server.key_file, buf_str(&pem), 0600, &err) == 0);
    CHECK_I64(tls_reload(e.server, &err), 0);
    CHECK_I64(whoami(), GRPC_OK); /* the open connection */
    channel_reconnect(w.channel);
    WHILE(&w, w.n_failed == 0);
    CHECK(strstr(w.story.text, "certificate is refused"));
    ends_close(&e);
}

/*
 * Rights over a snapshot: a server that starts from one has the record that the log had given.
 */
#include "model/lines.h"

#include "model/rights_commit.h"
#include "proto/convert.h"
#include "proto/record.h"

/* Publishes trimtab/KIND/NAME, or deletes it (content NULL). */
static void publish(struct state **s, const char *kind, const char *name, const char *type,
                    const char *content)
{
    owned(buf) struct buf key = BUF_NULL(KIB);
    struct version *v;
    struct state *next;

    put_system_key(&key, kind, name);
    v = version_with_wire(&(struct version_opts){
        .key = buf_str(&key),
        .content_type = str_c(type),
        .content = content ? str_c(content) : STR_NULL,
        .deleted = !content,
        .number = state_number(*s, buf_str(&key)) + 1,
        .revision = (*s)->revision + 1,
        .time_ms = 1000,
    });
    REQUIRE(v != NULL);
    next = state_apply(*s, &(struct effect){.versions = &v, .n_versions = 1}, v->revision);
    (void)version_unref(v);
    REQUIRE(next != NULL);
    (void)state_unref(*s);
    *s = next;
}

static struct state *reloaded(const struct state *s)
{
    struct state *loaded = state_new();
    struct snapshot_walk walk;
    struct shared *part;
    bool failed = false;

    snapshot_walk_init(&walk, s);
    while (loaded && (part = snapshot_part(&walk, 100, &failed))) {
        CHECK_I64(snapshot_apply(shared_str(part), &loaded, NULL), 0);
        (void)shared_unref(part);
    }
    CHECK(!failed);
    return loaded;
}

TEST("a snapshot brings back who may do what, and which tokens there are")
{
    static const char *const type = "application/json";
    owned(buf) struct buf token = BUF_NULL(KIB);
    struct state *s = state_new(), *loaded;
    struct rights_diff d;

    put_token_json(&token, "one", "2027-01-01T00:00:00Z");
    publish(&s, "grant", "ci", type,
            "{\"subject\": \"token:ci\", \"role\": \"publish\", \"namespaces\": [\"shop\"]}");
    publish(&s, "grant", "host", "application/yaml",
            "subject: cert:host\nrole: subscribe\nnamespaces: [shop, bank/eu]\n");
    publish(&s, "grant", "gone", type,
            "{\"subject\": \"token:gone\", \"role\": \"admin\", \"namespaces\": [\"*\"]}");
    publish(&s, "grant", "gone", type, NULL);
    publish(&s, "token", "ci", type, buf_c(&token));
    loaded = reloaded(s);
    REQUIRE(loaded && loaded->rights);
    CHECK(rights_of_subject(loaded->rights, "token:ci", "shop/prod") & RIGHT_TO_PUBLISH);
    CHECK_U64(rights_of_subject(loaded->rights, "cert:host", "bank/eu"), RIGHT_TO_SUBSCRIBE);
    CHECK_U64(rights_of_subject(loaded->rights, "token:gone", ""), RIGHTS_NONE);
    CHECK(token_by_secret(loaded->rights, "one") != NULL);
    CHECK_I64(rights_diff_make(s->rights, loaded->rights, &d), 0);
    CHECK(d.rights.n == 0 && d.tokens.n == 0);
    rights_diff_deinit(&d);
    (void)state_unref(loaded);
    (void)state_unref(s);
}

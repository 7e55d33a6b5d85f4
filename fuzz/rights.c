/*
 * Documents of grants and tokens on any bytes, as JSON and as YAML: whatever is taken gives exactly what it says, and taking
 * it back leaves nothing.
 */
#include "base/buf.h"
#include "model/name.h"
#include "model/rights.h"

static void check_refusal(int r, const struct err *err)
{
    ASSERT(r == ERR_NOMEM || ((r == ERR_INVALID || r == ERR_LIMIT) && err->code == r));
}

static void check_granted(const struct rights *r, const struct grant_doc *g)
{
    struct principal p = {.subject = g->subject};

    for (size_t i = 0; i < grant_n_spaces(g); i++) {
        struct str space = grant_space(g, i);

        ASSERT(!space.len || namespace_check(space, NULL) == 0);
        ASSERT((rights_at(r, &p, space) & g->role->rights) == g->role->rights);
    }
    ASSERT(rights_knows(r, g->subject));
}

static void grants(const struct rights_doc *d)
{
    static const struct str key = STR("trimtab\0grant\0fuzz");
    owned(rights_unref) struct rights *r = NULL;
    owned(grant_doc) struct grant_doc g = GRANT_DOC_NULL;
    struct rights_doc none = {.name = d->name};
    struct err err = ERR_NULL;
    int rc = grant_read(d, &g, &err);

    ASSERT(rights_step(&r, key, &none, d) == 0);
    if (rc) {
        check_refusal(rc, &err);
        ASSERT(!r->grants);
        return;
    }
    check_granted(r, &g);
    ASSERT(rights_step(&r, key, d, &none) == 0 && !r->grants);
}

static void tokens(const struct rights_doc *d)
{
    static const struct str key = STR("trimtab\0token\0fuzz");
    owned(rights_unref) struct rights *r = NULL;
    struct rights_doc none = {.name = d->name};
    struct err err = ERR_NULL;
    struct token_doc t;
    int rc = token_read(d, &t, &err);

    ASSERT(rights_step(&r, key, &none, d) == 0);
    if (rc) {
        check_refusal(rc, &err);
        ASSERT(!r->tokens);
        return;
    }
    ASSERT(rights_token(r, &t.hash) && rights_token(r, &t.hash)->expires_ms == t.expires_ms);
    ASSERT(rights_token_named(r, d->name) == rights_token(r, &t.hash));
    ASSERT(rights_step(&r, key, d, &none) == 0 && !r->tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_of(size ? (const void *)data : "", size);
    struct rights_doc d = {.name = STR("fuzz"), .content = text, .revision = 1};

    d.content_type = STR("application/json");
    grants(&d);
    tokens(&d);
    d.content_type = STR("application/yaml");
    grants(&d);
    tokens(&d);
    return 0;
}

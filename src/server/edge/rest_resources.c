/*
 * One resource as a thing of HTTP: PUT and DELETE of its content, each a commit, and the bytes themselves.
 */
#include "server/edge/rest_resources.h"

#include "proto/convert.h"
#include "server/edge/answer.h"

/* ---- put and delete: one resource, one commit ---- */

/* What a precondition would tell of a resource is for those who may try to change it. The commit asks for all that it needs. */
static int may_try(struct rest *r, const struct state *newest, const char *id, struct err *err)
{
    struct principal p = identity_principal(&r->who);
    struct name name;
    int rc = name_parse(str_c(id), &name, err);

    return rc ? rc : rights_require(newest->rights, &p, RIGHT_TO_EDIT, name.space, err);
}

static int preconditions(struct rest *r, Trimtab__V1__Change *c, struct err *err)
{
    struct str match = exchange_header(r->x, "if-match");
    struct str none = exchange_header(r->x, "if-none-match");
    struct str based_on = rest_query(r, "based_on");
    owned(state_unref) struct state *newest = hub_newest(r->front->lane->hub);
    int rc = may_try(r, newest, c->id, err);

    if (!rc)
        rc = precondition_judge(newest, match, none, c, err);
    r->has_precondition = match.data || none.data;
    if (rc)
        return rc;
    if (based_on.data &&
        (!str_u64(based_on, &c->based_on) || !c->based_on)) /* 0 would ask for nothing */
        return err_set(err, ERR_INVALID, "based_on must be a version number");
    return 0;
}

static void commit_one(struct rest *r, Trimtab__V1__Change *c)
{
    Trimtab__V1__CommitRequest *q = ARENA_NEW(&r->arena, Trimtab__V1__CommitRequest);
    Trimtab__V1__Change **list = ARENA_NEW(&r->arena, Trimtab__V1__Change *);
    struct err err = ERR_NULL;
    int rc = c && q && list ? 0 : ERR_NOMEM;

    if (q)
        trimtab__v1__commit_request__init(q);
    if (!rc)
        rc = rest_query_flag(r, "dry_run", &q->dry_run, &err);
    if (!rc)
        rc = preconditions(r, c, &err);
    if (rc) {
        if (rc == ERR_CONFLICT)
            r->status = 412;
        rest_fail_with(r, rc, &err);
        return;
    }
    list[0] = c;
    q->changes = list;
    q->n_changes = 1;
    q->message = arena_c(&r->arena, rest_query(r, "message"));
    q->request_id = arena_c(&r->arena, rest_query(r, "request_id"));
    q->override = arena_c(&r->arena, rest_query(r, "override"));
    rest_call(r, rest_method("Commit"), &q->base, API_TEXT, rest_api_done);
}

static Trimtab__V1__Change *change_new(struct rest *r)
{
    Trimtab__V1__Change *c = ARENA_NEW(&r->arena, Trimtab__V1__Change);

    if (!c)
        return NULL;
    trimtab__v1__change__init(c);
    c->id = arena_c(&r->arena, r->rest_of_path);
    return c;
}

void rest_put(struct rest *r)
{
    Trimtab__V1__Change *c = change_new(r);
    struct str type = exchange_header(r->x, "content-type");

    if (c) {
        /* what curl says when it says nothing */
        if (type.data && !str_eq(type, STR("application/x-www-form-urlencoded")))
            c->content_type = arena_c(&r->arena, type);
        c->content = proto_bytes(r->body);
    }
    commit_one(r, c);
}

void rest_delete(struct rest *r)
{
    Trimtab__V1__Change *c = change_new(r);

    if (c)
        c->delete_ = true;
    commit_one(r, c);
}

/* ---- contents: the bytes themselves ---- */

static void contents_done(void *ctx, struct api_call *call)
{
    struct rest *r = ctx;
    const Trimtab__V1__Resource *res = (const Trimtab__V1__Resource *)rest_response(r, call);
    char etag[SHA256_HEX_BYTES + 3], version[24], revision[24];
    struct http_header headers[2];

    if (!res)
        return;
    (void)snprintf(etag, sizeof(etag), "\"%s\"", res->content_hash);
    (void)snprintf(version, sizeof(version), "%llu", (unsigned long long)res->version);
    (void)snprintf(revision, sizeof(revision), "%llu", (unsigned long long)res->revision);
    headers[0] = (struct http_header){STR("trimtab-version"), str_c(version)};
    headers[1] = (struct http_header){STR("trimtab-revision"), str_c(revision)};
    answer_send(r, &(struct answer){.status = 200,
                                    .type = str_c(res->content_type),
                                    .etag = str_c(etag),
                                    .headers = headers,
                                    .n_headers = ARRAY_LEN(headers),
                                    .body = call->bytes.owner
                                                ? call->bytes
                                                : segment_copy(res->content.len
                                                                   ? proto_str(res->content)
                                                                   : str_c(res->text))});
}

void rest_contents(struct rest *r)
{
    Trimtab__V1__GetRequest *q = ARENA_NEW(&r->arena, Trimtab__V1__GetRequest);
    struct str version = rest_query(r, "version"), min = rest_query(r, "min_revision");
    struct err err = ERR_NULL;

    if (!q) {
        (void)err_set(&err, ERR_NOMEM, "out of memory");
        rest_fail(r, &err);
        return;
    }
    trimtab__v1__get_request__init(q);
    q->id = arena_c(&r->arena, r->rest_of_path);
    if ((version.data && !str_u64(version, &q->version)) ||
        (min.data && !str_u64(min, &q->min_revision))) {
        (void)err_set(&err, ERR_INVALID, "version and min_revision are numbers");
        rest_fail(r, &err);
        return;
    }
    rest_call(r, rest_method("Get"), &q->base, API_BYTES, contents_done);
}

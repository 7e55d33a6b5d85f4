/*
 * A request to REST: its parameters, its use case and its answer. See rest.h.
 */
#include "server/edge/rest.h"

#include "proto/convert.h"
#include "proto/inbound.h"
#include "proto/json.h"
#include "server/edge/answer.h"
#include "server/edge/denial.h"
#include "server/edge/precondition.h"
#include "server/use/methods.h"

enum { HEADERS_MAX = 4 };

/* What belongs to a status besides its document (RFC 9110: 15.5.2, 15.5.6, 15.5.16, 10.2.3). */
static size_t status_headers(const struct rest *r, int status, struct http_header *headers)
{
    size_t n = 0;

    if (status == 401)
        headers[n++] =
            (struct http_header){STR("www-authenticate"), STR("Bearer realm=\"trimtab\"")};
    if (status == 405)
        headers[n++] = (struct http_header){STR("allow"), str_c(r->allow)};
    if (status == 415)
        headers[n++] = (struct http_header){STR("accept-encoding"), STR("identity")};
    if (status == 429 || status == 503)
        headers[n++] = (struct http_header){STR("retry-after"), STR("1")};
    return n;
}

/* text NULL: there was no memory for it, unless who asks has it already. */
static void answer_json(struct rest *r, int status, struct shared *text)
{
    static const char no_memory[] = "{\"code\":\"OUT_OF_MEMORY\"}\n";
    struct http_header headers[HEADERS_MAX];
    struct answer answer = {
        .type = STR("application/json"), .etag = str_c(r->etag), .headers = headers};

    if (!text && !(status == 200 && answer_is_known(r, answer.etag)))
        status = 503;
    answer.status = status;
    answer.n_headers = status_headers(r, status, headers);
    answer.body = text ? segment_shared(text) : segment_copy(str_c(no_memory));
    answer_send(r, &answer);
}

void rest_answer(struct rest *r, int status, const ProtobufCMessage *message)
{
    bool is_known = status == 200 && answer_is_known(r, str_c(r->etag));
    struct shared *text = is_known ? NULL : api_text_of(message);

    answer_json(r, status, text);
    (void)shared_unref(text);
}

static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c has no const; it is only read */
}

void rest_fail(struct rest *r, const struct err *err)
{
    Trimtab__V1__Error e = TRIMTAB__V1__ERROR__INIT;

    denial_note(r->front->lane, r->x, err);
    e.code = unconst(err_info(err->code)->name);
    e.message = unconst(err->text);
    e.place = unconst(err->place);
    e.hint = unconst(err->hint);
    e.line = err->line;
    e.column = err->column;
    rest_answer(r, r->status ? r->status : err_info(err->code)->http, &e.base);
}

void rest_fail_with(struct rest *r, int rc, struct err *err)
{
    if (!err->code)
        (void)err_set(err, rc, "out of memory");
    rest_fail(r, err);
}

/* ---- parameters ---- */

/* Percent-decoding (RFC 3986 section 2.1); false for a broken escape or a NUL. */
static bool decode(struct str s, char *out, size_t *ret_len)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char byte = (unsigned char)s.data[i];

        if (s.data[i] == '%') {
            if (i + 3 > s.len || !hex_decode(str_part(s, i + 1, i + 3), &byte, 1))
                return false;
            i += 2;
        }
        if (byte == 0)
            return false;
        out[n++] = (char)byte;
    }
    *ret_len = n;
    return true;
}

struct str rest_decoded(struct rest *r, struct str s)
{
    char *out = arena_alloc(&r->arena, s.len + 1);
    size_t n;

    return out && decode(s, out, &n) ? str_of(out, n) : STR_NULL;
}

/* Whether a part of the address, decoded, is text. */
static int check_text(struct rest *r, struct str part, const char *what, struct err *err)
{
    struct str text = rest_decoded(r, part);

    if (arena_failed(&r->arena))
        return ERR_NOMEM;
    if (!text.data)
        return err_set(err, ERR_INVALID, "the %s has a broken escape", what);
    return str_is_utf8(text) ? 0 : err_set(err, ERR_INVALID, "the %s is not UTF-8", what);
}

int rest_check_address(struct rest *r, struct err *err)
{
    struct str rest = exchange_query(r->x), pair, part;
    int rc = check_text(r, exchange_path(r->x), "path", err);

    while (!rc && rest.len && str_next(&rest, '&', &pair))
        while (!rc && str_next(&pair, '=', &part))
            rc = check_text(r, part, "query", err);
    return rc;
}

struct str rest_query(struct rest *r, const char *name)
{
    struct str rest = exchange_query(r->x), pair;

    while (rest.len && str_next(&rest, '&', &pair)) {
        size_t equals = str_index(pair, '=');

        if (str_eq(str_part(pair, 0, equals), str_c(name)))
            return rest_decoded(r, str_from(pair, equals + 1));
    }
    return STR_NULL;
}

/* A truth value, as 0 or 1; a name alone is true. -1: it is none. */
static int flag_of(struct str value)
{
    if (str_eq(value, STR("true")) || str_eq(value, STR("1")) || value.len == 0)
        return 1;
    return str_eq(value, STR("false")) || str_eq(value, STR("0")) ? 0 : -1;
}

static json_t *typed(const ProtobufCFieldDescriptor *f, struct str value)
{
    uint64_t number;
    int flag;

    /* parameters are texts, numbers and truth values only */
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return json_stringn(value.data ? value.data : "", value.len);
    if (f->type == PROTOBUF_C_TYPE_UINT32 || f->type == PROTOBUF_C_TYPE_UINT64)
        return str_u64(value, &number) && number <= INT64_MAX ? json_integer((json_int_t)number)
                                                              : NULL;
    if (f->type != PROTOBUF_C_TYPE_BOOL)
        return NULL;
    flag = flag_of(value);
    return flag < 0 ? NULL : json_boolean(flag);
}

int rest_set_param(json_t *object, const ProtobufCMessageDescriptor *type, struct str name,
                   struct str value, struct err *err)
{
    char field[64];
    const ProtobufCFieldDescriptor *f;
    json_t *v;

    (void)snprintf(field, sizeof(field), "%.*s", STR_ARG(name));
    f = protobuf_c_message_descriptor_get_field_by_name(type, field);
    if (!f || f->label == PROTOBUF_C_LABEL_REPEATED || f->type == PROTOBUF_C_TYPE_MESSAGE) {
        (void)err_set(err, ERR_INVALID, "unknown parameter \"%s\"", field);
        err_place(err, "%s", field);
        return ERR_INVALID;
    }
    v = typed(f, value);
    if (!v || json_object_set_new_nocheck(object, f->name, v)) {
        (void)err_set(err, ERR_INVALID, "parameter \"%s\" cannot be \"%.*s\"", field,
                      STR_ARG(str_part(value, 0, 100)));
        err_place(err, "%s", field);
        return ERR_INVALID;
    }
    return 0;
}

int rest_query_json(struct rest *r, const ProtobufCMessageDescriptor *type, json_t *object,
                    struct err *err)
{
    struct str rest = exchange_query(r->x), pair;
    int rc = 0;

    while (!rc && rest.len && str_next(&rest, '&', &pair)) {
        size_t equals = str_index(pair, '=');
        struct str value = rest_decoded(r, str_from(pair, equals + 1));

        if (pair.len == 0)
            continue;
        if (!value.data)
            rc = ERR_NOMEM;
        else
            rc = rest_set_param(object, type, str_part(pair, 0, equals), value, err);
    }
    return rc;
}

int rest_query_flag(struct rest *r, const char *name, protobuf_c_boolean *ret, struct err *err)
{
    struct str text = rest_query(r, name);
    int value = text.data ? flag_of(text) : 0;

    if (value < 0) {
        (void)err_set(err, ERR_INVALID, "parameter \"%s\" cannot be \"%.*s\"", name,
                      STR_ARG(str_part(text, 0, 100)));
        err_place(err, "%s", name);
        return ERR_INVALID;
    }
    *ret = value;
    return 0;
}

/* ---- use cases ---- */

const struct api_method *rest_method(const char *name)
{
    for (size_t i = 0; i < api_methods_n; i++)
        if (strcmp(api_methods[i].name, name) == 0)
            return &api_methods[i];
    return NULL;
}

/* A tag for what is one resource. */
static void note_etag(struct rest *r, const ProtobufCMessage *response)
{
    const Trimtab__V1__Resource *res = (const Trimtab__V1__Resource *)response;
    unsigned char hash[SHA256_BYTES];

    if (response->descriptor == &trimtab__v1__resource__descriptor &&
        hex_decode(str_c(res->content_hash), hash, sizeof(hash)))
        etag_of_resource(res->version, str_of(hash, sizeof(hash)), r->etag);
}

const ProtobufCMessage *rest_response(struct rest *r, struct api_call *call)
{
    const ProtobufCMessage *response = call->err.code ? NULL : api_response(call);
    int code = call->err.code;

    if (r->has_precondition && (code == ERR_CONFLICT || code == ERR_EXISTS))
        r->status = 412; /* somebody was faster */
    if (!response)
        rest_fail_with(r, ERR_NOMEM, &call->err);
    return response;
}

void rest_api_done(void *ctx, struct api_call *call)
{
    struct rest *r = ctx;
    const ProtobufCMessage *response;

    if (call->text) {
        answer_json(r, 200, call->text);
        return;
    }
    response = rest_response(r, call);
    if (!response)
        return;
    note_etag(r, response);
    rest_answer(r, 200, response);
}

void rest_call(struct rest *r, const struct api_method *method, ProtobufCMessage *request,
               enum api_form form, api_done_fn *done)
{
    struct err err = ERR_NULL;
    struct api_call *call = NULL;
    int rc = arena_failed(&r->arena) ? ERR_NOMEM : inbound_check(request, &r->arena, &err);

    if (!rc) {
        call = api_call_new(r->front->desk, r->front->lane->loop, method);
        rc = call ? 0 : ERR_NOMEM;
    }
    if (rc) {
        rest_fail_with(r, rc, &err);
        return;
    }
    call->who = r->who;
    (void)snprintf(call->origin, sizeof(call->origin), "rest %.*s",
                   STR_ARG(exchange_peer(r->x)));
    call->request = request;
    call->form = form;
    call->done = done;
    call->ctx = r;
    api_run(call);
}

/*
 * Server reflection. See rpc_reflection.h.
 *
 * The descriptors are read as they lie there (descriptor.proto of protobuf): of a file its name (1), package (2), what it
 * needs (3), and the names of its messages (4), enums (5) and services (6), with what is nested in them.
 */
#include "server/edge/rpc_reflection.h"

#include "base/arena.h"
#include "proto/convert.h"
#include "proto/inbound.h"
#include "proto/wire_read.h"
#include "server/edge/front.h"
#include "server/edge/embedded.h"

#include <trimtab/v1/reflection.pb-c.h>

enum { FILES_MAX = 16 };

enum file_field {
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_NEEDS = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
};
enum { PART_NAME = 1, MESSAGE_NESTED = 3, MESSAGE_ENUM = 4, SERVICE_METHOD = 2 };

/* ---- the descriptors ---- */

/* The first field of this number; empty when it is not there. */
static struct str field_of(struct str message, unsigned number)
{
    struct wire_field f;

    while (wire_take_field(&message, &f))
        if (f.number == number && f.kind == WIRE_LENGTH_DELIMITED)
            return f.payload;
    return STR("");
}

/* The next file of the set; false at the end. */
static bool next_file(struct str *set, struct str *ret_file)
{
    struct wire_field f;

    while (wire_take_field(set, &f))
        if (f.number == 1 && f.kind == WIRE_LENGTH_DELIMITED) {
            *ret_file = f.payload;
            return true;
        }
    return false;
}

static struct str file_named(struct str name)
{
    struct str set = embedded_descriptors(), file;

    while (next_file(&set, &file))
        if (str_eq(field_of(file, FILE_NAME), name))
            return file;
    return STR_NULL;
}

/* Takes "name" or "name." off the front of a symbol. */
static bool takes(struct str *symbol, struct str name)
{
    if (!str_starts(*symbol, name))
        return false;
    if (symbol->len > name.len && symbol->data[name.len] != '.')
        return false;
    *symbol = str_from(*symbol, name.len + 1);
    return true;
}

/* Whether a message, enum or service has the rest of a symbol: itself, or a part of it. */
static bool part_has(struct str part, unsigned number, struct str symbol)
{
    struct wire_field f;

    if (!takes(&symbol, field_of(part, PART_NAME)))
        return false;
    if (!symbol.len)
        return true;
    while (wire_take_field(&part, &f)) {
        bool is_nested = number == FILE_MESSAGE && f.number == MESSAGE_NESTED;
        bool is_leaf = (number == FILE_MESSAGE && f.number == MESSAGE_ENUM) ||
                       (number == FILE_SERVICE && f.number == SERVICE_METHOD);

        if ((is_nested || is_leaf) && f.kind == WIRE_LENGTH_DELIMITED &&
            part_has(f.payload, is_nested ? FILE_MESSAGE : FILE_ENUM, symbol))
            return true;
    }
    return false;
}

static bool file_has(struct str file, struct str symbol)
{
    struct wire_field f;
    struct str package = field_of(file, FILE_PACKAGE);

    if (!takes(&symbol, package))
        return false;
    while (wire_take_field(&file, &f))
        if (f.number >= FILE_MESSAGE && f.number <= FILE_SERVICE &&
            part_has(f.payload, f.number, symbol))
            return true;
    return false;
}

static struct str file_with(struct str symbol)
{
    struct str set = embedded_descriptors(), file;

    while (next_file(&set, &file))
        if (file_has(file, symbol))
            return file;
    return STR_NULL;
}

/* ---- answers ---- */

struct answering {
    struct arena *arena;
    Trimtab__V1__ReflectionResponse response;
    Trimtab__V1__ReflectionError error;
    Trimtab__V1__ReflectionFiles files;
    Trimtab__V1__ReflectionServices services;
    ProtobufCBinaryData found[FILES_MAX];
    Trimtab__V1__ReflectionServices__Service all[FILES_MAX], *list[FILES_MAX];
};

static void fail(struct answering *a, int code, const char *message)
{
    trimtab__v1__reflection_error__init(&a->error);
    a->error.error_code = code;
    a->error.error_message = arena_c(a->arena, str_c(message));
    a->response.error_response = &a->error;
}

static bool is_there(const struct answering *a, struct str file)
{
    for (size_t i = 0; i < a->files.n_file_descriptor_proto; i++)
        if ((const char *)a->found[i].data == file.data)
            return true;
    return false;
}

/* A file, and behind it those that it needs. */
static void add_file(struct answering *a, struct str file)
{
    struct str rest = file;
    struct wire_field f;

    if (!file.data || is_there(a, file) || a->files.n_file_descriptor_proto == FILES_MAX)
        return;
    a->found[a->files.n_file_descriptor_proto++] = proto_bytes(file);
    while (wire_take_field(&rest, &f))
        if (f.number == FILE_NEEDS && f.kind == WIRE_LENGTH_DELIMITED)
            add_file(a, file_named(f.payload));
}

static void answer_file(struct answering *a, struct str file)
{
    if (!file.data) {
        fail(a, GRPC_NOT_FOUND, "there is no such file or symbol");
        return;
    }
    trimtab__v1__reflection_files__init(&a->files);
    a->files.file_descriptor_proto = a->found;
    add_file(a, file);
    a->response.file_descriptor_response = &a->files;
}

static void add_service(struct answering *a, const char *name)
{
    size_t n = a->services.n_service;

    if (n == FILES_MAX)
        return;
    trimtab__v1__reflection_services__service__init(&a->all[n]);
    a->all[n].name = arena_c(a->arena, str_c(name));
    a->list[n] = &a->all[n];
    a->services.n_service++;
}

static void add_services_of(struct answering *a, struct str file)
{
    struct str package = field_of(file, FILE_PACKAGE);
    struct wire_field f;

    while (wire_take_field(&file, &f)) {
        char name[128];

        if (f.number != FILE_SERVICE || f.kind != WIRE_LENGTH_DELIMITED)
            continue;
        (void)snprintf(name, sizeof(name), "%.*s.%.*s", STR_ARG(package),
                       STR_ARG(field_of(f.payload, PART_NAME)));
        add_service(a, name);
    }
}

static void answer_services(struct answering *a)
{
    struct str set = embedded_descriptors(), file;

    trimtab__v1__reflection_services__init(&a->services);
    a->services.service = a->list;
    while (next_file(&set, &file))
        add_services_of(a, file);
    add_service(a, "grpc.reflection.v1.ServerReflection");
    add_service(a, "grpc.reflection.v1alpha.ServerReflection");
    a->response.list_services_response = &a->services;
}

static void answer(struct answering *a, Trimtab__V1__ReflectionRequest *q)
{
    trimtab__v1__reflection_response__init(&a->response);
    a->response.valid_host = q->host;
    a->response.original_request = q;
    switch (q->ask_case) {
    case TRIMTAB__V1__REFLECTION_REQUEST__ASK_FILE_BY_FILENAME:
        answer_file(a, file_named(str_c(q->file_by_filename)));
        return;
    case TRIMTAB__V1__REFLECTION_REQUEST__ASK_FILE_CONTAINING_SYMBOL:
        answer_file(a, file_with(str_c(q->file_containing_symbol)));
        return;
    case TRIMTAB__V1__REFLECTION_REQUEST__ASK_LIST_SERVICES: answer_services(a); return;
    case TRIMTAB__V1__REFLECTION_REQUEST__ASK_FILE_CONTAINING_EXTENSION:
    case TRIMTAB__V1__REFLECTION_REQUEST__ASK_ALL_EXTENSION_NUMBERS_OF_TYPE:
        fail(a, GRPC_NOT_FOUND, "there are no extensions");
        return;
    case TRIMTAB__V1__REFLECTION_REQUEST__ASK__NOT_SET:
    case _TRIMTAB__V1__REFLECTION_REQUEST__ASK__CASE_IS_INT_SIZE:
        fail(a, GRPC_INVALID_ARGUMENT, "nothing was asked");
        return;
    }
}

/* ---- the stream ---- */

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    owned(arena) struct arena arena = ARENA_NULL;
    struct answering a = {.arena = &arena};
    struct err err = ERR_NULL;
    ProtobufCMessage *request;
    struct shared *packed;
    int r = inbound_unpack(&trimtab__v1__reflection_request__descriptor, message, &arena,
                           &request, &err);

    (void)ctx;
    if (r) {
        grpc_finish(call, err_info(r)->grpc, err.code ? err.text : "out of memory");
        return;
    }
    answer(&a, (Trimtab__V1__ReflectionRequest *)request);
    packed = arena_failed(&arena) ? NULL : proto_pack(&a.response.base, 0);
    if (packed) {
        struct segment s = segment_shared(packed);

        (void)grpc_send(call, &s, 1); /* on_close tells */
    } else {
        grpc_finish(call, GRPC_RESOURCE_EXHAUSTED, "out of memory");
    }
    (void)shared_unref(packed);
}

static void on_half_close(struct grpc_call *call, void *ctx)
{
    (void)ctx;
    grpc_finish(call, GRPC_OK, NULL);
}

void rpc_reflection(struct grpc_call *call, void *service_ctx, struct str message)
{
    static const struct grpc_ops ops = {.on_message = on_message,
                                        .on_half_close = on_half_close};

    (void)message;
    grpc_set_ops(call, &ops, service_ctx);
}

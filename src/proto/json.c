/*
 * Messages as JSON, driven by descriptors. See json.h.
 */
#include "proto/json.h"

#include "base/text.h"
#include "proto/convert.h"

/* ---- base64 ---- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct str bytes, struct buf *out)
{
    const unsigned char *in = (const unsigned char *)bytes.data;

    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = MIN(bytes.len - i, (size_t)3);
        uint32_t v = (uint32_t)in[i] << 16;
        char quad[4];

        v |= n > 1 ? (uint32_t)in[i + 1] << 8 : 0;
        v |= n > 2 ? (uint32_t)in[i + 2] : 0;
        for (int j = 0; j < 4; j++)
            quad[j] = (char)((size_t)j <= n ? alphabet[v >> (18 - 6 * j) & 63] : '=');
        buf_put(out, quad, 4);
    }
}

static int base64_value(char c)
{
    const char *at = c ? strchr(alphabet, c) : NULL;

    return at ? (int)(at - alphabet) : -1;
}

bool base64_get(struct str text, struct buf *out)
{
    if (text.len % 4)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        bool is_last = i + 4 == text.len;
        int pad = is_last ? (text.data[i + 3] == '=') + (text.data[i + 2] == '=') : 0;
        uint32_t v = 0;

        for (int j = 0; j < 4; j++) {
            int value = j < 4 - pad ? base64_value(text.data[i + (size_t)j]) : 0;

            if (value < 0)
                return false;
            v = v << 6 | (uint32_t)value;
        }
        for (int j = 0; j < 3 - pad; j++)
            buf_put_byte(out, (unsigned char)(v >> (16 - 8 * j)));
    }
    return true;
}

/* ---- to JSON ---- */

static json_t *bytes_to_json(const ProtobufCBinaryData *b)
{
    owned(buf) struct buf text = BUF_NULL(SIZE_MAX - 1);

    base64_put(proto_str(*b), &text);
    return buf_status(&text) ? NULL : json_stringn(text.data ? text.data : "", text.len);
}

static json_t *enum_to_json(const ProtobufCEnumDescriptor *type, int value)
{
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(type, value);

    return v ? json_string(v->name) : json_integer(value);
}

/*
 * A document is a document whatever a text in it holds: what is no UTF-8 (in logs of servers that did not check it) does not
 * take the rest with it.
 */
static json_t *text_to_json(const char *text)
{
    owned(buf) struct buf plain = BUF_NULL(SIZE_MAX - 1);
    struct str s = str_c(text);

    if (str_is_utf8(s))
        return json_stringn_nocheck(s.len ? s.data : "", s.len);
    text_put_plain(&plain, s, TEXT_LINES, SIZE_MAX);
    return buf_status(&plain) ? NULL : json_stringn_nocheck(plain.data, plain.len);
}

static json_t *value_to_json(const ProtobufCFieldDescriptor *f, const void *at,
                             enum proto_json_style style)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: return json_integer(*(const uint32_t *)at);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32: return json_integer(*(const int32_t *)at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64: return json_integer((json_int_t) * (const uint64_t *)at);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64: return json_integer(*(const int64_t *)at);
    case PROTOBUF_C_TYPE_FLOAT: return json_real((double)*(const float *)at);
    case PROTOBUF_C_TYPE_DOUBLE: return json_real(*(const double *)at);
    case PROTOBUF_C_TYPE_BOOL: return json_boolean(*(const protobuf_c_boolean *)at);
    case PROTOBUF_C_TYPE_ENUM: return enum_to_json(f->descriptor, *(const int *)at);
    case PROTOBUF_C_TYPE_STRING: return text_to_json(*(char *const *)at);
    case PROTOBUF_C_TYPE_BYTES: return bytes_to_json(at);
    case PROTOBUF_C_TYPE_MESSAGE: return proto_to_json(*(ProtobufCMessage *const *)at, style);
    }
    return NULL;
}

static size_t element_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM: return 4;
    }
    return 0;
}

/* A map field is a list of messages with exactly the fields key and value; protobuf-c names them ...Entry. */
static bool is_map(const ProtobufCFieldDescriptor *f)
{
    const ProtobufCMessageDescriptor *d = f->descriptor;

    return f->label == PROTOBUF_C_LABEL_REPEATED && f->type == PROTOBUF_C_TYPE_MESSAGE &&
           d->n_fields == 2 && str_ends(str_c(d->short_name), STR("Entry")) &&
           strcmp(d->fields[0].name, "key") == 0 && strcmp(d->fields[1].name, "value") == 0 &&
           d->fields[0].type == PROTOBUF_C_TYPE_STRING &&
           d->fields[1].type == PROTOBUF_C_TYPE_STRING;
}

static const void *field_at(const ProtobufCMessage *m, unsigned offset)
{
    return (const char *)m + offset;
}

static json_t *map_to_json(const ProtobufCFieldDescriptor *f, ProtobufCMessage *const *list, size_t n)
{
    const ProtobufCMessageDescriptor *d = f->descriptor;
    json_t *object = json_object();

    for (size_t i = 0; object && i < n; i++) {
        json_t *key = text_to_json(*(char *const *)field_at(list[i], d->fields[0].offset));
        json_t *value = text_to_json(*(char *const *)field_at(list[i], d->fields[1].offset));
        int r = key ? json_object_set_nocheck(object, json_string_value(key), value) : -1;

        json_decref(key);
        json_decref(value);
        if (r) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *list_to_json(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m,
                            enum proto_json_style style)
{
    size_t n = *(const size_t *)field_at(m, f->quantifier_offset);
    const char *list = *(char *const *)field_at(m, f->offset);
    json_t *array;

    if (is_map(f))
        return map_to_json(f, (ProtobufCMessage *const *)(const void *)list, n);
    array = json_array();
    for (size_t i = 0; array && i < n; i++)
        if (json_array_append_new(array, value_to_json(f, list + i * element_size(f), style))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* A field of a oneof: it may be there with its default value, which says something else than being absent. */
static bool is_choice(const ProtobufCFieldDescriptor *f)
{
    return f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

static bool is_chosen(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m)
{
    return *(const uint32_t *)field_at(m, f->quantifier_offset) == f->id;
}

static bool is_default(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m)
{
    const void *at = field_at(m, f->offset);
    static const char zero[8];

    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)field_at(m, f->quantifier_offset) == 0;
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return !*(char *const *)at || !**(char *const *)at;
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)at)->len == 0;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return !*(ProtobufCMessage *const *)at;
    return memcmp(at, zero, element_size(f)) == 0;
}

/* Absent messages and choices, and empty bytes and maps, say nothing even in the full style. */
static bool is_shown(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m,
                     enum proto_json_style style)
{
    if (is_choice(f))
        return is_chosen(f, m);
    if (!is_default(f, m))
        return true;
    return style == PROTO_JSON_FULL && !is_map(f) &&
           (f->label == PROTOBUF_C_LABEL_REPEATED ||
            (f->type != PROTOBUF_C_TYPE_MESSAGE && f->type != PROTOBUF_C_TYPE_BYTES));
}

json_t *proto_to_json(const ProtobufCMessage *m, enum proto_json_style style)
{
    json_t *object = json_object();

    for (unsigned i = 0; object && i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        json_t *value;

        if (!is_shown(f, m, style))
            continue;
        value = f->label == PROTOBUF_C_LABEL_REPEATED
                    ? list_to_json(f, m, style)
                    : value_to_json(f, field_at(m, f->offset), style);
        if (json_object_set_new_nocheck(object, f->name, value)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static int append(const char *bytes, size_t len, void *out)
{
    buf_put(out, bytes, len);
    return buf_status((struct buf *)out) ? -1 : 0;
}

int proto_to_json_text(const ProtobufCMessage *m, enum proto_json_style style, struct buf *out)
{
    json_t *object = proto_to_json(m, style);
    int r;

    if (!object)
        return ERR_NOMEM;
    r = json_dump_callback(object, append, out, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(object);
    return buf_status(out) ? buf_status(out) : r ? ERR_NOMEM : 0;
}

/* ---- from JSON ---- */

static int wrong(const ProtobufCFieldDescriptor *f, const char *want, struct err *err)
{
    (void)err_set(err, ERR_INVALID, "field \"%s\" must be %s", f->name, want);
    err_place(err, "%s", f->name);
    return ERR_INVALID;
}

static int integer_from_json(const json_t *v, const ProtobufCFieldDescriptor *f, void *at,
                             struct err *err)
{
    json_int_t n = json_integer_value(v);
    bool is_unsigned = f->type == PROTOBUF_C_TYPE_UINT32 || f->type == PROTOBUF_C_TYPE_FIXED32 ||
                       f->type == PROTOBUF_C_TYPE_UINT64 || f->type == PROTOBUF_C_TYPE_FIXED64;

    if (!json_is_integer(v))
        return wrong(f, "an integer", err);
    if (is_unsigned && n < 0)
        return wrong(f, "an integer from 0 on", err);
    if (element_size(f) == 8) {
        memcpy(at, &n, 8);
        return 0;
    }
    if (n > (is_unsigned ? (json_int_t)UINT32_MAX : INT32_MAX) || n < INT32_MIN)
        return wrong(f, "an integer of 32 bits", err);
    if (is_unsigned)
        *(uint32_t *)at = (uint32_t)n;
    else
        *(int32_t *)at = (int32_t)n;
    return 0;
}

static int string_from_json(const json_t *v, const ProtobufCFieldDescriptor *f, struct arena *a,
                            void *at, struct err *err)
{
    if (!json_is_string(v))
        return wrong(f, "a string", err);
    *(char **)at = arena_c(a, str_of(json_string_value(v), json_string_length(v)));
    return arena_failed(a) ? ERR_NOMEM : 0;
}

static int bytes_from_json(const json_t *v, const ProtobufCFieldDescriptor *f, struct arena *a,
                           void *at, struct err *err)
{
    owned(buf) struct buf bytes = BUF_NULL(SIZE_MAX - 1);

    if (!json_is_string(v) ||
        !base64_get(str_of(json_string_value(v), json_string_length(v)), &bytes))
        return wrong(f, "a string in base64", err);
    *(ProtobufCBinaryData *)at = proto_bytes(arena_str(a, buf_str(&bytes)));
    return buf_status(&bytes) || arena_failed(a) ? ERR_NOMEM : 0;
}

static int enum_from_json(const json_t *v, const ProtobufCFieldDescriptor *f, void *at,
                          struct err *err)
{
    const ProtobufCEnumValue *value =
        json_is_string(v)
            ? protobuf_c_enum_descriptor_get_value_by_name(f->descriptor, json_string_value(v))
            : NULL;

    if (!value)
        return wrong(f, "one of the names of its enumeration", err);
    *(int *)at = value->value;
    return 0;
}

static int value_from_json(const json_t *v, const ProtobufCFieldDescriptor *f, struct arena *a,
                           void *at, struct err *err)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(v))
            return wrong(f, "true or false", err);
        *(protobuf_c_boolean *)at = json_is_true(v);
        return 0;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        if (!json_is_number(v))
            return wrong(f, "a number", err);
        if (f->type == PROTOBUF_C_TYPE_FLOAT)
            *(float *)at = (float)json_number_value(v);
        else
            *(double *)at = json_number_value(v);
        return 0;
    case PROTOBUF_C_TYPE_ENUM: return enum_from_json(v, f, at, err);
    case PROTOBUF_C_TYPE_STRING: return string_from_json(v, f, a, at, err);
    case PROTOBUF_C_TYPE_BYTES: return bytes_from_json(v, f, a, at, err);
    case PROTOBUF_C_TYPE_MESSAGE:
        return proto_from_json(v, f->descriptor, a, (ProtobufCMessage **)at, err);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64: return integer_from_json(v, f, at, err);
    }
    return ERR_BUG;
}

static ProtobufCMessage *message_new(const ProtobufCMessageDescriptor *type, struct arena *a)
{
    ProtobufCMessage *m = arena_alloc(a, type->sizeof_message);

    if (m)
        protobuf_c_message_init(type, m);
    return m;
}

static int map_from_json(const json_t *v, const ProtobufCFieldDescriptor *f, struct arena *a,
                         ProtobufCMessage **list, struct err *err)
{
    const ProtobufCMessageDescriptor *d = f->descriptor;
    const char *key;
    json_t *value;
    size_t n = 0;

    json_object_foreach((json_t *)(uintptr_t)v, key, value) { /* jansson's iteration has no const form */
        ProtobufCMessage *entry = message_new(d, a);
        int r;

        if (!entry)
            return ERR_NOMEM;
        *(char **)((char *)entry + d->fields[0].offset) = arena_c(a, str_c(key));
        r = string_from_json(value, &d->fields[1], a, (char *)entry + d->fields[1].offset, err);
        if (r)
            return r;
        list[n++] = entry;
    }
    return 0;
}

static int list_from_json(const json_t *v, const ProtobufCFieldDescriptor *f, struct arena *a,
                          ProtobufCMessage *m, struct err *err)
{
    size_t n = is_map(f) ? json_object_size(v) : json_array_size(v);
    char *list;

    if (is_map(f) ? !json_is_object(v) : !json_is_array(v))
        return wrong(f, is_map(f) ? "an object" : "a list", err);
    list = arena_array(a, n, element_size(f));
    if (!list)
        return ERR_NOMEM;
    *(size_t *)(void *)((char *)m + f->quantifier_offset) = n;
    *(char **)(void *)((char *)m + f->offset) = list;
    if (is_map(f))
        return map_from_json(v, f, a, (ProtobufCMessage **)(void *)list, err);
    for (size_t i = 0; i < n; i++) {
        int r = value_from_json(json_array_get(v, i), f, a, list + i * element_size(f), err);

        if (r)
            return r;
    }
    return 0;
}

int proto_from_json(const json_t *object, const ProtobufCMessageDescriptor *type, struct arena *a,
                    ProtobufCMessage **ret, struct err *err)
{
    ProtobufCMessage *m;
    const char *key;
    json_t *value;

    if (!json_is_object(object))
        return err_set(err, ERR_INVALID, "%s must be a JSON object", type->short_name);
    m = message_new(type, a);
    if (!m)
        return ERR_NOMEM;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        const ProtobufCFieldDescriptor *f =
            protobuf_c_message_descriptor_get_field_by_name(type, key);
        int r;

        if (!f) {
            (void)err_set(err, ERR_INVALID, "unknown field \"%s\"", key);
            err_place(err, "%s", key);
            return ERR_INVALID;
        }
        if (json_is_null(value))
            continue;
        r = f->label == PROTOBUF_C_LABEL_REPEATED
                ? list_from_json(value, f, a, m, err)
                : value_from_json(value, f, a, (char *)m + f->offset, err);
        if (r)
            return r;
        if (is_choice(f))
            *(uint32_t *)(void *)((char *)m + f->quantifier_offset) = f->id;
    }
    *ret = m;
    return 0;
}

int proto_from_json_text(struct str text, const ProtobufCMessageDescriptor *type, struct arena *a,
                         ProtobufCMessage **ret, struct err *err)
{
    json_error_t fault = {.line = 0};
    json_t *object = text.len ? json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &fault)
                              : json_object();
    int r;

    if (!object && !text.len)
        return ERR_NOMEM;
    if (!object) {
        (void)err_set(err, ERR_INVALID, "the body is not JSON: %s", fault.text);
        err_at(err, (uint32_t)MAX(fault.line, 1), (uint32_t)MAX(fault.column, 1));
        return ERR_INVALID;
    }
    r = proto_from_json(object, type, a, ret, err);
    json_decref(object);
    return r;
}

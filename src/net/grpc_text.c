/*
 * The small texts of gRPC. See grpc_text.h.
 */
#include "net/grpc_text.h"

#include "base/hash.h"

void grpc_percent_put(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c < ' ' || c > '~' || c == '%')
            buf_printf(out, "%%%02X", c);
        else
            buf_put_byte(out, c);
    }
}

static bool hex_at(struct str text, size_t at, unsigned char *ret_byte)
{
    return at + 2 <= text.len && hex_decode(str_part(text, at, at + 2), ret_byte, 1);
}

void grpc_percent_get(struct str text, char *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < text.len && n + 1 < size; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c == '%' && hex_at(text, i + 1, &c))
            i += 2;
        out[n++] = (char)c;
    }
    out[n] = '\0';
}

/* Nanoseconds of a unit; 0: not one. */
static nsec_t unit_nsec(char unit)
{
    switch (unit) {
    case 'H': return 3600 * NSEC_PER_S;
    case 'M': return 60 * NSEC_PER_S;
    case 'S': return NSEC_PER_S;
    case 'm': return NSEC_PER_MS;
    case 'u': return 1000;
    case 'n': return 1;
    default: return 0;
    }
}

bool grpc_timeout_get(struct str text, nsec_t *ret_nsec)
{
    uint64_t number;
    nsec_t unit;

    if (text.len < 2 || text.len > 9)
        return false;
    unit = unit_nsec(text.data[text.len - 1]);
    if (!unit || !str_u64(str_part(text, 0, text.len - 1), &number))
        return false;
    *ret_nsec = number * unit; /* at most 99,999,999 hours: fits */
    return true;
}

void grpc_timeout_put(uint64_t timeout_ms, char out[GRPC_TIMEOUT_MAX])
{
    uint64_t most = 99999999;

    if (timeout_ms <= most)
        (void)snprintf(out, GRPC_TIMEOUT_MAX, "%um", (unsigned)timeout_ms); /* fits, as below */
    else if ((timeout_ms + 999) / 1000 <= most)
        (void)snprintf(out, GRPC_TIMEOUT_MAX, "%uS", (unsigned)((timeout_ms + 999) / 1000));
    else
        (void)snprintf(out, GRPC_TIMEOUT_MAX, "%uH",
                       (unsigned)MIN(timeout_ms / 3600000 + 1, most));
}

void grpc_base64_put(struct buf *out, struct str bytes)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = (const unsigned char *)bytes.data;

    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = MIN(bytes.len - i, (size_t)3);
        uint32_t three = (uint32_t)in[i] << 16;

        three |= left > 1 ? (uint32_t)in[i + 1] << 8 : 0;
        three |= left > 2 ? in[i + 2] : 0;
        for (size_t k = 0; k <= left; k++)
            buf_put_byte(out, (unsigned char)digits[three >> (18 - 6 * k) & 63]);
    }
}

bool grpc_is_content_type(struct str value)
{
    static const char type[] = "application/grpc";
    size_t n = sizeof(type) - 1;

    return str_starts(value, STR("application/grpc")) &&
           (value.len == n || value.data[n] == '+' || value.data[n] == ';');
}

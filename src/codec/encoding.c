/*
 * From bytes to UTF-8. See encoding.h.
 */
#include "codec/encoding.h"

#include "codec/fault.h"

enum encoding { UTF_8, US_ASCII, EIGHT_BITS, UTF_16, UNKNOWN };

static enum encoding encoding_of(struct str name)
{
    static const struct {
        struct str name;
        enum encoding encoding;
    } names[] = {
        {STR("utf-8"), UTF_8},     {STR("utf8"), UTF_8},        {STR("us-ascii"), US_ASCII},
        {STR("ascii"), US_ASCII},  {STR("utf-16"), UTF_16},     {STR("utf-16le"), UTF_16},
        {STR("utf-16be"), UTF_16}, {STR("latin1"), EIGHT_BITS}, {STR("latin-1"), EIGHT_BITS},
        {STR("l1"), EIGHT_BITS},   {STR("koi8-r"), EIGHT_BITS}, {STR("koi8-u"), EIGHT_BITS}};
    static const struct str families[] = {
        STR("iso-8859-"),   STR("iso_8859-"), STR("iso8859-"), STR("windows-125"),
        STR("windows-874"), STR("ibm8"),      STR("cp125"),    STR("cp85"),
        STR("cp86"),        STR("mac"),       STR("x-mac-"),   STR("tis-620")};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_nocase(name, names[i].name))
            return names[i].encoding;
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (str_eq_nocase(str_part(name, 0, families[i].len), families[i]))
            return EIGHT_BITS;
    return UNKNOWN;
}

/* What <?xml ... encoding="..."?> names; empty: nothing. Only ASCII is looked at. */
static struct str declared(struct str text)
{
    struct str declaration = str_part(text, 0, str_index(text, '>')), rest;
    size_t at;

    if (!str_starts(declaration, STR("<?xml")))
        return STR_NULL;
    for (at = 0; at < declaration.len; at++)
        if (str_starts(str_from(declaration, at), STR("encoding")))
            break;
    rest = str_from(declaration, at);
    rest = str_trim(str_from(rest, str_index(rest, '=') + 1));
    if (rest.len < 2 || (rest.data[0] != '"' && rest.data[0] != '\''))
        return STR_NULL;
    return str_part(rest, 1, 1 + str_index(str_from(rest, 1), rest.data[0]));
}

static size_t ascii_prefix(struct str text)
{
    size_t n = 0;

    while (n < text.len && (unsigned char)text.data[n] < 0x80)
        n++;
    return n;
}

static int decode_eight_bits(struct str content, struct str name, struct buf *out,
                             struct err *err)
{
    size_t ascii = ascii_prefix(content);

    if (ascii == content.len)
        return 0;
    if (str_is_utf8(content))
        return fault(err, ERR_INVALID, content, ascii,
                     "encoding \"%.*s\" is declared, but this is UTF-8",
                     STR_ARG(quotable(name)));
    for (size_t i = 0; i < content.len; i++) {
        char bytes[UTF8_BYTES_MAX];

        buf_put(out, bytes, utf8_encode((unsigned char)content.data[i], bytes));
    }
    return buf_status(out);
}

/* With a byte order mark in front, which becomes that of UTF-8. */
static int decode_utf16(struct str content, struct buf *out, struct err *err)
{
    const unsigned char *b = (const unsigned char *)content.data;
    size_t high = b[0] == 0xfe ? 0 : 1; /* of the two bytes of a unit */

    buf_put_c(out, "\xef\xbb\xbf");
    for (size_t i = 2; i + 1 < content.len; i += 2) {
        uint32_t unit = (uint32_t)b[i + high] << 8 | b[i + 1 - high], low = 0;
        char bytes[UTF8_BYTES_MAX];

        if (unit >= 0xd800 && unit < 0xdc00 && i + 3 < content.len) {
            low = (uint32_t)b[i + 2 + high] << 8 | b[i + 3 - high];
            i += 2;
        }
        if (low >= 0xdc00 && low < 0xe000)
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        else if (low || (unit >= 0xd800 && unit < 0xe000))
            return fault(err, ERR_INVALID, content, 0, "half of a pair of UTF-16, at byte %zu",
                         i);
        buf_put(out, bytes, utf8_encode(unit, bytes));
    }
    if (content.len % 2)
        return fault(err, ERR_INVALID, content, 0, "UTF-16 with half a character at its end");
    return buf_status(out);
}

static int check_utf8(struct str content, struct err *err)
{
    size_t good = str_utf8_prefix(content);

    if (good == content.len)
        return 0;
    return fault(err, ERR_INVALID, content, good, "byte 0x%02x is not UTF-8",
                 (unsigned char)content.data[good]);
}

int text_decode(struct str content, struct str name, struct buf *out, struct err *err)
{
    size_t ascii = ascii_prefix(content);

    switch (name.len ? encoding_of(name) : UTF_8) {
    case UTF_8: return check_utf8(content, err);
    case US_ASCII:
        if (ascii == content.len)
            return 0;
        return fault(err, ERR_INVALID, content, ascii,
                     "byte 0x%02x is not ASCII, which is declared",
                     (unsigned char)content.data[ascii]);
    case EIGHT_BITS: return decode_eight_bits(content, name, out, err);
    case UTF_16:
        return fault(err, ERR_INVALID, content, 0,
                     "UTF-16 is declared, but there is no byte order mark of it");
    case UNKNOWN: break;
    }
    return fault(err, ERR_INVALID, content, 0,
                 "encoding \"%.*s\" is declared, which is not read here",
                 STR_ARG(quotable(name)));
}

static int decode_xml_utf16(struct str content, struct buf *out, struct err *err)
{
    int r = decode_utf16(content, out, err);
    struct str name = declared(str_from(buf_str(out), bom_len(buf_str(out))));

    if (!r && name.len && encoding_of(name) != UTF_16)
        return fault(err, ERR_INVALID, content, 0,
                     "encoding \"%.*s\" is declared, but this is UTF-16",
                     STR_ARG(quotable(name)));
    return r;
}

int xml_decode(struct str content, struct buf *out, struct err *err)
{
    if (str_starts(content, STR("\xff\xfe")) || str_starts(content, STR("\xfe\xff")))
        return decode_xml_utf16(content, out, err);
    return text_decode(content, declared(str_from(content, bom_len(content))), out, err);
}

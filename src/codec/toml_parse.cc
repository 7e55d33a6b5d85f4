/*
 * toml++ behind a C function. See toml_parse.h.
 */
#include "codec/toml_parse.h"

#include <toml++/toml.h>

#include <cstdio>

static int tell(toml_fault *out, const char *text, uint32_t line, uint32_t column)
{
    out->line = line;
    out->column = column;
    (void)snprintf(out->text, sizeof(out->text), "%s", text);
    return TOML_BAD;
}

extern "C" int toml_parse(const char *text, size_t len, struct toml_fault *ret_fault)
{
    try {
        (void)toml::parse(std::string_view(text, len));
        return TOML_GOOD;
    } catch (const toml::parse_error &e) {
        return tell(ret_fault, e.what(), e.source().begin.line, e.source().begin.column);
    } catch (const std::bad_alloc &) {
        return TOML_NO_MEMORY;
    } catch (const std::exception &e) {
        return tell(ret_fault, e.what(), 1, 1);
    } catch (...) {
        return tell(ret_fault, "not TOML", 1, 1);
    }
}

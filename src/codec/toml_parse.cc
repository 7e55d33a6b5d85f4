/*
 * toml++ behind C functions. See toml_parse.h.
 */
#include "codec/toml_parse.h"

#include <toml++/toml.h>

#include <cstdio>
#include <string>

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

/* ---- where a key is ---- */

static const char probe[] = "trimtab-probe-7f1d3a";

/* A table, or the last one of an array of tables. */
static const toml::table *table_of(const toml::node *n)
{
    while (n && n->is_array() && !n->as_array()->empty())
        n = n->as_array()->get(n->as_array()->size() - 1);
    return n ? n->as_table() : nullptr;
}

/* The table in which the probe came to lie. Nesting is bounded by toml++. */
/* NOLINTNEXTLINE(misc-no-recursion): it follows the document down */
static const toml::table *find_probe(const toml::table *t)
{
    if (t->contains(probe))
        return t;
    for (auto &&entry : *t) {
        const toml::table *in = table_of(&entry.second);
        const toml::table *found = in ? find_probe(in) : nullptr;

        if (found)
            return found;
    }
    return nullptr;
}

/* Goes down along the parts of the key, which came out as tables of one entry each. */
static const toml::key *follow(const toml::table *in, const toml::table *parts)
{
    const toml::key *last = nullptr;

    while (in && parts && !parts->empty()) {
        auto part = parts->cbegin();
        auto there = in->find(part->first.str());

        if (there == in->cend())
            break;
        last = &there->first;
        in = table_of(&there->second);
        parts = part->second.as_table();
    }
    return last;
}

extern "C" int toml_find(const struct toml_key *k, uint32_t *ret_line, uint32_t *ret_column)
{
    try {
        std::string document(k->text, k->text_len);
        toml::table whole = toml::parse(document + probe + " = 0" + k->closing + "\n");
        toml::table parts = toml::parse(std::string(k->key, k->key_len) + " = 0\n");
        const toml::key *found = follow(k->is_header ? &whole : find_probe(&whole), &parts);

        if (!found || !found->source().begin)
            return 0;
        *ret_line = found->source().begin.line;
        *ret_column = found->source().begin.column;
        return 1;
    } catch (...) { /* it only adds to a story */
        return 0;
    }
}

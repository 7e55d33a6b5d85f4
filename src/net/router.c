/*
 * Routes. See router.h.
 */
#include "net/router.h"

enum { WORD_SHOWN_MAX = 61 };

static bool path_fits(const struct route *route, struct str path, struct str *ret_rest)
{
    struct str pattern = str_c(route->path);

    if (!str_ends(pattern, STR("**")))
        return str_eq(pattern, path);
    pattern.len -= 2;
    if (!str_starts(path, pattern) || path.len == pattern.len)
        return false;
    *ret_rest = str_from(path, pattern.len);
    return true;
}

static bool method_fits(const struct route *route, struct str method)
{
    struct str own = str_c(route->method);

    return str_eq(method, own) || (str_eq(method, STR("HEAD")) && str_eq(own, STR("GET")));
}

const struct route *router_find(const struct router *r, struct str method, struct str path,
                                struct str *ret_rest, int *ret_status)
{
    *ret_rest = STR_NULL;
    *ret_status = 404;
    for (size_t i = 0; i < r->n; i++) {
        struct str rest = STR_NULL;

        if (!path_fits(&r->routes[i], path, &rest))
            continue;
        if (method_fits(&r->routes[i], method)) {
            *ret_rest = rest;
            *ret_status = 0;
            return &r->routes[i];
        }
        *ret_status = 405;
    }
    return NULL;
}

/* Whether an earlier route of this path has the method of this one. */
static bool is_listed(const struct router *r, size_t at, struct str path)
{
    struct str ignored;

    for (size_t i = 0; i < at; i++)
        if (path_fits(&r->routes[i], path, &ignored) &&
            strcmp(r->routes[i].method, r->routes[at].method) == 0)
            return true;
    return false;
}

void router_methods(const struct router *r, struct str path, char out[ROUTER_METHODS_MAX])
{
    struct str ignored;
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < r->n; i++) {
        const char *method = r->routes[i].method;

        if (path_fits(&r->routes[i], path, &ignored) && !is_listed(r, i, path) &&
            n < ROUTER_METHODS_MAX)
            n += (size_t)snprintf(out + n, ROUTER_METHODS_MAX - n, "%s%s%s", n ? ", " : "",
                                  method, strcmp(method, "GET") == 0 ? ", HEAD" : "");
    }
}

static bool knows_word(const struct route *route, struct str word)
{
    struct str rest = str_c(route->query), known;

    while (rest.len && str_next(&rest, ' ', &known))
        if (known.len && str_eq(known, word))
            return true;
    return false;
}

int route_check_query(const struct route *route, struct str query, struct err *err)
{
    struct str pair;

    while (route->query && query.len && str_next(&query, '&', &pair)) {
        struct str word = str_part(pair, 0, str_index(pair, '='));

        if (!pair.len || knows_word(route, word))
            continue;
        word = str_part(word, 0, WORD_SHOWN_MAX);
        (void)err_set(err, ERR_INVALID, "unknown parameter \"%.*s\"", STR_ARG(word));
        err_place(err, "%.*s", STR_ARG(word));
        if (strlen(route->query) > 1)
            err_hint(err, "there are:%s", route->query);
        return ERR_INVALID;
    }
    return 0;
}

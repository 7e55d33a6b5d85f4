/*
 * The table of routes against api/openapi.json: both say the same of every operation.
 */
#include "server/edge/rest_routes.h"

#include "base/buf.h"
#include "base/file.h"
#include "tap.h"

#include <jansson.h>

static json_t *load(void)
{
    owned(buf) struct buf text = BUF_NULL(8 * MIB);

    if (file_read(OPENAPI_FILE, &text, NULL))
        return NULL;
    return json_loadb(text.data, text.len, 0, NULL);
}

/* As the document writes it: the rest of the path is a parameter in braces. */
static bool is_path(const char *documented, const char *pattern)
{
    size_t n = strlen(pattern);

    if (n < 2 || strcmp(pattern + n - 2, "**") != 0)
        return strcmp(documented, pattern) == 0;
    return strncmp(documented, pattern, n - 2) == 0 && documented[n - 2] == '{';
}

static json_t *find_operation(json_t *paths, const struct route *r)
{
    char method[16];
    const char *path;
    json_t *item;

    for (size_t i = 0; i <= strlen(r->method); i++)
        method[i] = (char)(r->method[i] | (r->method[i] ? 0x20 : 0));
    json_object_foreach (paths, path, item)
        if (is_path(path, r->path) && json_object_get(item, method))
            return json_object_get(item, method);
    return NULL;
}

/* Every parameter of the query that is documented is one that the route knows. */
static void check_parameters(const struct route *r, json_t *operation)
{
    json_t *parameter;
    size_t i;

    json_array_foreach (json_object_get(operation, "parameters"), i, parameter) {
        const char *name = json_string_value(json_object_get(parameter, "name"));
        char query[128];

        if (strcmp(json_string_value(json_object_get(parameter, "in")), "query") != 0)
            continue;
        (void)snprintf(query, sizeof(query), "%s=1", name);
        tap_note("%s: %s", r->operation, name);
        CHECK_I64(route_check_query(r, str_c(query), NULL), 0);
    }
}

TEST("every route is documented under its name, with parameters that it knows, and a body exactly if it takes one")
{
    json_t *document = load();
    json_t *paths = json_object_get(document, "paths");

    REQUIRE(paths);
    for (size_t i = 0; i < rest_router.n; i++) {
        const struct route *r = &rest_router.routes[i];
        json_t *operation = find_operation(paths, r);

        tap_note("%s %s", r->method, r->path);
        if (!CHECK(operation))
            continue;
        CHECK_STR(str_c(json_string_value(json_object_get(operation, "operationId"))),
                  str_c(r->operation));
        CHECK_U64((json_object_get(operation, "requestBody") != NULL), (r->body_max != 0));
        if (r->query)
            check_parameters(r, operation);
    }
    json_decref(document);
}

TEST("nothing is documented that is no route")
{
    json_t *document = load(), *item, *operation;
    const char *path, *method;
    size_t n = 0;

    json_object_foreach (json_object_get(document, "paths"), path, item)
        json_object_foreach (item, method, operation)
            n++;
    CHECK_U64(n, rest_router.n);
    json_decref(document);
}

/*
 * Routes: which one a request comes to, and what is said when there is none.
 */
#include "net/router.h"

#include "tap.h"

static const struct route table[] = {
    {.method = "GET", .path = "/things", .operation = "list", .query = " limit after "},
    {.method = "GET", .path = "/things/**", .operation = "get", .query = " "},
    {.method = "PUT", .path = "/things/**", .operation = "put", .body_max = 10},
    {.method = "POST", .path = "/things/preview", .operation = "preview"},
    {.method = "POST", .path = "/things/**", .operation = "move"},
};
static const struct router router = {table, ARRAY_LEN(table)};

static const char *find(const char *method, const char *path, struct str *rest, int *status)
{
    const struct route *r = router_find(&router, str_c(method), str_c(path), rest, status);

    return r ? r->operation : "";
}

TEST("a request comes to the first route that has its path and method")
{
    static const struct {
        const char *method, *path, *operation, *rest;
        int status;
    } rows[] = {
        {"GET", "/things", "list", "", 0},
        {"HEAD", "/things", "list", "", 0},
        {"GET", "/things/a/b", "get", "a/b", 0},
        {"HEAD", "/things/a", "get", "a", 0},
        {"PUT", "/things/a%2Fb", "put", "a%2Fb", 0},
        {"POST", "/things/preview", "preview", "", 0},
        {"POST", "/things/preview/x", "move", "preview/x", 0},
        {"GET", "/things/", "", "", 404}, /* an empty id is none */
        {"GET", "/thingsx", "", "", 404},
        {"GET", "/", "", "", 404},
        {"POST", "/things", "", "", 405},
        {"DELETE", "/things/a", "", "", 405},
        {"get", "/things", "", "", 405}, /* methods are case-sensitive (RFC 9110, section 9.1) */
        {"BREW", "/things/a", "", "", 405},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str rest;
        int status;

        tap_note("%s %s", rows[i].method, rows[i].path);
        CHECK_STR(str_c(find(rows[i].method, rows[i].path, &rest, &status)),
                  str_c(rows[i].operation));
        CHECK_STR(rest, str_c(rows[i].rest));
        CHECK_I64(status, rows[i].status);
    }
}

TEST("the methods of a path are those of all its routes")
{
    char methods[ROUTER_METHODS_MAX];

    router_methods(&router, STR("/things"), methods);
    CHECK_STR(str_c(methods), STR("GET, HEAD"));
    router_methods(&router, STR("/things/preview"), methods);
    CHECK_STR(str_c(methods), STR("GET, HEAD, PUT, POST"));
    router_methods(&router, STR("/nothing"), methods);
    CHECK_STR(str_c(methods), STR(""));
}

TEST("a parameter that a route does not know is refused by name, with those that it has")
{
    static const struct {
        size_t route;
        const char *query, *wrong;
    } rows[] = {
        {0, "", NULL},
        {0, "limit=1&after=x", NULL},
        {0, "&&limit", NULL},
        {0, "limit=1&Limit=2", "Limit"},
        {0, "limi=1", "limi"},
        {0, "limit after=1", "limit after"}, /* no two words at once */
        {0, "=1", ""},
        {1, "x=1", "x"},
        {2, "anything=1", NULL}, /* others judge them */
        {0, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=1",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_NULL;
        int r = route_check_query(&table[rows[i].route], str_c(rows[i].query), &err);

        tap_note("%s", rows[i].query);
        CHECK_I64(r, rows[i].wrong ? ERR_INVALID : 0);
        if (rows[i].wrong)
            CHECK_STR(str_c(err.place), str_c(rows[i].wrong));
    }
}

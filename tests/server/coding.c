/*
 * Codings of contents: what headers wish for, and what is text.
 */
#include "server/edge/coding.h"
#include "tap.h"

static bool wants(const char *first, const char *second)
{
    struct coding_wish wish = CODING_WISH_NONE;

    coding_read(&wish, str_c(first));
    if (second)
        coding_read(&wish, str_c(second));
    return coding_wants_gzip(&wish);
}

TEST("gzip is used when it is allowed, and liked no less than the plain text")
{
    static const char *const yes[] = {"gzip",
                                      "GZIP",
                                      "x-gzip",
                                      "deflate, gzip;q=0.5",
                                      "br , gzip ; q=1.000",
                                      "*",
                                      "*;q=0.1",
                                      "gzip;q=0.001",
                                      "identity;q=0.5, gzip;q=0.5",
                                      "identity;q=0, gzip;q=0.1",
                                      "gzip;level=9;q=0.3",
                                      "gzip, *;q=0",
                                      ",,gzip"};
    static const char *const no[] = {"",
                                     "identity",
                                     "br, deflate",
                                     "gzip;q=0",
                                     "gzip;q=0.000",
                                     "*;q=0",
                                     "gzip;q=0, *",
                                     "identity, gzip;q=0.9",
                                     "gzip;q=0.5, *;q=1",
                                     "gzipped",
                                     "gzip;q=",
                                     "gzip;q=2",
                                     "gzip;q=1.5",
                                     "gzip;q=0.1234",
                                     "gzip;q=x",
                                     "gzip;q=1x",
                                     "notgzip",
                                     ";",
                                     ";q=1"};

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        tap_note("%s", yes[i]);
        CHECK(wants(yes[i], NULL));
    }
    for (size_t i = 0; i < ARRAY_LEN(no); i++) {
        tap_note("%s", no[i]);
        CHECK(!wants(no[i], NULL));
    }
    CHECK(wants("br", "gzip"));
    CHECK(!wants("gzip", "identity, gzip;q=0.1"));
}

TEST("a body has its own bytes when no coding is named but identity")
{
    CHECK(coding_is_identity(STR("")));
    CHECK(coding_is_identity(STR("Identity, identity")));
    CHECK(!coding_is_identity(STR("gzip")));
    CHECK(!coding_is_identity(STR("identity, br")));
}

TEST("texts are told by their type, with or without parameters")
{
    CHECK(coding_is_text(STR("text/plain; charset=utf-8")));
    CHECK(coding_is_text(STR("application/json")));
    CHECK(coding_is_text(STR("application/problem+json ;a=b")));
    CHECK(coding_is_text(STR("application/yaml")));
    CHECK(!coding_is_text(STR("application/octet-stream")));
    CHECK(!coding_is_text(STR("image/png; name=x.json")));
    CHECK(!coding_is_text(STR("")));
}

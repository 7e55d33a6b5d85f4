/*
 * Codings of contents. See coding.h.
 */
#include "server/edge/coding.h"

enum { FULL_WEIGHT = 1000 };

/* "1", "0.5", "0.125": in thousandths; 0 for anything else. */
static int weight_of(struct str text)
{
    int weight = 0, unit = FULL_WEIGHT;

    if (!text.len || text.len > 5 || (text.len > 1 && text.data[1] != '.'))
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        if (i == 1)
            continue;
        if (text.data[i] < '0' || text.data[i] > '9')
            return 0;
        weight += (text.data[i] - '0') * unit;
        unit /= 10;
    }
    return weight <= FULL_WEIGHT ? weight : 0;
}

/* Of what follows the name: "q=0.5" among parameters that mean nothing. */
static int read_weight(struct str parameters)
{
    struct str parameter;

    while (parameters.len && str_next(&parameters, ';', &parameter)) {
        parameter = str_trim(parameter);
        if (parameter.len >= 2 && str_eq_nocase(str_part(parameter, 0, 2), STR("q=")))
            return weight_of(str_from(parameter, 2));
    }
    return FULL_WEIGHT;
}

void coding_read(struct coding_wish *wish, struct str list)
{
    struct str rest, name;

    while (list.len && str_next(&list, ',', &rest)) {
        if (!rest.len || !str_next(&rest, ';', &name))
            continue;
        name = str_trim(name);
        if (str_eq_nocase(name, STR("gzip")) || str_eq_nocase(name, STR("x-gzip")))
            wish->gzip = read_weight(rest);
        else if (str_eq_nocase(name, STR("identity")))
            wish->identity = read_weight(rest);
        else if (str_eq(name, STR("*")))
            wish->any = read_weight(rest);
    }
}

bool coding_wants_gzip(const struct coding_wish *wish)
{
    int gzip = wish->gzip >= 0 ? wish->gzip : wish->any;
    int identity = wish->identity >= 0 ? wish->identity : wish->any;

    return gzip > 0 && gzip >= identity;
}

bool coding_is_identity(struct str list)
{
    struct str name;

    while (list.len && str_next(&list, ',', &name)) {
        name = str_trim(name);
        if (name.len && !str_eq_nocase(name, STR("identity")))
            return false;
    }
    return true;
}

bool coding_is_text(struct str type)
{
    static const struct str endings[] = {STR("json"), STR("yaml"), STR("toml"), STR("xml"),
                                         STR("javascript")};
    struct str name;

    if (!type.len || !str_next(&type, ';', &name))
        return false;
    name = str_trim(name);
    if (str_starts(name, STR("text/")))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        if (str_ends(name, endings[i]))
            return true;
    return false;
}

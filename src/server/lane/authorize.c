/*
 * Who a request is from. Besides its credentials, a browser's page may not reach a port that is not meant for it. See lane.h.
 */
#include "server/lane/lane.h"

/* The digits of an address in 127.0.0.0/8: a name that only begins so leads anywhere. */
static bool is_loopback_number(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] != '.' && (s.data[i] < '0' || s.data[i] > '9'))
            return false;
    return str_starts(s, STR("127."));
}

/* Whether the authority of a request, host or host:port, is this machine's own. */
static bool is_this_machine(struct str authority)
{
    size_t bracket = str_index(authority, ']');
    size_t end = bracket < authority.len ? bracket + 1 : str_index(authority, ':');
    struct str host = str_part(authority, 0, end), port = str_from(authority, end);

    if (port.len && port.data[0] != ':')
        return false;
    return str_eq_nocase(host, STR("localhost")) || str_eq(host, STR("[::1]")) ||
           str_eq(host, STR("unix")) || is_loopback_number(host);
}

static struct str without_port(struct str authority)
{
    size_t bracket = str_index(authority, ']');
    size_t start = bracket < authority.len ? bracket + 1 : 0;

    return str_part(authority, 0, start + str_index(str_from(authority, start), ':'));
}

/* Whether a setting allows this host. */
static bool is_allowed(const struct lane *lane, struct str authority)
{
    struct str rest = str_c(lane->hub->config.allowed_hosts), word;

    while (rest.len && str_next(&rest, ',', &word)) {
        word = str_trim(word);
        if (str_eq(word, STR("*")) || str_eq_nocase(word, authority) ||
            str_eq_nocase(word, without_port(authority)))
            return true;
    }
    return false;
}

/* Whether a page is of the host that it asks; a proxy may have taken TLS off. */
static bool is_same_origin(const struct lane *lane, const struct exchange *x, struct str origin)
{
    struct str host = exchange_authority(x);
    bool is_proxied = is_allowed(lane, host) && str_starts(origin, STR("https://"));
    struct str scheme = exchange_is_tls(x) || is_proxied ? STR("https://") : STR("http://");

    return str_starts(origin, scheme) && str_eq(str_from(origin, scheme.len), host);
}

/* A page in a browser may reach a loopback port: what it sends names itself by Origin, and the host by a name of its own. */
static int check_browser(const struct lane *lane, const struct exchange *x, struct err *err)
{
    struct str origin = exchange_header(x, "origin"), host = exchange_authority(x);

    if (origin.data && !is_same_origin(lane, x, origin))
        return err_set(err, ERR_DENIED, "requests from the page %.*s are not taken",
                       STR_ARG(str_part(origin, 0, 100)));
    if (!lane->tls && config_is_loopback(lane->hub->config.listen) && host.len &&
        !is_this_machine(host) && !is_allowed(lane, host)) {
        (void)err_set(err, ERR_DENIED, "the host %.*s is not this machine",
                      STR_ARG(str_part(host, 0, 100)));
        err_hint(err, "behind a proxy: the setting allowed_hosts of trimtabd names it");
        return ERR_DENIED;
    }
    return 0;
}

int lane_identify(struct lane *lane, const struct exchange *x, struct identity *ret_identity,
                  struct err *err)
{
    owned(auth_record_unref) struct auth_record *r = auth_current(lane->hub->auth);
    struct credentials c = {.authorization = exchange_header(x, "authorization"),
                            .tls_name = exchange_tls_name(x)};
    int rc = check_browser(lane, x, err);

    memset(ret_identity, 0, sizeof(*ret_identity));
    if (!rc)
        rc = auth_identify(r, &c, clock_now(), ret_identity, err);
    return rc;
}

/* Figures are of the whole server: who administers one namespace is not shown them. */
static bool has_where_it_counts(const struct auth_record *r, const struct identity *who,
                                enum right_to right)
{
    return right == RIGHT_TO_METRICS ? !auth_may(r, who, right, SPACE_EVERYTHING, NULL)
                                     : auth_may_somewhere(r, who, right);
}

static int has_nowhere(const struct identity *who, enum right_to right, struct err *err)
{
    const struct role *role = role_for(right);

    (void)err_set(err, ERR_DENIED, "%s lacks the right \"%.*s\" in every namespace",
                  who->subject, STR_ARG(role->name));
    err_hint(err, "an admin can grant it: trimtab grant %s %.*s NAMESPACE", who->subject,
             STR_ARG(role->name));
    return ERR_DENIED;
}

int lane_authorize(struct lane *lane, const struct exchange *x, enum right_to right,
                   struct identity *ret_identity, struct err *err)
{
    owned(auth_record_unref) struct auth_record *r = auth_current(lane->hub->auth);
    int rc = lane_identify(lane, x, ret_identity, err);

    if (rc || has_where_it_counts(r, ret_identity, right))
        return rc;
    return has_nowhere(ret_identity, right, err);
}

int lane_admit_browser(struct lane *lane, const struct exchange *x, struct err *err)
{
    return check_browser(lane, x, err);
}

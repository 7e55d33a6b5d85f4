/*
 * Addresses. See address.h.
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static int bad(const char *text, struct err *err)
{
    err_set(err, ERR_INVALID, "\"%s\" is not an address", text);
    err_hint(err, "write host:port, [ipv6]:port or unix:/path");
    return ERR_INVALID;
}

static bool copy(char *to, size_t size, struct str from)
{
    if (from.len >= size || memchr(from.data, 0, from.len))
        return false;
    memcpy(to, from.data, from.len);
    to[from.len] = '\0';
    return true;
}

int address_parse(const char *text, struct address *ret_address, struct err *err)
{
    struct str s = str_c(text), host, port;
    struct address a = {0};
    uint64_t number;
    size_t at;

    if (str_starts(s, STR("unix:"))) {
        if (s.len == 5 || !copy(a.path, sizeof(a.path), str_from(s, 5)))
            return bad(text, err);
        *ret_address = a;
        return 0;
    }
    at = s.len;
    while (at && s.data[at - 1] != ':')
        at--;
    if (!at)
        return bad(text, err);
    host = str_part(s, 0, at - 1);
    port = str_from(s, at);
    if (str_starts(host, STR("[")) && str_ends(host, STR("]")))
        host = str_part(host, 1, host.len - 1);
    else if (str_index(host, ':') < host.len)
        return bad(text, err);
    if (!str_u64(port, &number) || number > UINT16_MAX || !copy(a.port, sizeof(a.port), port) ||
        !copy(a.host, sizeof(a.host), host))
        return bad(text, err);
    *ret_address = a;
    return 0;
}

socklen_t address_unix(const struct address *a, struct sockaddr_un *ret_sockaddr)
{
    memset(ret_sockaddr, 0, sizeof(*ret_sockaddr));
    ret_sockaddr->sun_family = AF_UNIX;
    memcpy(ret_sockaddr->sun_path, a->path, strlen(a->path) + 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(a->path) + 1);
}

void address_format(const struct sockaddr *sa, char *out, size_t size)
{
    union {
        struct sockaddr_in6 v6;
        struct sockaddr_in v4;
        struct sockaddr_un path;
    } u;
    char text[INET6_ADDRSTRLEN] = "";

    out[0] = '\0';
    if (sa->sa_family == AF_INET) {
        memcpy(&u.v4, sa, sizeof(u.v4));
        (void)inet_ntop(AF_INET, &u.v4.sin_addr, text, sizeof(text)); /* the room is enough */
        (void)snprintf(out, size, "%s:%u", text, ntohs(u.v4.sin_port));
    } else if (sa->sa_family == AF_INET6) {
        memcpy(&u.v6, sa, sizeof(u.v6));
        (void)inet_ntop(AF_INET6, &u.v6.sin6_addr, text, sizeof(text)); /* likewise */
        (void)snprintf(out, size, "[%s]:%u", text, ntohs(u.v6.sin6_port));
    } else if (sa->sa_family == AF_UNIX) {
        (void)snprintf(out, size, "unix:");
    }
}

uint16_t address_port(const struct sockaddr *sa)
{
    struct sockaddr_in6 v6;
    struct sockaddr_in v4;

    if (sa->sa_family == AF_INET) {
        memcpy(&v4, sa, sizeof(v4));
        return ntohs(v4.sin_port);
    }
    if (sa->sa_family == AF_INET6) {
        memcpy(&v6, sa, sizeof(v6));
        return ntohs(v6.sin6_port);
    }
    return 0;
}

/* A socket file that nobody listens on any more is in the way of a restart. */
static void remove_stale(const struct sockaddr_un *sa, socklen_t len)
{
    struct stat st;
    int fd;

    if (lstat(sa->sun_path, &st) || !S_ISSOCK(st.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)sa, len) && errno == ECONNREFUSED)
        (void)unlink(sa->sun_path); /* if it stays, bind says so */
    (void)close(fd);                /* nothing was written */
}

static int listen_unix(const struct address *a, int *ret_fd, struct err *err)
{
    struct sockaddr_un sa;
    socklen_t len = address_unix(a, &sa);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return err_set_errno(err, "cannot make a socket");
    remove_stale(&sa, len);
    if (bind(fd, (const struct sockaddr *)&sa, len) || listen(fd, BACKLOG)) {
        int r = err_set_errno(err, "cannot listen on unix:%s", a->path);

        (void)close(fd); /* nothing was written */
        return r;
    }
    *ret_fd = fd;
    return 0;
}

static int listen_on(const struct addrinfo *info)
{
    int one = 1, saved;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    saved = errno;
    (void)close(fd); /* nothing was written */
    errno = saved;
    return -1;
}

int address_listen(const struct address *a, int *ret_fd, struct err *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int r, fd;

    if (a->path[0])
        return listen_unix(a, ret_fd, err);
    r = getaddrinfo(a->host[0] ? a->host : NULL, a->port, &hints, &found);
    if (r)
        return err_set(err, ERR_INVALID, "cannot find the host \"%s\": %s", a->host,
                       gai_strerror(r));
    fd = listen_on(found);
    if (fd < 0)
        r = err_set_errno(err, "cannot listen on %s:%s", a->host, a->port);
    freeaddrinfo(found);
    if (!r)
        *ret_fd = fd;
    return r;
}

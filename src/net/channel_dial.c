/*
 * From an address to a connected socket: look-up, then one attempt after the other on what it gave.
 */
#include "base/alloc.h"
#include "net/channel.h"

#include <errno.h>
#include <netdb.h>
#include <unistd.h>

static const char *host_of(const struct address *a)
{
    return a->host[0] ? a->host : "localhost";
}

static void fail_errno(struct channel *ch, const char *what)
{
    struct err why;

    err_set_errno(&why, "%s", what);
    why.code = ERR_UNAVAILABLE;
    channel_dial_next(ch, &why);
}

static void connect_to(struct channel *ch, const struct sockaddr *sa, socklen_t len, int family)
{
    const struct address *a = &ch->addresses[ch->at];
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct err why;
    int r;

    if (fd < 0) {
        fail_errno(ch, "cannot make a socket");
        return;
    }
    if (connect(fd, sa, len) && errno != EINPROGRESS) {
        int saved = errno;

        (void)close(fd); /* nothing was written */
        errno = saved;
        fail_errno(ch, "cannot connect");
        return;
    }
    r = peer_open(ch, fd, a->path[0] ? NULL : host_of(a));
    if (r) {
        err_set(&why, r, "cannot make a connection");
        channel_dial_next(ch, &why);
    }
}

void channel_dial_next(struct channel *ch, const struct err *why)
{
    struct addrinfo *info = ch->next;

    if (!info) {
        channel_dial_cancel(ch);
        channel_dial_failed(ch, why);
        return;
    }
    ch->next = info->ai_next;
    connect_to(ch, info->ai_addr, info->ai_addrlen, info->ai_family);
}

static void use_found(struct channel *ch, int r, struct addrinfo *found, const char *reason)
{
    struct err why;

    err_set(&why, ERR_UNAVAILABLE, "cannot find the host \"%s\": %s",
            ch->addresses[ch->at].host, reason);
    ch->found = ch->next = r ? NULL : found;
    channel_dial_next(ch, &why);
}

static void on_found(uv_getaddrinfo_t *request, int r, struct addrinfo *found)
{
    struct lookup *lookup = CONTAINER_OF(request, struct lookup, request);
    struct channel *ch = lookup->channel;

    (void)mem_free(lookup);
    if (!ch) {
        uv_freeaddrinfo(found);
        return;
    }
    ch->lookup = NULL;
    use_found(ch, r, found, r ? uv_strerror(r) : "no address");
}

static void look_up(struct channel *ch, const struct address *a, const struct addrinfo *hints)
{
    struct lookup *lookup = NEW(struct lookup);

    if (lookup) {
        lookup->channel = ch;
        if (uv_getaddrinfo(&ch->loop->uv, &lookup->request, on_found, host_of(a), a->port,
                           hints) == 0) {
            ch->lookup = lookup;
            return;
        }
    }
    (void)mem_free(lookup);
    use_found(ch, ERR_NOMEM, NULL, "out of memory");
}

void channel_dial(struct channel *ch)
{
    const struct address *a = &ch->addresses[ch->at];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    struct sockaddr_un path;
    socklen_t len;

    if (a->path[0]) {
        len = address_unix(a, &path);
        connect_to(ch, (const struct sockaddr *)&path, len, AF_UNIX);
        return;
    }
    /* A numeric host needs no thread of the pool. */
    if (getaddrinfo(host_of(a), a->port, &hints, &found) == 0) {
        use_found(ch, 0, found, "");
        return;
    }
    hints.ai_flags = AI_NUMERICSERV;
    look_up(ch, a, &hints);
}

void channel_dial_cancel(struct channel *ch)
{
    if (ch->lookup) {
        ch->lookup->channel = NULL;
        (void)uv_cancel(
            (uv_req_t *)&ch->lookup->request); /* one that runs already comes to its end */
        ch->lookup = NULL;
    }
    if (ch->found)
        freeaddrinfo(ch->found);
    ch->found = ch->next = NULL;
}

/*
 * Several servers with one listener: who takes a connection, and what limits all of them together.
 */
#include "net/http.h"

#include "base/clock.h"
#include "tap.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SERVERS = 3, CLIENTS = 12 };

static struct {
    struct loop loops[SERVERS];
    struct http_crowd crowd;
    int clients[CLIENTS];
    size_t n_clients, n_closed;
} world;

static void on_request(void *ctx, struct exchange *x)
{
    (void)ctx;
    (void)exchange_respond_text(x, 200, "text/plain", STR("ok\n"));
}

static void open_world(const char *address, uint32_t max)
{
    memset(&world, 0, sizeof(world));
    for (size_t i = SERVERS; i-- > 0;) {
        struct http_server_opts opts = {.address = i ? NULL : address,
                                        .crowd = &world.crowd,
                                        .limits.max_connections = max,
                                        .on_request = on_request};

        REQUIRE(loop_open(&world.loops[i], NULL) == 0);
        REQUIRE(http_server_open(&world.loops[i], &opts, &world.crowd.servers[i], NULL) == 0);
    }
    world.crowd.n = SERVERS;
}

static void turn(void)
{
    for (size_t i = 0; i < SERVERS; i++)
        loop_turn(&world.loops[i], LOOP_POLL);
}

static void on_closed(void *ctx)
{
    (void)ctx;
    world.n_closed++;
}

static void close_world(void)
{
    for (size_t i = 0; i < world.n_clients; i++)
        (void)close(world.clients[i]);
    for (size_t i = 0; i < SERVERS; i++) {
        http_server_close(world.crowd.servers[i], on_closed, NULL);
        turn();
    }
    while (world.n_closed < SERVERS)
        turn();
    for (size_t i = 0; i < SERVERS; i++)
        loop_close(&world.loops[i]);
}

static uint64_t connections(size_t server)
{
    return http_server_stats(world.crowd.servers[server]).connections;
}

static uint64_t all(uint64_t (*of)(size_t server))
{
    uint64_t n = 0;

    for (size_t i = 0; i < SERVERS; i++)
        n += of(i);
    return n;
}

static uint64_t refused(size_t server)
{
    return http_server_stats(world.crowd.servers[server]).refused;
}

static uint64_t evicted(size_t server)
{
    return http_server_stats(world.crowd.servers[server]).evicted;
}

static int dial(void)
{
    const char *address = http_server_address(world.crowd.servers[0]);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons(http_server_port(world.crowd.servers[0])),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool is_unix = strncmp(address, "unix:", 5) == 0;
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (is_unix)
        (void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", address + 5);
    CHECK(fd >= 0 && connect(fd, is_unix ? (struct sockaddr *)&un : (struct sockaddr *)&in,
                             is_unix ? sizeof(un) : sizeof(in)) == 0);
    return fd;
}

/* Connects, and waits until the server that takes it has it. */
static int come(uint64_t expected)
{
    int fd = dial();

    ASSERT(world.n_clients < CLIENTS);
    world.clients[world.n_clients++] = fd;
    while (all(connections) + all(refused) < expected)
        turn();
    return fd;
}

/* A request that is under way keeps its connection from being idle. */
static void begin_request(int fd)
{
    static const char half[] = "GET / HTTP/1.1\r\nhost: x\r\n";

    REQUIRE(send(fd, half, sizeof(half) - 1, 0) == (ssize_t)sizeof(half) - 1);
}

static void go(size_t client)
{
    uint64_t before = all(connections);

    (void)close(world.clients[client]);
    world.clients[client] = -1;
    while (all(connections) == before)
        turn();
}

TEST("connections are shared out evenly, and who has lost some gets the next ones")
{
    open_world("127.0.0.1:0", 100);
    for (uint64_t i = 1; i <= 9; i++)
        (void)come(i);
    for (size_t i = 0; i < SERVERS; i++)
        CHECK_U64(connections(i), 3);
    for (size_t i = 0; i < 9 && connections(2) > 1; i++)
        go(i); /* they come to all in turn */
    (void)come(all(connections) + 1);
    (void)come(all(connections) + 1);
    for (size_t i = 1; i < SERVERS; i++)
        CHECK(connections(i) <= connections(0) + 1 && connections(0) <= connections(i) + 1);
    close_world();
}

TEST("the limit is that of all together: an idle connection makes room, wherever the new one comes to")
{
    open_world("127.0.0.1:0", 6);
    for (uint64_t i = 1; i <= 6; i++)
        (void)come(i);
    (void)dial();
    while (all(evicted) == 0)
        turn();
    CHECK_U64(all(refused), 0);
    while (all(connections) < 6)
        turn();
    CHECK_U64(all(connections), 6);
    close_world();
}

TEST("a socket of the system's own is shared out likewise")
{
    char address[256];

    (void)snprintf(address, sizeof(address), "unix:%s/socket", tap_tmpdir());
    open_world(address, 100);
    for (uint64_t i = 1; i <= 6; i++)
        begin_request(come(i));
    for (size_t i = 0; i < SERVERS; i++)
        CHECK_U64(connections(i), 2);
    close_world();
}

TEST("a connection on its way to a server that drains is closed")
{
    char byte;
    int fd;

    open_world("127.0.0.1:0", 100);
    (void)come(1);
    for (size_t i = 1; i < SERVERS; i++) {
        http_server_drain(world.crowd.servers[i], NULL, NULL);
        loop_turn(&world.loops[i], LOOP_POLL);
    }
    fd = dial(); /* to one of those, which has none */
    while (http_server_stats(world.crowd.servers[0]).accepted + all(refused) < 1)
        turn();
    for (int i = 0; i < 100; i++)
        turn();
    CHECK_I64(recv(fd, &byte, 1, MSG_DONTWAIT) <= 0, 1);
    CHECK_U64(all(connections), 1);
    (void)close(fd);
    close_world();
}

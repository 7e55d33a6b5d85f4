/*
 * Who this instance is, and what it asks for: the messages of the hello, made once. The id is a file of its own beside
 * the local copy, so that it outlives a copy that had to be set aside.
 */
#include "agent/agent.h"

#include "agent/place.h"
#include "base/file.h"
#include "proto/inbound.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <net/if.h>
#include <unistd.h>

enum { ADDRESSES_MAX = 16, ID_FILE_MAX = 4096, SECRET_BYTES = 24 };

/* ---- the id ---- */

static bool is_id(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] <= ' ' || s.data[i] == '/' ||
            (unsigned char)s.data[i] == 127)
            return false;
    return s.len > 0 && s.len <= COPY_INSTANCE_MAX && str_is_utf8(s);
}

/* From the settings, the file, the copy, or chance: the first that has one. */
static int find_id(struct agent *a, const char *known, char **ret_id, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(ID_FILE_MAX),
                          path = BUF_NULL((size_t)4 * PLACE_PATH_MAX);
    char uuid[COPY_UUID_BYTES];
    struct str id;
    int r;

    if (*a->config.instance_id) {
        *ret_id = arena_c(&a->arena, str_c(a->config.instance_id));
        return is_id(str_c(*ret_id)) ? 0 : err_set(err, ERR_INVALID, "instance_id is no id");
    }
    buf_printf(&path, "%s/instance.id", a->config.data_dir);
    if (!buf_c(&path))
        return ERR_NOMEM;
    r = file_read(buf_c(&path), &text, err);
    id = str_trim(buf_str(&text));
    if (!r && is_id(id)) {
        *ret_id = arena_c(&a->arena, id);
        return 0;
    }
    if (r && r != ERR_NOT_FOUND)
        return r;
    if (err)
        *err = ERR_NULL;
    if (!*known && copy_new_instance(uuid))
        return err_set(err, ERR_IO, "the system has no random bytes");
    *ret_id = arena_c(&a->arena, str_c(*known ? known : uuid));
    buf_clear(&text);
    buf_printf(&text, "%s\n", *ret_id);
    return file_replace(buf_c(&path), buf_str(&text), 0600, err);
}

/* ---- the secret ---- */

static int make_secret(const char *path, char hex[2 * SECRET_BYTES + 1], struct err *err)
{
    unsigned char bytes[SECRET_BYTES];
    owned(buf) struct buf text = BUF_NULL(ID_FILE_MAX);

    if (random_bytes(bytes, sizeof(bytes)))
        return err_set(err, ERR_IO, "the system has no random bytes");
    hex_encode(bytes, sizeof(bytes), hex);
    buf_printf(&text, "%s\n", hex);
    return buf_status(&text) ? ERR_NOMEM : file_replace(path, buf_str(&text), 0600, err);
}

/* From its file beside the id, made at the first start. One that cannot be a secret is made anew. */
static int find_secret(struct agent *a, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(ID_FILE_MAX),
                          path = BUF_NULL((size_t)4 * PLACE_PATH_MAX);
    char hex[2 * SECRET_BYTES + 1];
    unsigned char bytes[SECRET_BYTES];
    struct str word;
    int r;

    buf_printf(&path, "%s/instance.secret", a->config.data_dir);
    if (!buf_c(&path))
        return ERR_NOMEM;
    r = file_read(buf_c(&path), &text, err);
    word = str_trim(buf_str(&text));
    if (r && r != ERR_NOT_FOUND)
        return r;
    if (err)
        *err = ERR_NULL;
    if (r || word.len != (size_t)2 * SECRET_BYTES || !hex_decode(word, bytes, SECRET_BYTES)) {
        r = make_secret(buf_c(&path), hex, err);
        word = str_c(hex);
    }
    if (!r)
        a->secret = arena_str(&a->arena, word);
    return r;
}

/* ---- host and addresses ---- */

static const char *find_host(struct agent *a)
{
    char name[256] = "localhost";

    if (*a->config.host)
        return a->config.host;
    (void)gethostname(name, sizeof(name) - 1); /* else the standard name stays */
    return arena_c(&a->arena, str_c(name));
}

static bool take_address(struct agent *a, const struct ifaddrs *i, bool loopback, char **out)
{
    char text[NI_MAXHOST];
    socklen_t len;

    if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || !(i->ifa_flags & IFF_LOOPBACK) == loopback)
        return false;
    if (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6)
        return false;
    len = i->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                            : sizeof(struct sockaddr_in6);
    if (getnameinfo(i->ifa_addr, len, text, sizeof(text), NULL, 0, NI_NUMERICHOST))
        return false;
    if (strchr(text, '%')) /* link-local: says nothing elsewhere */
        return false;
    *out = arena_c(&a->arena, str_c(text));
    return true;
}

/* Those that others may reach; the loopback's when there is no other. */
static void find_addresses(struct agent *a, Trimtab__V1__Instance *m)
{
    struct ifaddrs *list = NULL;

    m->addresses = ARENA_ARRAY(&a->arena, char *, ADDRESSES_MAX);
    if (!m->addresses || getifaddrs(&list))
        return;
    for (int pass = 0; pass < 2 && !m->n_addresses; pass++)
        for (const struct ifaddrs *i = list; i && m->n_addresses < ADDRESSES_MAX;
             i = i->ifa_next)
            if (take_address(a, i, pass == 1, &m->addresses[m->n_addresses]))
                m->n_addresses++;
    freeifaddrs(list);
}

static void fill_labels(struct agent *a, Trimtab__V1__Instance *m)
{
    const struct config *c = &a->config;

    m->labels = ARENA_ARRAY(&a->arena, Trimtab__V1__Instance__LabelsEntry *, c->n_pairs);
    for (size_t i = 0; i < c->n_pairs && m->labels; i++) {
        Trimtab__V1__Instance__LabelsEntry *e =
            ARENA_NEW(&a->arena, Trimtab__V1__Instance__LabelsEntry);

        if (!e)
            return;
        trimtab__v1__instance__labels_entry__init(e);
        e->key = arena_c(&a->arena, c->pairs[i].key);
        e->value = arena_c(&a->arena, c->pairs[i].value);
        m->labels[m->n_labels++] = e;
    }
}

int agent_identify(struct agent *a, const char *known, struct err *err)
{
    Trimtab__V1__Instance *m = ARENA_NEW(&a->arena, Trimtab__V1__Instance);
    unsigned char *boot = arena_alloc(&a->arena, 16);
    int r;

    if (!m || !boot)
        return err_set(err, ERR_NOMEM, "out of memory");
    trimtab__v1__instance__init(m);
    r = find_id(a, known, &m->id, err);
    if (!r)
        r = find_secret(a, err);
    if (r)
        return r;
    m->host = arena_c(&a->arena, str_c(find_host(a)));
    find_addresses(a, m);
    fill_labels(a, m);
    m->program = arena_c(&a->arena, STR("trimtab-agent"));
    m->program_version = arena_c(&a->arena, str_c(TRIMTAB_VERSION));
    if (random_bytes(boot, 16))
        return err_set(err, ERR_IO, "the system has no random bytes");
    m->boot_id = (ProtobufCBinaryData){16, boot};
    a->instance = m;
    if (arena_failed(&a->arena))
        return err_set(err, ERR_NOMEM, "out of memory");
    return inbound_check(&m->base, &a->arena, err); /* the server would refuse the same */
}

/* ---- what is asked for ---- */

static char **texts(struct arena *a, const struct str *list, size_t n)
{
    char **out = ARENA_ARRAY(a, char *, n);

    for (size_t i = 0; i < n && out; i++)
        out[i] = arena_c(a, list[i]);
    return out;
}

static Trimtab__V1__Scope *make_scope(struct arena *a, const struct config_scope *c)
{
    Trimtab__V1__Scope *s = ARENA_NEW(a, Trimtab__V1__Scope);
    Trimtab__V1__Selector *selector = ARENA_NEW(a, Trimtab__V1__Selector);
    Trimtab__V1__Selector **list = ARENA_ARRAY(a, Trimtab__V1__Selector *, 1);

    if (!s || !selector || !list)
        return NULL;
    trimtab__v1__scope__init(s);
    trimtab__v1__selector__init(selector);
    s->name = arena_c(a, c->name);
    s->namespaces = texts(a, c->layers, c->n_layers);
    s->n_namespaces = c->n_layers;
    if (c->n_kinds || c->n_names) {
        selector->kinds = texts(a, c->kinds, c->n_kinds);
        selector->n_kinds = c->n_kinds;
        selector->names = texts(a, c->names, c->n_names);
        selector->n_names = c->n_names;
        list[0] = selector;
        s->selectors = list;
        s->n_selectors = 1;
    }
    return s;
}

int agent_make_scopes(struct agent *a, struct err *err)
{
    a->scopes = ARENA_ARRAY(&a->arena, Trimtab__V1__Scope *, a->config.scopes.n);
    for (size_t i = 0; i < a->config.scopes.n && a->scopes; i++)
        a->scopes[i] = make_scope(&a->arena, &a->config.scopes.at[i]);
    return arena_failed(&a->arena) ? err_set(err, ERR_NOMEM, "out of memory") : 0;
}

struct sha256 agent_subscription_hash(const struct agent *a)
{
    owned(buf) struct buf text = BUF_NULL(16 * MIB);
    const Trimtab__V1__Instance *m = a->instance;

    buf_printf(&text, "trimtab subscription 1\n%s\n", m->id);
    for (size_t i = 0; i < m->n_labels; i++)
        buf_printf(&text, "label %s=%s\n", m->labels[i]->key, m->labels[i]->value);
    for (size_t i = 0; i < a->config.scopes.n; i++) {
        struct shared *packed =
            protobuf_c_message_get_packed_size(&a->scopes[i]->base)
                ? shared_new(protobuf_c_message_get_packed_size(&a->scopes[i]->base))
                : NULL;

        if (packed)
            (void)protobuf_c_message_pack(&a->scopes[i]->base,
                                          (uint8_t *)packed->data); /* its length is known */
        buf_printf(&text, "scope %zu\n", packed ? packed->len : 0);
        buf_put_str(&text, shared_str(packed));
        (void)shared_unref(packed);
    }
    return sha256_of(buf_str(&text));
}

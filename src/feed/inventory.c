/*
 * Inventories: what a subscriber says it holds, to be compared with what it should. Bounded in number and, through
 * the bounds on names, in bytes.
 */
#include "feed/internal.h"

struct inventory *inventory_free(struct inventory *inv)
{
    struct map_slot *slot;
    size_t at = 0;

    if (!inv)
        return NULL;
    while ((slot = map_each(&inv->entries, &at)))
        (void)mem_free(slot->value);
    map_deinit(&inv->entries);
    return mem_free(inv);
}

/* scope NUL kind NUL name, or scope NUL key */
static void put_key(struct buf *out, struct str scope, struct str tail)
{
    buf_put_str(out, scope);
    buf_put_byte(out, '\0');
    buf_put_str(out, tail);
}

/* A received "kind/name" as kind NUL name; in the scope of what is referred to an id as a key. */
static int put_tail(const Trimtab__V1__Inventory__Entry *e, struct buf *out, struct err *err)
{
    struct str text = str_c(e->key);
    size_t slash = str_index(text, '/');
    struct name name;

    if (str_eq(str_c(e->scope), SCOPE_REFERRED)) {
        if (name_parse(text, &name, err))
            return ERR_INVALID;
        name_put_key(name, out);
        return buf_status(out);
    }
    if (slash == text.len)
        return err_set(err, ERR_INVALID, "an inventory entry needs kind/name");
    buf_put_str(out, str_part(text, 0, slash));
    buf_put_byte(out, '\0');
    buf_put_str(out, str_from(text, slash + 1));
    return buf_status(out);
}

static struct inventory_entry *entry_new(const Trimtab__V1__Inventory__Entry *e,
                                         struct str tail)
{
    size_t scope_len = strlen(e->scope);
    struct str space = str_c(e->namespace_);
    struct inventory_entry *entry =
        mem_alloc(size_add(sizeof(*entry), size_add(scope_len, tail.len) + 1 + space.len));

    if (!entry)
        return NULL;
    memcpy(entry->hash.bytes, e->hash.data, SHA256_BYTES);
    entry->revision = e->revision;
    entry->seen = false;
    entry->is_held = e->held;
    entry->is_ours = false;
    entry->scope_len = scope_len;
    entry->space_len = space.len;
    entry->len = scope_len + 1 + tail.len;
    memcpy(entry->key, e->scope, scope_len);
    entry->key[scope_len] = '\0';
    memcpy(entry->key + scope_len + 1, tail.data, tail.len);
    if (space.len)
        memcpy(entry->key + entry->len, space.data, space.len);
    return entry;
}

static int add_entry(struct inventory *inv, const Trimtab__V1__Inventory__Entry *e,
                     struct err *err)
{
    owned(buf) struct buf tail = BUF_NULL(ID_BYTES_MAX);
    struct inventory_entry *entry;
    void *old = NULL;
    int r;

    if (strlen(e->scope) > SEGMENT_BYTES_MAX || strlen(e->key) > ID_BYTES_MAX ||
        strlen(e->namespace_) > NAMESPACE_BYTES_MAX)
        return err_set(err, ERR_INVALID,
                       "an inventory entry names what no resource can be called");
    if (e->hash.len != SHA256_BYTES)
        return err_set(err, ERR_INVALID, "an inventory entry needs a SHA-256");
    r = put_tail(e, &tail, err);
    if (r)
        return r;
    entry = entry_new(e, buf_str(&tail));
    if (!entry)
        return ERR_NOMEM;
    if (!map_put(&inv->entries, str_of(entry->key, entry->len), entry, &old)) {
        (void)mem_free(entry);
        return ERR_NOMEM;
    }
    (void)mem_free(old); /* named twice: the last one counts */
    return 0;
}

int inventory_add(struct feed_session *s, const Trimtab__V1__Inventory *message,
                  struct err *err)
{
    if (!s->inventory)
        s->inventory = NEW(struct inventory);
    if (!s->inventory)
        return ERR_NOMEM;
    if (s->inventory->entries.n + message->n_entries > FEED_INVENTORY_MAX)
        return err_set(err, ERR_LIMIT, "an inventory of more than %d entries",
                       FEED_INVENTORY_MAX);
    for (size_t i = 0; i < message->n_entries; i++) {
        int r = add_entry(s->inventory, message->entries[i], err);

        if (r)
            return r;
    }
    return 0;
}

struct inventory_entry *inventory_find(const struct inventory *inv, struct str scope,
                                       struct str tail)
{
    char room[SEGMENT_BYTES_MAX + 1 + ID_BYTES_MAX];
    struct buf key = {.data = room, .cap = sizeof(room), .ceiling = sizeof(room)};

    put_key(&key, scope, tail); /* fits: both have been checked */
    return map_get(&inv->entries, buf_str(&key));
}

/*
 * Marks: which cursors prove that the server has lost records, and which are just words; and what a log that was restored
 * says of what subscribers of the store before have.
 */
#include "feed/peer.h"

static const unsigned char key[MARK_KEY_BYTES] = {PEER_KEY_BYTE};

#define STORE   str_of("0123456789abcde", FEED_STORE_ID_BYTES)
#define FOREIGN STR("another store id")

struct visit {
    struct world w;
    struct peer p;
};

/* Two items and three commits, and a peer that says hello with this cursor. */
static Trimtab__V1__Mode hello(struct visit *v, struct greeting g)
{
    g.scopes = "s";
    g.layers = "a";
    g.has_cursor = true;
    CHECK(world_open(&v->w) && peer_open(&v->p, &v->w));
    PUBLISH(&v->w, {"a/item/x", "1"});
    PUBLISH(&v->w, {"a/item/y", "2"});
    PUBLISH(&v->w, {"a/item/x", "3"});
    CHECK_I64(peer_hello(&v->p, &g, NULL), 0);
    return feed_session_status(v->p.session).mode;
}

static void end(struct visit *v)
{
    CHECK(peer_settle(&v->p) && peer_is_true(&v->p)); /* whatever it said, it ends with what is */
    peer_close(&v->p);
    world_close(&v->w);
}

static struct str mark_of(struct str store, uint64_t revision, unsigned char out[MARK_BYTES])
{
    mark_make(key, &(struct marked){store, revision, STR("")}, out);
    return str_of(out, MARK_BYTES);
}

TEST("the mark of an end is that of its revision, and brings the subscriber on from there")
{
    unsigned char want[MARK_BYTES];
    struct visit v;

    CHECK_I64((int)hello(&v, (struct greeting){.revision = 1}), TRIMTAB__V1__MODE__RESUME);
    end(&v);
    CHECK(mark_of(STORE, 3, want).len == MARK_BYTES);
    CHECK(memcmp(v.p.mark, want, MARK_BYTES) == 0);
    CHECK_I64((int)hello(&v, (struct greeting){.revision = 3, .mark = str_of(want, MARK_BYTES)}),
              TRIMTAB__V1__MODE__RESUME);
    CHECK_U64(v.p.n_lost, 0);
    end(&v);
}

TEST("a mark from beyond the log proves lost records; nothing else does")
{
    unsigned char bytes[MARK_BYTES], other_key[MARK_KEY_BYTES] = {1};
    struct visit v;

    CHECK_I64((int)hello(&v, (struct greeting){.revision = 7, .mark = mark_of(STORE, 7, bytes)}),
              TRIMTAB__V1__MODE__INVENTORY);
    CHECK(v.p.n_lost == 1 && v.p.lost == 7);
    end(&v);
    CHECK_I64((int)hello(&v, (struct greeting){.revision = 7}), TRIMTAB__V1__MODE__INVENTORY);
    CHECK_U64(v.p.n_lost, 0);
    end(&v);
    CHECK_I64((int)hello(&v, (struct greeting){.revision = 8, .mark = mark_of(STORE, 7, bytes)}),
              TRIMTAB__V1__MODE__INVENTORY);
    CHECK_U64(v.p.n_lost, 0);
    end(&v);
    mark_make(other_key, &(struct marked){STORE, 7, STR("")}, bytes);
    CHECK_I64((int)hello(&v, (struct greeting){.revision = 7, .mark = str_of(bytes, MARK_BYTES)}),
              TRIMTAB__V1__MODE__INVENTORY);
    CHECK_U64(v.p.n_lost, 0);
    end(&v);
    CHECK_I64((int)hello(&v, (struct greeting){.revision = 7,
                                               .is_foreign = true,
                                               .mark = mark_of(FOREIGN, 7, bytes)}),
              TRIMTAB__V1__MODE__INVENTORY);
    CHECK_U64(v.p.n_lost, 0);
    end(&v);
}

TEST("within the log a wrong mark is compared, and no mark, as of an old client, resumes")
{
    unsigned char bytes[MARK_BYTES];
    struct visit v;

    CHECK_I64((int)hello(&v, (struct greeting){.revision = 2, .mark = mark_of(STORE, 3, bytes)}),
              TRIMTAB__V1__MODE__INVENTORY);
    end(&v);
    CHECK_I64((int)hello(&v, (struct greeting){.revision = 2, .mark = STR("short")}),
              TRIMTAB__V1__MODE__INVENTORY);
    end(&v);
    CHECK_I64((int)hello(&v, (struct greeting){.revision = 2}), TRIMTAB__V1__MODE__RESUME);
    end(&v);
}

/* ---- what a restore explains ---- */

/*
 * A log that was restored from a copy that ended at revision 3, in which x had been deleted; and a subscriber of the store
 * before that has x from before its deletion, and z, which was published after the copy.
 */
static void come_from_before(struct visit *v, bool is_known, bool deletes_newer)
{
    struct restored restored = {.from_revision = 3, .deletes_newer = deletes_newer};
    struct greeting g = {.scopes = "s", .layers = "a", .has_cursor = true, .is_foreign = true};

    memcpy(restored.from, is_known ? "another store id" : "some other store", sizeof(restored.from));
    CHECK(world_open(&v->w) && peer_open(&v->p, &v->w));
    PUBLISH(&v->w, {"a/item/x", "1"}, {"a/item/y", "2"}, {"a/item/z", "3"});
    CHECK_I64(peer_hello(&v->p, &(struct greeting){.scopes = "s", .layers = "a"}, NULL), 0);
    CHECK(peer_settle(&v->p));
    peer_close(&v->p);
    world_close(&v->w);
    CHECK(world_open(&v->w));
    PUBLISH(&v->w, {"a/item/x", "1"}, {"a/item/y", "2"});
    PUBLISH(&v->w, {"a/item/x", NULL});
    PUBLISH(&v->w, {"a/item/y", "older"});
    world_restore(&v->w, &restored);
    v->p.held[peer_find(&v->p, "s item/z")].revision = 5;
    v->p.held[peer_find(&v->p, "s item/y")].revision = 6;
    v->p.w = &v->w;
    v->p.session = feed_session_new(v->w.feed, FEED_CLIENT_ANSWERS, &v->p);
    peer_forget(&v->p);
    CHECK_I64(peer_hello(&v->p, &g, NULL), 0);
    CHECK(peer_settle(&v->p));
    CHECK_U64(v->p.puts, 1); /* y has its older content, in any case */
    CHECK_U64(v->p.drops, 2);
}

TEST("a deletion from before the copy has its cause in the log; what is newer is held")
{
    struct visit v;

    come_from_before(&v, true, false);
    CHECK_U64(v.p.uncaused, 1);
    end(&v);
}

TEST("with the operator's word what is newer goes, for subscribers of that store only")
{
    struct visit v;

    come_from_before(&v, true, true);
    CHECK_U64(v.p.uncaused, 0);
    end(&v);
    come_from_before(&v, false, true);
    CHECK_U64(v.p.uncaused, 2);
    end(&v);
}

/*
 * What readers of the SDK see: types, defaults, consistent snapshots, and values that never mix while they change.
 */
#include "tap.h"

#include "sdk/table.h"

#include <trimtab/trimtab.h>

/* The getters take a client; its first member is the values. */
#include "sdk/client.h"

static struct table *table_of(uint64_t revision, int64_t value)
{
    char a[32], b[32];
    struct table_item items[2];

    (void)snprintf(a, sizeof(a), "%lld", (long long)value);
    (void)snprintf(b, sizeof(b), "%lld", (long long)-value);
    items[0] = (struct table_item){STR("a"), str_c(a)};
    items[1] = (struct table_item){STR("b"), str_c(b)};
    return table_new(items, 2, revision);
}

TEST("a getter gives the value of its type, and the default for everything else")
{
    static const struct table_item items[] = {
        {STR("bool"), STR("true")},  {STR("int"), STR("42")},      {STR("float"), STR("2.5")},
        {STR("text"), STR("\"x\"")}, {STR("list"), STR("[1, 2]")}, {STR("null"), STR("null")},
        {STR("int"), STR("43")},
    };
    static struct trimtab t;
    char out[8];

    REQUIRE(values_init(&t.values) == 0);
    CHECK_I64(trimtab_get_int(&t, "int", 7), 7);
    (void)values_publish(&t.values, table_new(items, ARRAY_LEN(items), 1));
    CHECK(trimtab_get_bool(&t, "bool", false));
    CHECK_I64(trimtab_get_int(&t, "int", 7), 42);
    CHECK(trimtab_get_float(&t, "float", 0) == 2.5);
    CHECK(trimtab_get_float(&t, "int", 0) == 42);
    CHECK_I64(trimtab_get_int(&t, "float", 7), 7);
    CHECK_I64(trimtab_get_int(&t, "null", 7), 7);
    CHECK_I64(trimtab_get_int(&t, "none", 7), 7);
    CHECK(!trimtab_get_bool(&t, "int", false));
    CHECK_U64(trimtab_get_string(&t, "text", "-", out, sizeof(out)), 1);
    CHECK_STR(str_c(out), STR("x"));
    CHECK_U64(trimtab_get_string(&t, "list", "-", out, 4), 6);
    CHECK_STR(str_c(out), STR("[1,"));
    CHECK_U64(trimtab_get_string(&t, "int", "std", out, sizeof(out)), 3);
    CHECK_U64(trimtab_get_string(&t, "int", NULL, out, sizeof(out)), 0);
    values_deinit(&t.values);
}

TEST("a handle follows its item through changes, absence and return")
{
    static struct trimtab t;
    struct trimtab_handle *h;

    REQUIRE(values_init(&t.values) == 0);
    h = trimtab_handle(&t, "a");
    REQUIRE(h != NULL);
    CHECK(trimtab_handle(&t, "a") == h);
    CHECK_I64(trimtab_handle_int(h, 9), 9);
    (void)values_publish(&t.values, table_of(1, 5));
    CHECK_I64(trimtab_handle_int(h, 9), 5);
    CHECK(trimtab_handle_float(h, 0) == 5);
    CHECK(trimtab_handle_bool(h, true));
    (void)values_publish(&t.values, table_new(NULL, 0, 2));
    CHECK_I64(trimtab_handle_int(h, 9), 9);
    (void)values_publish(&t.values, table_of(3, 6));
    CHECK_I64(trimtab_handle_int(h, 9), 6);
    values_deinit(&t.values);
}

TEST("a snapshot stays what it was while newer values come")
{
    static struct trimtab t;
    const struct trimtab_snapshot *s;

    REQUIRE(values_init(&t.values) == 0);
    (void)values_publish(&t.values, table_of(1, 5));
    s = trimtab_snapshot_acquire(&t);
    for (uint64_t i = 2; i < 20; i++)
        (void)values_publish(&t.values, table_of(i, (int64_t)i));
    CHECK_U64(trimtab_snapshot_revision(s), 1);
    CHECK_I64(trimtab_snapshot_int(s, "a", 0), 5);
    CHECK_I64(trimtab_get_int(&t, "a", 0), 19);
    trimtab_snapshot_release(s);
    CHECK_I64(trimtab_get_int(&t, "a", 0), 19);
    s = trimtab_snapshot_acquire(&t);
    CHECK_U64(trimtab_snapshot_revision(s), 19);
    trimtab_snapshot_release(s);
    values_deinit(&t.values);
}

struct race {
    struct trimtab *t;
    _Atomic bool stop;
    _Atomic uint64_t reads, mixed;
};

/* Within one snapshot a + b is 0, whatever the writer does; a handle never shows half a value. */
static void *read_on(void *arg)
{
    struct race *r = arg;
    struct trimtab_handle *h = trimtab_handle(r->t, "a");

    while (!atomic_load(&r->stop)) {
        const struct trimtab_snapshot *s = trimtab_snapshot_acquire(r->t);
        int64_t a = trimtab_snapshot_int(s, "a", 0), b = trimtab_snapshot_int(s, "b", 0);

        double f = trimtab_handle_float(h, 0);

        trimtab_snapshot_release(s);
        if (a + b != 0 || f != (double)(int64_t)f)
            atomic_fetch_add(&r->mixed, 1);
        atomic_fetch_add(&r->reads, 1);
    }
    return NULL;
}

TEST("readers on other threads never see a mixture, and nothing is freed under them")
{
    static struct trimtab t;
    static struct race r;
    pthread_t threads[3];

    REQUIRE(values_init(&t.values) == 0);
    r.t = &t;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        REQUIRE(pthread_create(&threads[i], NULL, read_on, &r) == 0);
    for (uint64_t i = 1; i < 3000 || atomic_load(&r.reads) < 3000; i++)
        (void)values_publish(&t.values, table_of(i, (int64_t)i));
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        (void)pthread_join(threads[i], NULL);
    CHECK_U64(atomic_load(&r.mixed), 0);
    values_deinit(&t.values);
}

TEST("every failing allocation leaves the values that were")
{
    ALLOC_SWEEP (n) {
        struct table *t = table_of(1, 5);

        (void)table_free(t);
    }
}

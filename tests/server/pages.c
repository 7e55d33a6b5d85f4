/*
 * Pages of lists at their bounds: how much is looked at for one, how many bytes it has, and how much is kept while it is made.
 * That each entry is on exactly one page is tested over the network, too (e2e/28-pages.t).
 */
#include "server/place.h"

#include "server/rollout/pick.h"
#include "server/use/instance_page.h"
#include "server/use/methods.h"

enum { MANY = 25000, SEEN_AT_MOST = 5000, PAGE_BYTES = 4 << 20 };

/* ---- asking ---- */

struct asked {
    struct place *place;
    ProtobufCMessage *response; /* a copy */
    struct err err;
    bool is_over;
};

static bool is_over(void *ctx)
{
    return ((struct asked *)ctx)->is_over;
}

static void done(void *ctx, struct api_call *call)
{
    struct asked *a = ctx;
    struct shared *packed = call->err.code ? NULL : api_packed(call);
    struct str bytes = shared_str(packed);

    a->err = call->err;
    if (packed)
        a->response =
            protobuf_c_message_unpack(call->type, NULL, bytes.len, (const uint8_t *)bytes.data);
    a->is_over = true;
}

/* Whoever asks sees everything. The answer is the caller's. */
static ProtobufCMessage *ask(struct place *p, const char *method, const ProtobufCMessage *q)
{
    struct desk desk = {&p->hub, &p->driver};
    struct asked a = {.place = p};
    struct api_call *call = NULL;

    for (size_t i = 0; i < api_methods_n; i++)
        if (strcmp(api_methods[i].name, method) == 0)
            call = api_call_new(&desk, &p->loop, &api_methods[i]);
    if (!CHECK(call != NULL))
        return NULL;
    call->who.local = RIGHTS_ALL;
    call->request = q;
    call->done = done;
    call->ctx = &a;
    api_run(call);
    place_until(p, is_over, &a);
    if (!CHECK_I64(a.err.code, 0))
        tap_note("%s: %s", method, a.err.text);
    return a.response;
}

static void connect_many(struct place *p, size_t n)
{
    char id[24];

    for (size_t i = 0; i < n; i++) {
        (void)snprintf(id, sizeof(id), "i%05zu", (i * 7919) % n);
        if (!CHECK(place_connect(p, id) != NULL))
            return;
    }
}

/* ---- instances ---- */

static Trimtab__V1__InstancesResponse *instances(struct place *p, char *prefix, char *after,
                                                 uint32_t limit)
{
    Trimtab__V1__InstancesRequest q = TRIMTAB__V1__INSTANCES_REQUEST__INIT;

    q.prefix = prefix;
    q.after = after;
    q.limit = limit;
    return (Trimtab__V1__InstancesResponse *)ask(p, "Instances", &q.base);
}

static void instances_free(Trimtab__V1__InstancesResponse *m)
{
    if (m)
        trimtab__v1__instances_response__free_unpacked(m, NULL);
}

/* All pages of a list; the ids come in order. */
static void follow(struct place *p, char *prefix, uint32_t limit, size_t want, size_t pages)
{
    char after[32] = "", last[32] = "";
    size_t n = 0, n_pages = 0;

    do {
        Trimtab__V1__InstancesResponse *m = instances(p, prefix, after, limit);

        if (!m)
            return;
        CHECK(!limit || m->n_instances <= limit);
        for (size_t i = 0; i < m->n_instances; i++) {
            CHECK(strcmp(m->instances[i]->instance->id, last) > 0);
            (void)snprintf(last, sizeof(last), "%s", m->instances[i]->instance->id);
        }
        n += m->n_instances;
        n_pages++;
        CHECK(!*m->next || strcmp(m->next, after) > 0);
        (void)snprintf(after, sizeof(after), "%s", m->next);
        instances_free(m);
    } while (*after && n_pages < 1000 && !tap_failed());
    CHECK_U64(n, want);
    CHECK_U64(n_pages, pages);
}

TEST("of many instances each page looks at a bounded number, in order, whatever is found")
{
    struct place p;
    char none[] = "none", few[] = "i0001", all[] = "";

    place_init(&p);
    REQUIRE(place_open(&p) == 0);
    connect_many(&p, MANY);
    follow(&p, none, 1000, 0, (MANY + SEEN_AT_MOST - 1) / SEEN_AT_MOST);
    follow(&p, few, 1000, 10, (MANY + SEEN_AT_MOST - 1) / SEEN_AT_MOST);
    follow(&p, few, 3, 10, 8); /* of 3, 3, 3, and what is left in the parts of 5,000 behind */
    follow(&p, all, 2500, MANY, MANY / 2500);
    follow(&p, all, 50000, MANY, MANY / SEEN_AT_MOST);
    place_free(&p);
}

/* It refuses something, and tells a long story about it. */
static void say_much(struct place *p, struct instance *i, size_t bytes)
{
    struct moment at = hub_moment(&p->hub);
    struct standing s = {.proof = PROOF_HOLDS, .complete = p->hub.state->revision};
    Trimtab__V1__Refusal f[64], *list[ARRAY_LEN(f)];
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    char *message = malloc(bytes / ARRAY_LEN(f) + 1);

    REQUIRE(message != NULL);
    memset(message, 'm', bytes / ARRAY_LEN(f));
    message[bytes / ARRAY_LEN(f)] = '\0';
    for (size_t n = 0; n < ARRAY_LEN(f); n++) {
        trimtab__v1__refusal__init(&f[n]);
        f[n].message = message;
        list[n] = &f[n];
    }
    ack.refused = list;
    ack.n_refused = ARRAY_LEN(f);
    s.report = report_new(&ack);
    CHECK(s.report && roster_stand(&p->hub.roster, i, &s, true, &at) == 0);
    free(message);
}

TEST("a page ends where instances say more than fits it, and always has one")
{
    struct place p;
    char all[] = "", after[32] = "";
    size_t n = 0, n_pages = 0;

    place_init(&p);
    REQUIRE(place_open(&p) == 0);
    connect_many(&p, 40);
    for (size_t i = 0; i < 40; i++) {
        char id[24];

        (void)snprintf(id, sizeof(id), "i%05zu", i);
        say_much(&p, roster_find(&p.hub.roster, str_c(id)), i == 20 ? 6 << 20 : 1 << 20);
    }
    do {
        Trimtab__V1__InstancesResponse *m = instances(&p, all, after, 0);

        REQUIRE(m != NULL);
        CHECK(m->n_instances > 0);
        CHECK(m->n_instances == 1 ||
              trimtab__v1__instances_response__get_packed_size(m) < PAGE_BYTES + 4096);
        n += m->n_instances;
        n_pages++;
        (void)snprintf(after, sizeof(after), "%s", m->next);
        instances_free(m);
    } while (*after && n_pages < 50);
    CHECK_U64(n, 40);
    CHECK(n_pages > 10);
    place_free(&p);
}

static bool wants_all(void *ctx, const struct presence *p)
{
    (void)ctx;
    (void)p;
    return true;
}

TEST("who goes while a page is made is still told of, and nothing of it is kept")
{
    struct place p;
    struct desk desk = {&p.hub, &p.driver};
    struct api_call *call;
    struct presence *held;

    place_init(&p);
    REQUIRE(place_open(&p) == 0);
    connect_many(&p, 4);
    call = api_call_new(&desk, &p.loop, &api_methods[0]);
    REQUIRE(call && instance_page_find(
                        call, &(struct instance_page_opts){
                                  .after = "i00001", .limit = 2, .is_wanted = wants_all}) == 0);
    CHECK_U64(call->page->n, 2);
    CHECK(!*call->page->next);
    held = call->page->at[0];
    CHECK_STR(str_c(presence_id(held)), str_c("i00002"));
    place_leave(&p, roster_find(&p.hub.roster, str_c("i00002")));
    CHECK(held->is_connected); /* as it was */
    CHECK_I64(roster_forget(&p.hub.roster, str_c("i00002"), NULL), 0);
    CHECK_STR(str_c(presence_id(held)), str_c("i00002"));
    CHECK_U64(atomic_load(&held->refs), 1);
    api_call_free(call);
    place_free(&p);
}

/* ---- picks ---- */

static int by_text(const void *a, const void *b)
{
    const char *const *ta = a, *const *tb = b;

    return strcmp(*ta, *tb);
}

TEST("the picks of a page are the first ones behind an id, and no more than the page is kept")
{
    static char ids[500][8];
    const char *sorted[ARRAY_LEN(ids)];
    struct rng rng = {3};

    for (int round = 0; round < 300; round++) {
        size_t n = rng_below(&rng, ARRAY_LEN(ids) + 1), behind = 0;
        struct pick_page page = {.after = "", .state = "", .limit = 1 + rng_below(&rng, 60)};

        for (size_t i = 0; i < n; i++) {
            (void)snprintf(ids[i], sizeof(ids[i]), "%03zu", (i * 211 + 7) % ARRAY_LEN(ids));
            sorted[i] = ids[i];
        }
        if (n && rng_below(&rng, 3))
            page.after = ids[rng_below(&rng, n)];
        for (size_t i = 0; i < n; i++) {
            REQUIRE(pick_page_add(&page, (struct pick){NULL, ids[i], 1}));
            CHECK(page.n <= page.limit + 1);
        }
        qsort(sorted, n, sizeof(*sorted), by_text);
        while (behind < n && strcmp(sorted[behind], page.after) <= 0)
            behind++;
        pick_page_close(&page);
        CHECK_U64(page.n, MIN(page.limit, n - behind));
        CHECK(page.has_more == (n - behind > page.limit));
        for (size_t i = 0; i < page.n; i++)
            CHECK(strcmp(page.at[i].id, sorted[behind + i]) == 0);
        pick_page_deinit(&page);
    }
}

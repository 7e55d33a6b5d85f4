/*
 * Targets and rollouts: who is taken, and which move leads where.
 */
#include "model/rollout.h"

#include "base/alloc.h"
#include "base/file.h"
#include "tap.h"

/* ---- targets ---- */

static struct str addresses[] = {{"10.1.2.3", 8}, {"fd00::1:2", 9}};
static struct pair labels[] = {
    {{"env", 3}, {"prod", 4}}, {{"tier", 4}, {"web", 3}}, {{"rack", 4}, {"12", 2}}};
static const struct subject web1 = {.id = {"web-1", 5},
                                    .fingerprint = {"[web-1.shop][80][abc]", 21},
                                    .host = {"web-1.shop", 10},
                                    .addresses = addresses,
                                    .n_addresses = 2,
                                    .labels = labels,
                                    .n_labels = 3};

static bool takes(struct target t, const struct subject *s)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct err err = ERR_NULL;

    if (!CHECK_I64(target_compile(&t, &a, &err), 0)) {
        tap_note("%s", err.text);
        return false;
    }
    return target_takes(&t, s, STR("salt"));
}

TEST("a target takes by id, fingerprint, host, network and everyone")
{
    static const struct subject nobody = {.n_labels = 0};
    struct str ids[] = {STR("web-9"), STR("web-1"), STR("api-1")};

    CHECK(takes((struct target){.ids = ids, .n_ids = 3}, &web1));
    CHECK(!takes((struct target){.ids = ids, .n_ids = 3}, &nobody));
    CHECK(takes(
        (struct target){.fingerprints = (struct str[]){STR("*[80]*")}, .n_fingerprints = 1},
        &web1));
    CHECK(takes(
        (struct target){.hosts = (struct str[]){STR("x"), STR("web-*.shop")}, .n_hosts = 2},
        &web1));
    CHECK(
        !takes((struct target){.hosts = (struct str[]){STR("web-*")}, .n_hosts = 1}, &nobody));
    CHECK(takes((struct target){.everyone = true}, &nobody));
}

TEST("networks are of both families, whole addresses and prefixes of any length")
{
    static const struct {
        const char *network;
        bool takes;
    } cases[] = {
        {"10.1.2.3", true},      {"10.1.2.4", false},       {"10.1.2.0/24", true},
        {"10.1.2.0/30", true},   {"10.1.2.4/30", false},    {"0.0.0.0/0", true},
        {"10.1.2.2/31", true},   {"192.168.0.0/16", false}, {"fd00::/8", true},
        {"fd00::1:2", true},     {"fd00::1:3", false},      {"::/0", true},
        {"fd00::1:0/112", true}, {"fe80::/10", false},      {"::ffff:10.1.2.3", true},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str network = str_c(cases[i].network);

        if (!CHECK(takes((struct target){.networks = &network, .n_networks = 1}, &web1) ==
                   cases[i].takes))
            tap_note("%s", cases[i].network);
    }
}

TEST("label selectors mean what they mean to Kubernetes")
{
    static const struct {
        const char *selector;
        bool takes;
    } cases[] = {
        {"env=prod", true},
        {"env==prod", true},
        {"env = prod", true},
        {"env=dev", false},
        {"env!=dev", true},
        {"missing!=x", true},
        {"env!=prod", false},
        {"env in (dev, prod)", true},
        {"env in (dev)", false},
        {"env notin (dev)", true},
        {"env notin (prod,dev)", false},
        {"missing notin (a)", true},
        {"env", true},
        {"missing", false},
        {"!missing", true},
        {"!env", false},
        {"rack>11", true},
        {"rack > 12", false},
        {"rack<13", true},
        {"env>1", false},
        {"missing<5", false},
        {"env=prod,tier=web", true},
        {"env=prod , tier=db", false},
        {"env in (prod),!missing,rack", true},
        {"in in (x)", false},
        {"rack=", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (!CHECK(takes((struct target){.labels = str_c(cases[i].selector)}, &web1) ==
                   cases[i].takes))
            tap_note("%s", cases[i].selector);
}

TEST("all conditions of a target must hold, any value of one will do")
{
    struct target t = {
        .hosts = (struct str[]){STR("web-*")}, .n_hosts = 1, .labels = STR("env=prod")};

    CHECK(takes(t, &web1));
    t.labels = STR("env=dev");
    CHECK(!takes(t, &web1));
    t.labels = STR("env=prod");
    t.has_percent = true;
    CHECK(!takes(t, &web1));
    t.percent = PERCENT_WHOLE;
    CHECK(takes(t, &web1));
}

TEST("a target that is none is refused, and the story says why")
{
    static const struct {
        struct target target;
        const char *text;
    } wrong[] = {
        {{.n_ids = 0}, "a target without any condition"},
        {{.everyone = true, .labels = {"a", 1}},
         "a target for all instances has other conditions too"},
        {{.has_percent = true, .percent = 10001}, "more than 100 percent"},
        {{.labels = {"a=b c", 5}}, "label selector: a comma is missing before \"c\""},
        {{.labels = {"a in b", 6}}, "label selector: '(' is missing before \"b\""},
        {{.labels = {"a in (b", 7}}, "label selector: ')' is missing at the end"},
        {{.labels = {"a,", 2}}, "label selector: the name of a label is missing at the end"},
        {{.labels = {"a>b", 3}}, "label selector: a whole number is missing at the end"},
        {{.labels = {"=a", 2}}, "label selector: the name of a label is missing before \"=a\""},
    };
    static const char *networks[] = {"10.0.0",    "10.0.0.0/33", "x",
                                     "10.0.0.0/", "fd00::/129",  ""};

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        owned(arena) struct arena a = ARENA_NULL;
        struct target t = wrong[i].target;
        struct err err = ERR_NULL;

        CHECK_I64(target_compile(&t, &a, &err), ERR_INVALID);
        CHECK_STR(str_c(err.text), str_c(wrong[i].text));
    }
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        owned(arena) struct arena a = ARENA_NULL;
        struct str network = str_c(networks[i]);
        struct target t = {.networks = &network, .n_networks = 1};

        CHECK_I64(target_compile(&t, &a, NULL), ERR_INVALID);
    }
}

/* ---- percentages ---- */

static void check_place(struct str line)
{
    struct str salt, id, want;
    uint64_t place;

    REQUIRE(str_next(&line, '|', &salt) && str_next(&line, '|', &id) &&
            str_next(&line, '|', &want));
    REQUIRE(str_u64(want, &place));
    CHECK_U64(percent_place(salt, id), place);
}

TEST("places are those of the frozen vectors, which OpenSSL's tool computed")
{
    owned(buf) struct buf file = BUF_NULL(MIB);
    struct str rest, line;
    int n = 0;

    REQUIRE(file_read(PERCENT_VECTORS, &file, NULL) == 0);
    rest = buf_str(&file);
    while (str_next(&rest, '\n', &line))
        if (line.len && line.data[0] != '#') {
            check_place(line);
            n++;
        }
    CHECK_I64(n, 32);
}

TEST("growing percentages never drop a member, and take as many as they should, over 100,000 "
     "ids")
{
    enum { IDS = 100000 };
    static const uint32_t percents[] = {100, 1000, 2500, 5000, 10000};
    static bool was_in[IDS];

    for (size_t p = 0; p < ARRAY_LEN(percents); p++) {
        struct target t = {.has_percent = true, .percent = percents[p]};
        double share = percents[p] / (double)PERCENT_WHOLE, want = IDS * share;
        double bound =
            3.29 * __builtin_sqrt(want * (1 - share)); /* 99.9 % of a binomial distribution */
        int n = 0, n_dropped = 0;

        for (int i = 0; i < IDS; i++) {
            char id[32];
            struct subject s = {0};
            bool is_in;

            (void)snprintf(id, sizeof(id), "instance-%d", i);
            s.id = str_c(id);
            is_in = target_takes(&t, &s, STR("1042"));
            n_dropped += was_in[i] && !is_in;
            n += is_in;
            was_in[i] = is_in;
        }
        CHECK_I64(n_dropped, 0);
        CHECK(n >= want - bound && n <= want + bound);
        tap_note("%u hundredths of a percent: %d of %d, %.0f +- %.0f", percents[p], n, IDS,
                 want, bound);
    }
}

/* ---- the state machine ---- */

static struct target everyone = {.everyone = true};
static struct step whole = {.targets = &everyone, .n_targets = 1};

static struct version *candidate(const char *key, size_t len)
{
    struct shared *wire = shared_copy(STR("new"));
    struct version *v =
        wire ? version_new(&(struct version_opts){.key = str_of(key, len),
                                                  .content_type = STR("text/plain"),
                                                  .wire = wire,
                                                  .content = shared_str(wire),
                                                  .number = 2,
                                                  .revision = 10})
             : NULL;

    (void)shared_unref(wire);
    return v;
}

static struct rollout *started(size_t n_steps)
{
    struct step steps[] = {whole, whole, whole};
    struct rollout_plan plan = {.name = STR("new routes"), .steps = steps, .n_steps = n_steps};
    struct rollout_move m = {.kind = MOVE_START,
                             .author = STR("ann"),
                             .reason = STR("why"),
                             .time_ms = 5,
                             .revision = 10};
    struct version *v[] = {candidate("b\0item\0x", 8), candidate("a\0item\0x", 8)};
    struct rollout *r = NULL;

    m.plan = &plan;
    if (v[0] && v[1])
        r = rollout_start(&m, v, 2);
    (void)version_unref(v[0]);
    (void)version_unref(v[1]);
    return r;
}

/* Makes a move, or answers why not. */
static int move(struct rollout **r, enum rollout_move_kind kind, struct err *err)
{
    struct rollout_move m = {.kind = kind,
                             .id = (*r)->id,
                             .expected = (*r)->n_moves,
                             .author = STR("bob"),
                             .reason = STR("because"),
                             .time_ms = 6,
                             .revision = (*r)->node.revision + 1,
                             .step = &whole};
    struct rollout *next;
    int rc = rollout_move_check(*r, &m, err);

    if (rc)
        return rc;
    next = rollout_moved(*r, &m);
    if (!next)
        return ERR_NOMEM;
    (void)rollout_unref(*r);
    *r = next;
    return 0;
}

TEST("a rollout starts running, with its first step begun and its candidates in order")
{
    struct rollout *r = started(2);

    CHECK_U64(r->id, 10);
    CHECK_U64(r->n_moves, 1);
    CHECK(r->phase == ROLLOUT_RUNNING && rollout_is_live(r));
    CHECK_STR(r->salt, STR("10"));
    CHECK(r->n_begun == 1 && r->steps[0].revision == 10 && r->steps[1].revision == 0);
    CHECK_STR(r->candidates[0]->key, STR("a\0item\0x"));
    CHECK(rollout_candidate(r, STR("b\0item\0x")) == r->candidates[1]);
    CHECK(rollout_candidate(r, STR("c\0item\0x")) == NULL);
    (void)rollout_unref(r);
}

TEST("every sequence of three moves goes as the table of states says, by a model of its own")
{
    /* Written down again: phase by phase, the moves that are possible, and where they lead. */
    static const char *const can[ROLLOUT_PHASES] = {"eaupcrxo", "erRcxo", "", "", "", ""};
    static const char letters[ROLLOUT_MOVES + 1] = "SeaupRcrxo";
    int n = 0;

    for (int sequence = 0; sequence < ROLLOUT_MOVES * ROLLOUT_MOVES * ROLLOUT_MOVES;
         sequence++) {
        struct rollout *r = started(2);
        int phase = ROLLOUT_RUNNING, begun = 1, planned = 2;
        bool satisfied = false;

        for (int i = 0, rest = sequence; i < 3; i++, rest /= ROLLOUT_MOVES) {
            enum rollout_move_kind kind = (enum rollout_move_kind)(rest % ROLLOUT_MOVES);
            char letter = letters[kind];
            bool may = strchr(can[phase], letter) && !(letter == 'a' && begun == planned) &&
                       !(letter == 'u' && satisfied);
            struct err err = ERR_NULL;

            CHECK_I64(move(&r, kind, &err) == 0, may);
            n++;
            if (!may)
                continue;
            planned += letter == 'e';
            begun += letter == 'e' || letter == 'a';
            satisfied = letter == 'u' || (satisfied && letter != 'e' && letter != 'a');
            phase = letter == 'p'   ? ROLLOUT_PAUSED
                    : letter == 'R' ? ROLLOUT_RUNNING
                    : letter == 'c' ? ROLLOUT_CONFIRMED
                    : letter == 'r' ? ROLLOUT_ROLLED_BACK
                    : letter == 'x' ? ROLLOUT_EXPIRED
                    : letter == 'o' ? ROLLOUT_OVERRIDDEN
                                    : phase;
            CHECK_I64(r->phase, phase);
            CHECK_U64(r->n_begun, begun);
            CHECK_U64(r->n_steps, planned);
            CHECK(r->steps[begun - 1].is_satisfied == satisfied);
        }
        (void)rollout_unref(r);
    }
    CHECK_I64(n, 3000);
}

TEST("of two who decide on the same state, the second is refused and told who was first")
{
    struct rollout *r = started(1);
    struct rollout_move m = {
        .kind = MOVE_CONFIRM, .id = 10, .expected = 1, .author = STR("ann")};
    struct err err = ERR_NULL;

    CHECK_I64(rollout_move_check(r, &m, &err), 0);
    CHECK_I64(move(&r, MOVE_PAUSE, &err), 0);
    CHECK_I64(rollout_move_check(r, &m, &err), ERR_CONFLICT);
    CHECK_STR(str_c(err.text), STR("rollout 10 has moved on: bob changed it meanwhile"));
    err = ERR_NULL;
    CHECK_I64(move(&r, MOVE_ADVANCE, &err), ERR_CONFLICT);
    CHECK_STR(str_c(err.text), STR("rollout 10 is paused: it cannot advance"));
    CHECK_I64(move(&r, MOVE_ROLL_BACK, &err), 0);
    err = ERR_NULL;
    CHECK_I64(move(&r, MOVE_CONFIRM, &err), ERR_CONFLICT);
    CHECK_STR(str_c(err.text), STR("rollout 10 is over: rolled_back by bob"));
    (void)rollout_unref(r);
}

TEST("an extension takes who fits from then on, and the past stays known")
{
    struct target canary = {.ids = (struct str[]){STR("web-9")}, .n_ids = 1};
    struct step first = {.targets = &canary, .n_targets = 1};
    struct rollout_plan plan = {.steps = &first, .n_steps = 1};
    struct rollout_move m = {.kind = MOVE_START, .revision = 10, .plan = &plan};
    owned(arena) struct arena a = ARENA_NULL;
    struct rollout *r;
    struct err err = ERR_NULL;

    REQUIRE(rollout_plan_check(&plan, &a, &err) == 0);
    r = rollout_start(&m, NULL, 0);
    CHECK(!rollout_takes(r, &web1));
    CHECK_I64(move(&r, MOVE_EXTEND, &err), 0); /* at 11 */
    CHECK(rollout_takes(r, &web1));
    CHECK(!rollout_took(r, &web1, 10) && rollout_took(r, &web1, 11));
    CHECK_I64(move(&r, MOVE_ROLL_BACK, &err), 0); /* at 12 */
    CHECK(!rollout_takes(r, &web1));
    CHECK(rollout_took(r, &web1, 11) && !rollout_took(r, &web1, 12));
    (void)rollout_unref(r);
}

TEST("what was taken back keeps no content, what was confirmed keeps it")
{
    struct rollout *back = started(1), *confirmed = started(1);
    struct err err;

    CHECK_I64(move(&back, MOVE_ROLL_BACK, &err), 0);
    CHECK_I64(move(&confirmed, MOVE_CONFIRM, &err), 0);
    CHECK(back->candidates[0]->wire == NULL && back->candidates[0]->number == 2);
    CHECK_STR(confirmed->candidates[0]->content, STR("new"));
    (void)rollout_unref(back);
    (void)rollout_unref(confirmed);
}

TEST("without memory no move is made, and the rollout is what it was")
{
    ALLOC_SWEEP (n) {
        struct rollout *r = started(1);

        if (r && move(&r, MOVE_EXTEND, NULL) == 0)
            (void)move(&r, MOVE_ROLL_BACK, NULL);
        if (r)
            CHECK(r->n_moves >= 1);
        (void)rollout_unref(r);
    }
}

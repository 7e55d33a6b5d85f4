/*
 * Targets: checking and matching. See target.h.
 */
#include "model/target.h"

#include <arpa/inet.h>
#include <stdlib.h>

/* ---- addresses ---- */

static bool address_parse(struct str text, unsigned char address[16], bool *ret_is_v4)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char c[INET6_ADDRSTRLEN];

    if (text.len == 0 || text.len >= sizeof(c) || memchr(text.data, 0, text.len))
        return false;
    memcpy(c, text.data, text.len);
    c[text.len] = '\0';
    *ret_is_v4 = inet_pton(AF_INET, c, address + 12) == 1;
    if (*ret_is_v4)
        memcpy(address, mapped, sizeof(mapped));
    return *ret_is_v4 || inet_pton(AF_INET6, c, address) == 1;
}

bool cidr_parse(struct str text, struct cidr *ret)
{
    size_t slash = str_index(text, '/');
    uint64_t bits;
    bool is_v4;

    if (!address_parse(str_part(text, 0, slash), ret->address, &is_v4))
        return false;
    if (slash == text.len) {
        ret->bits = 128;
        return true;
    }
    if (!str_u64(str_from(text, slash + 1), &bits) || bits > (is_v4 ? 32 : 128))
        return false;
    ret->bits = (unsigned)bits + (is_v4 ? 96 : 0);
    return true;
}

static bool cidr_has(const struct cidr *c, const unsigned char address[16])
{
    unsigned whole = c->bits / 8, rest = c->bits % 8;
    unsigned char mask = (unsigned char)(0xff << (8 - rest));

    if (whole && memcmp(c->address, address, whole) != 0)
        return false;
    return rest == 0 || (c->address[whole] & mask) == (address[whole] & mask);
}

/* ---- label selectors ---- */

struct selector_reader {
    struct str rest;
    struct arena *arena;
    struct err *err;
};

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (unsigned char)c >= 0x80 || strchr("._-/:@+", c) != NULL;
}

static void skip_blanks(struct selector_reader *r)
{
    while (r->rest.len && (r->rest.data[0] == ' ' || r->rest.data[0] == '\t'))
        r->rest = str_from(r->rest, 1);
}

static struct str read_word(struct selector_reader *r)
{
    size_t n = 0;
    struct str word;

    skip_blanks(r);
    while (n < r->rest.len && r->rest.data[n] && is_word(r->rest.data[n]))
        n++;
    word = str_part(r->rest, 0, n);
    r->rest = str_from(r->rest, n);
    skip_blanks(r);
    return word;
}

static bool eat(struct selector_reader *r, const char *token)
{
    if (!str_starts(r->rest, str_c(token)))
        return false;
    r->rest = str_from(r->rest, strlen(token));
    skip_blanks(r);
    return true;
}

static int selector_fault(struct selector_reader *r, const char *what)
{
    (void)err_set(r->err, ERR_INVALID, "label selector: %s%s%.*s%s", what,
                  r->rest.len ? " before \"" : " at the end", STR_ARG(r->rest),
                  r->rest.len ? "\"" : "");
    err_hint(r->err, "write for example: tier=web,zone in (a,b),!canary");
    return ERR_INVALID;
}

static int add_value(struct selector_reader *r, struct requirement *q, struct str value)
{
    struct str *more = ARENA_ARRAY(r->arena, struct str, q->n_values + 1);

    if (!more)
        return ERR_NOMEM;
    for (size_t i = 0; i < q->n_values; i++)
        more[i] = q->values[i];
    more[q->n_values++] = value;
    q->values = more;
    return 0;
}

static int read_list(struct selector_reader *r, struct requirement *q)
{
    if (!eat(r, "("))
        return selector_fault(r, "'(' is missing");
    do {
        struct str word = read_word(r);

        if (!word.len)
            return selector_fault(r, "a value is missing");
        if (add_value(r, q, word))
            return ERR_NOMEM;
    } while (eat(r, ","));
    return eat(r, ")") ? 0 : selector_fault(r, "')' is missing");
}

static int read_bound(struct selector_reader *r, struct requirement *q, enum requirement_op op)
{
    struct str word = read_word(r);
    bool minus = str_starts(word, STR("-"));
    uint64_t n;

    if (!str_u64(str_from(word, minus), &n) || n > INT64_MAX)
        return selector_fault(r, "a whole number is missing");
    q->op = op;
    q->bound = minus ? -(int64_t)n : (int64_t)n;
    return 0;
}

/* What follows the key. */
static int read_condition(struct selector_reader *r, struct requirement *q)
{
    struct selector_reader ahead = *r;
    struct str word = read_word(&ahead);

    q->op = LABEL_IN;
    if (eat(r, "==") || eat(r, "="))
        return add_value(r, q, read_word(r));
    if (eat(r, ">"))
        return read_bound(r, q, LABEL_ABOVE);
    if (eat(r, "<"))
        return read_bound(r, q, LABEL_BELOW);
    if (eat(r, "!=")) {
        q->op = LABEL_NOT_IN;
        return add_value(r, q, read_word(r));
    }
    if (str_eq(word, STR("in")) || str_eq(word, STR("notin"))) {
        q->op = word.len == 2 ? LABEL_IN : LABEL_NOT_IN;
        *r = ahead;
        return read_list(r, q);
    }
    q->op = LABEL_EXISTS;
    return 0;
}

static int read_requirement(struct selector_reader *r, struct requirement *q)
{
    bool missing = eat(r, "!");

    q->key = read_word(r);
    if (!q->key.len)
        return selector_fault(r, "the name of a label is missing");
    if (missing) {
        q->op = LABEL_MISSING;
        return 0;
    }
    return read_condition(r, q);
}

int selector_parse(struct str text, struct arena *a, struct requirement **ret, size_t *ret_n,
                   struct err *err)
{
    struct selector_reader r = {text, a, err};
    struct requirement *list = ARENA_ARRAY(a, struct requirement, TARGET_REQUIREMENTS_MAX);
    size_t n = 0;
    int rc;

    if (!list)
        return ERR_NOMEM;
    skip_blanks(&r);
    do {
        if (n == TARGET_REQUIREMENTS_MAX)
            return err_set(err, ERR_LIMIT, "a label selector has at most %d requirements",
                           TARGET_REQUIREMENTS_MAX);
        rc = read_requirement(&r, &list[n++]);
        if (rc)
            return rc;
    } while (eat(&r, ","));
    if (r.rest.len)
        return selector_fault(&r, "a comma is missing");
    *ret = list;
    *ret_n = n;
    return 0;
}

static bool number_of(struct str text, int64_t *ret)
{
    bool minus = str_starts(text, STR("-"));
    uint64_t n;

    if (!str_u64(str_from(text, minus), &n) || n > INT64_MAX)
        return false;
    *ret = minus ? -(int64_t)n : (int64_t)n;
    return true;
}

static bool has_value(const struct requirement *q, struct str value)
{
    for (size_t i = 0; i < q->n_values; i++)
        if (str_eq(q->values[i], value))
            return true;
    return false;
}

static bool requirement_holds(const struct requirement *q, const struct subject *s)
{
    const struct str *value = NULL;
    int64_t n;

    for (size_t i = 0; i < s->n_labels && !value; i++)
        if (str_eq(s->labels[i].key, q->key))
            value = &s->labels[i].value;
    switch (q->op) {
    case LABEL_IN: return value && has_value(q, *value);
    case LABEL_NOT_IN: return !value || !has_value(q, *value);
    case LABEL_EXISTS: return value != NULL;
    case LABEL_MISSING: return value == NULL;
    case LABEL_ABOVE: return value && number_of(*value, &n) && n > q->bound;
    case LABEL_BELOW: return value && number_of(*value, &n) && n < q->bound;
    }
    return false;
}

/* ---- percentages ---- */

uint32_t percent_place(struct str salt, struct str id)
{
    static const struct str label = STR("trimtab percent 1");
    struct str texts[] = {label, salt, id}, parts[2 * ARRAY_LEN(texts)];
    unsigned char lengths[ARRAY_LEN(texts)][8];
    struct sha256 hash;
    uint64_t place = 0;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        for (int j = 0; j < 8; j++)
            lengths[i][j] = (unsigned char)((uint64_t)texts[i].len >> (56 - 8 * j));
        parts[2 * i] = str_of(lengths[i], 8);
        parts[2 * i + 1] = texts[i];
    }
    hash = sha256_of_parts(parts, ARRAY_LEN(parts));
    for (int i = 0; i < 8; i++)
        place = place << 8 | hash.bytes[i];
    return (uint32_t)(place % PERCENT_WHOLE);
}

/* ---- targets ---- */

static int check_texts(const struct str *texts, size_t n, const char *what, struct err *err)
{
    if (n > TARGET_VALUES_MAX)
        return err_set(err, ERR_LIMIT, "a target has at most %d %ss", TARGET_VALUES_MAX, what);
    for (size_t i = 0; i < n; i++) {
        if (!texts[i].len)
            return err_set(err, ERR_INVALID, "a target with an empty %s", what);
        if (texts[i].len > TARGET_TEXT_MAX || !str_is_utf8(texts[i]))
            return err_set(err, ERR_INVALID, "a target's %s is too long or not UTF-8", what);
    }
    return 0;
}

static int compile_networks(struct target *t, struct arena *a, struct err *err)
{
    t->cidrs = ARENA_ARRAY(a, struct cidr, t->n_networks);
    if (!t->cidrs)
        return ERR_NOMEM;
    for (size_t i = 0; i < t->n_networks; i++)
        if (!cidr_parse(t->networks[i], &t->cidrs[i])) {
            (void)err_set(err, ERR_INVALID, "\"%.*s\" is no address and no network",
                          STR_ARG(t->networks[i]));
            err_hint(err, "write 10.1.2.3, 10.1.0.0/16 or fd00::/8");
            return ERR_INVALID;
        }
    return 0;
}

static int check_conditions(const struct target *t, struct err *err)
{
    bool any = t->n_ids || t->n_fingerprints || t->n_hosts || t->n_networks || t->labels.len ||
               t->has_percent;

    if (t->everyone && any)
        return err_set(err, ERR_INVALID, "a target for all instances has other conditions too");
    if (!t->everyone && !any) {
        (void)err_set(err, ERR_INVALID, "a target without any condition");
        err_hint(err, "say so when all instances are meant");
        return ERR_INVALID;
    }
    if (t->percent > PERCENT_WHOLE)
        return err_set(err, ERR_INVALID, "more than 100 percent");
    if (t->labels.len > TARGET_TEXT_MAX || !str_is_utf8(t->labels))
        return err_set(err, ERR_INVALID, "a label selector that is too long or not UTF-8");
    return 0;
}

static int text_cmp(const void *a, const void *b)
{
    const struct str *sa = a, *sb = b;

    return str_cmp(*sa, *sb);
}

int target_compile(struct target *t, struct arena *a, struct err *err)
{
    int r = check_conditions(t, err);

    if (!r)
        r = check_texts(t->ids, t->n_ids, "instance id", err);
    if (!r)
        r = check_texts(t->fingerprints, t->n_fingerprints, "fingerprint", err);
    if (!r)
        r = check_texts(t->hosts, t->n_hosts, "host", err);
    if (!r)
        r = check_texts(t->networks, t->n_networks, "network", err);
    if (!r)
        r = compile_networks(t, a, err);
    if (!r && t->n_ids) /* there may be thousands, each asked for every instance */
        qsort(t->ids, t->n_ids, sizeof(*t->ids), text_cmp);
    t->requirements = NULL;
    t->n_requirements = 0;
    if (!r && t->labels.len)
        r = selector_parse(t->labels, a, &t->requirements, &t->n_requirements, err);
    return r;
}

static struct str *copy_texts(const struct str *texts, size_t n, struct arena *a)
{
    struct str *copy = ARENA_ARRAY(a, struct str, n);

    for (size_t i = 0; copy && i < n; i++)
        copy[i] = arena_str(a, texts[i]);
    return copy;
}

struct target target_copy(const struct target *t, struct arena *a)
{
    struct target copy = *t;

    copy.ids = copy_texts(t->ids, t->n_ids, a);
    copy.fingerprints = copy_texts(t->fingerprints, t->n_fingerprints, a);
    copy.hosts = copy_texts(t->hosts, t->n_hosts, a);
    copy.networks = copy_texts(t->networks, t->n_networks, a);
    copy.labels = arena_str(a, t->labels);
    /* It was checked before: what can fail now is memory, which the arena remembers. */
    if (target_compile(&copy, a, NULL))
        a->failed = true;
    return copy;
}

/* Of sorted texts. */
static bool has_text(const struct str *texts, size_t n, struct str s)
{
    return bsearch(&s, texts, n, sizeof(*texts), text_cmp) != NULL;
}

static size_t subject_bytes(const struct subject *s)
{
    size_t bytes = s->id.len + s->fingerprint.len + s->host.len;

    for (size_t i = 0; i < s->n_addresses; i++)
        bytes += s->addresses[i].len;
    for (size_t i = 0; i < s->n_labels; i++)
        bytes += s->labels[i].key.len + s->labels[i].value.len;
    return bytes;
}

struct subject *subject_new(const struct subject *s)
{
    struct subject *copy = mem_alloc(sizeof(*copy) + s->n_labels * sizeof(struct pair) +
                                     s->n_addresses * sizeof(struct str) + subject_bytes(s));
    struct pair *labels;
    struct str *addresses;
    char *at;

    if (!copy)
        return NULL;
    labels = (struct pair *)(void *)(copy + 1);
    addresses = (struct str *)(void *)(labels + s->n_labels);
    at = (char *)(addresses + s->n_addresses);
    for (size_t i = 0; i < s->n_labels; i++)
        labels[i] =
            (struct pair){str_keep(&at, s->labels[i].key), str_keep(&at, s->labels[i].value)};
    for (size_t i = 0; i < s->n_addresses; i++)
        addresses[i] = str_keep(&at, s->addresses[i]);
    *copy = (struct subject){.id = str_keep(&at, s->id),
                             .fingerprint = str_keep(&at, s->fingerprint),
                             .host = str_keep(&at, s->host),
                             .addresses = addresses,
                             .n_addresses = s->n_addresses,
                             .labels = labels,
                             .n_labels = s->n_labels};
    return copy;
}

static bool any_fits(const struct str *patterns, size_t n, struct str s)
{
    for (size_t i = 0; i < n; i++)
        if (str_glob(patterns[i], s))
            return true;
    return false;
}

static bool is_in_networks(const struct target *t, const struct subject *s)
{
    for (size_t i = 0; i < s->n_addresses; i++) {
        unsigned char address[16];
        bool is_v4;

        if (!address_parse(s->addresses[i], address, &is_v4))
            continue;
        for (size_t j = 0; j < t->n_networks; j++)
            if (cidr_has(&t->cidrs[j], address))
                return true;
    }
    return false;
}

bool target_takes(const struct target *t, const struct subject *s, struct str salt)
{
    if (t->n_ids && !has_text(t->ids, t->n_ids, s->id))
        return false;
    if (t->n_fingerprints && !any_fits(t->fingerprints, t->n_fingerprints, s->fingerprint))
        return false;
    if (t->n_hosts && !any_fits(t->hosts, t->n_hosts, s->host))
        return false;
    if (t->n_networks && !is_in_networks(t, s))
        return false;
    for (size_t i = 0; i < t->n_requirements; i++)
        if (!requirement_holds(&t->requirements[i], s))
            return false;
    /* Last, for it costs a hash. Who has no id cannot be counted on to be the same tomorrow. */
    return !t->has_percent || (s->id.len && percent_place(salt, s->id) < t->percent);
}

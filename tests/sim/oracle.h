/*
 * The plain model that judges the simulation: what every name was at every revision, kept as lists and looked up by
 * walking them. It shares no code with feed, sync or the model's state, on purpose.
 */
#ifndef TRIMTAB_TESTS_SIM_ORACLE_H
#define TRIMTAB_TESTS_SIM_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SPACES = 3, /* namespaces a, b, c */
    KINDS = 2,  /* item, file */
    NAMES = 8,  /* n0 .. n7 */
    LAYERS = 3,
    SCOPES = 2,
    KEYS = KINDS * NAMES,
    NODES = SPACES * KEYS, /* resources */
    LINKS_MAX = 2,         /* that one content refers to */
};

/* A resource as one number, and back. */
static inline int node_of(int space, int kind, int name)
{
    return space * KEYS + kind * NAMES + name;
}

/* What a name came to by one commit; content 0 is "not there". */
struct event {
    uint64_t revision, content;
};

struct history {
    struct event *events;
    size_t n, cap;
};

/* A rollout: what its targets have instead, from the revision at which each was added to that of its end. */
enum { CARRIED_MAX = 8, TARGETS_MAX_SIM = 64 };
struct trial {
    uint64_t id;    /* the revision of its start */
    uint64_t ended; /* 0: live */
    struct {
        int space, kind, name;
        uint64_t content;
    } carried[CARRIED_MAX];
    int n_carried;
    uint64_t added
        [TARGETS_MAX_SIM]; /* for each client, the revision at which it became a target; 0: it is none */
    bool planned[TARGETS_MAX_SIM]; /* those of the second step */
    bool counted
        [TARGETS_MAX_SIM]; /* for the judge: the server has said that it had applied it */
};

/* Content numbers by name, and by resource for what is referred to. */
struct held {
    uint64_t bound[SCOPES][KINDS][NAMES], referred[NODES];
};

/* Whose content it is, and what it refers to. */
struct origin {
    int node, links[LINKS_MAX], n_links;
    uint64_t revision; /* at which it came into a log; 0: not yet */
};

struct oracle {
    struct history names[SPACES][KINDS][NAMES];
    struct origin *origins; /* by content */
    size_t origins_cap;
    struct trial *trials;
    size_t n_trials, trials_cap;
    uint64_t head;  /* newest revision in the log */
    uint64_t acked; /* newest that somebody was told of */
};

/* A subscription: scopes with namespaces in order; kind -1 is every kind. */
struct wish {
    int n_scopes;
    struct {
        int layers[LAYERS], n_layers, kind;
    } scopes[SCOPES];
};

void oracle_free(struct oracle *o);
void oracle_note(struct oracle *o, int space, int kind, int name, uint64_t revision,
                 uint64_t content);
/* A rollout begins; the caller fills in what it carries and for whom. */
struct trial *oracle_start(struct oracle *o, uint64_t revision);
struct trial *oracle_trial(const struct oracle *o, uint64_t id);
/* The log is found to end here: what came later is forgotten. */
void oracle_cut(struct oracle *o, uint64_t head);

/* Whose view. */
struct wisher {
    const struct wish *wish;
    int client;
    unsigned reads; /* the namespaces that it may read, a bit for each */
};
enum { READS_ALL = (1 << SPACES) - 1 };

/*
 * The content that a subscriber must have for a name of a scope at a revision; 0: none. What leads to a namespace that it may
 * not read is withheld from it, and nothing takes its place (I11).
 */
uint64_t oracle_expect(const struct oracle *o, const struct wisher *w, int scope, int kind,
                       int name, uint64_t revision);

/* Whether the name is bound, but withheld. */
bool oracle_withholds(const struct oracle *o, const struct wisher *w, int scope, int kind,
                      int name, uint64_t revision);

/* What must be had as if a rollout had never been; NULL: with all. */
uint64_t oracle_expect_without(const struct oracle *o, const struct wisher *w, int scope,
                               int kind, int name, uint64_t revision,
                               const struct trial *without);

/* A content is made, for this resource; it may never get into the log. */
void oracle_made(struct oracle *o, uint64_t content, const struct origin *origin);
void oracle_published(struct oracle *o, uint64_t content, uint64_t revision);
const struct origin *oracle_origin(const struct oracle *o, uint64_t content);

/*
 * What a client must have besides what its scopes bind (the contents of `bound`): all that this refers to. referred has a
 * content for each resource, 0 for none. False: something refers to what is not there.
 */
bool oracle_refer(const struct oracle *o, const struct wisher *w, const uint64_t *bound,
                  size_t n, uint64_t revision, uint64_t referred[NODES]);

bool oracle_refer_without(const struct oracle *o, const struct wisher *w, const uint64_t *bound,
                          size_t n, uint64_t revision, const struct trial *without,
                          uint64_t referred[NODES]);

/* The bytes of a content: a function of its number alone. Returns the length; out has room for CONTENT_ROOM. */
enum { CONTENT_ROOM = 700 * 1024 };
size_t content_bytes(uint64_t content, char *out);

#endif

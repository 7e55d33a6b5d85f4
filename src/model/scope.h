/*
 * Scopes: what one subscriber asks for.
 *
 * A scope has layers (namespaces in order of priority) and selectors. What it comes to in a state is model/scope_view.h,
 * which clients, who have no state, do without.
 */
#ifndef TRIMTAB_MODEL_SCOPE_H
#define TRIMTAB_MODEL_SCOPE_H

#include "model/name.h"
#include "model/version.h"

enum {
    SCOPE_LAYERS_MAX = 16,
    SCOPE_SELECTORS_MAX = 64,
    SCOPE_PATTERNS_MAX = 256,
    SCOPES_MAX = 64
};

/* No kinds: every kind. No names: every name. */
struct selector {
    struct str *kinds;
    size_t n_kinds;
    struct str *names; /* patterns with '*' */
    size_t n_names;
};

/*
 * The name under which what the scopes refer to is bound (model/closure.h): by full ids, not by kind and name. No scope
 * of a subscription can be called so.
 */
#define SCOPE_REFERRED STR("*")

/* Borrowed slices when it is asked for, own ones after scope_new. */
struct scope {
    struct str name;
    struct str *layers; /* namespaces; labels are already filled in */
    size_t n_layers;
    struct selector *selectors;
    size_t n_selectors; /* 0: everything */
};

/* Writes layer with {label} replaced by the instance's labels. ERR_INVALID names a missing label. */
must_use int layer_expand(struct str layer, const struct pair *labels, size_t n_labels,
                          struct buf *out, struct err *err);

/* Namespaces well-formed, no layer twice, sizes within the limits, no duplicate or reserved scope names in the list. */
must_use int scopes_check(const struct scope *scopes, size_t n, struct err *err);

/* A deep copy in one allocation (freed by mem_free); NULL without memory. */
must_use struct scope *scope_new(const struct scope *s);

/* Equal text for equal scopes: what identifies a scope that many subscribers share. */
void scope_put_identity(const struct scope *s, struct buf *out);

bool scope_selects(const struct scope *s, struct str kind, struct str name);

/* Whether ns is a layer of s, and which (0 is the strongest). */
bool scope_has_layer(const struct scope *s, struct str ns, size_t *ret_index);

#endif

/*
 * What a program asks for when it opens a client. The public header has the setters.
 */
#ifndef TRIMTAB_SDK_OPTIONS_H
#define TRIMTAB_SDK_OPTIONS_H

#include "base/arena.h"
#include "model/scope.h"

#include <trimtab/trimtab.h>

enum { ADDRESSES_MAX = 16, LABELS_MAX = 32 };

struct trimtab_options {
    struct arena arena;
    const char *servers[ADDRESSES_MAX];
    size_t n_servers;
    const char *token, *token_file, *ca, *cert, *key, *instance;
    const char *namespaces[SCOPE_LAYERS_MAX];
    size_t n_namespaces;
    struct pair labels[LABELS_MAX];
    size_t n_labels;
    const char *segment;
    bool has_failed;
};

#endif

/*
 * The setters of the public header. See options.h.
 */
#include "sdk/options.h"

struct trimtab_options *trimtab_options_new(void)
{
    return NEW(struct trimtab_options);
}

void trimtab_options_free(struct trimtab_options *o)
{
    if (o)
        arena_deinit(&o->arena);
    (void)mem_free(o);
}

static bool keep(struct trimtab_options *o, const char **field, const char *text)
{
    *field = text ? arena_c(&o->arena, str_c(text)) : NULL;
    o->has_failed |= arena_failed(&o->arena);
    return !o->has_failed;
}

static bool keep_one_more(struct trimtab_options *o, const char **list, size_t *n, size_t max,
                          const char *text)
{
    if (*n == max) {
        o->has_failed = true;
        return false;
    }
    return keep(o, &list[(*n)++], text);
}

bool trimtab_options_server(struct trimtab_options *o, const char *address)
{
    return keep_one_more(o, o->servers, &o->n_servers, ADDRESSES_MAX, address);
}

bool trimtab_options_token(struct trimtab_options *o, const char *token)
{
    return keep(o, &o->token, token);
}

bool trimtab_options_token_file(struct trimtab_options *o, const char *path)
{
    return keep(o, &o->token_file, path);
}

bool trimtab_options_tls(struct trimtab_options *o, const char *ca_file, const char *cert_file,
                         const char *key_file)
{
    return keep(o, &o->ca, ca_file) && keep(o, &o->cert, cert_file) &&
           keep(o, &o->key, key_file);
}

bool trimtab_options_namespace(struct trimtab_options *o, const char *name)
{
    return keep_one_more(o, o->namespaces, &o->n_namespaces, SCOPE_LAYERS_MAX, name);
}

bool trimtab_options_label(struct trimtab_options *o, const char *key, const char *value)
{
    if (o->n_labels == LABELS_MAX) {
        o->has_failed = true;
        return false;
    }
    o->labels[o->n_labels++] =
        (struct pair){arena_str(&o->arena, str_c(key)), arena_str(&o->arena, str_c(value))};
    o->has_failed |= arena_failed(&o->arena);
    return !o->has_failed;
}

bool trimtab_options_instance(struct trimtab_options *o, const char *id)
{
    return keep(o, &o->instance, id);
}

bool trimtab_options_segment(struct trimtab_options *o, const char *path)
{
    return keep(o, &o->segment, path);
}

/*
 * Opening a client: what its options ask for, and where the values come from. See the public header.
 */
#include "sdk/client.h"

static _Thread_local struct err open_err;

const char *trimtab_version(void)
{
    return TRIMTAB_VERSION;
}

const char *trimtab_open_error(void)
{
    static _Thread_local char text[2048];

    return err_describe(&open_err, text, sizeof(text));
}

static int check_options(const struct trimtab_options *o)
{
    bool of_server = o->n_servers || o->token || o->token_file || o->ca || o->cert || o->key ||
                     o->n_namespaces || o->n_labels || o->instance;

    if (o->has_failed)
        return err_set(&open_err, ERR_INVALID, "an option could not be kept");
    if (o->segment && of_server)
        return err_set(
            &open_err, ERR_INVALID,
            "a segment holds what its agent puts there: no other option goes with it");
    if (!o->segment && o->n_namespaces == 0)
        return err_set(&open_err, ERR_INVALID, "no namespace was given");
    return 0;
}

struct trimtab *trimtab_open(const struct trimtab_options *o)
{
    struct trimtab *t;
    int r;

    open_err = ERR_NULL;
    if (check_options(o))
        return NULL;
    t = client_new();
    if (!t) {
        (void)err_set(&open_err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    r = o->segment ? segment_open(t, o, &open_err) : server_open(t, o, &open_err);
    if (r)
        return client_free(t);
    client_enlist(t);
    return t;
}

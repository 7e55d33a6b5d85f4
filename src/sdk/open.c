/*
 * Opening a client: what its options ask for, and where the values come from. See the public header.
 */
#include "sdk/client.h"

/*
 * Why the last open of this thread failed. The text lies in memory of the thread's own, which is little: a library that
 * has much thread-local storage cannot be loaded by a program that runs already.
 */
static _Thread_local const char *open_error = "";
static pthread_key_t text_key;
static pthread_once_t text_once = PTHREAD_ONCE_INIT;
enum { OPEN_ERROR_MAX = 2048 };

const char *trimtab_version(void)
{
    return TRIMTAB_VERSION;
}

const char *trimtab_open_error(void)
{
    return open_error;
}

static void free_text(void *text)
{
    (void)mem_free(text);
}

static void make_key(void)
{
    (void)pthread_key_create(&text_key,
                             free_text); /* without it there is no memory for a text */
}

/* Keeps the story; always NULL, what open returns. */
static struct trimtab *failed(const struct err *err)
{
    char *text;

    (void)pthread_once(&text_once, make_key);
    text = pthread_getspecific(text_key);
    if (!text) {
        text = mem_alloc(OPEN_ERROR_MAX);
        if (pthread_setspecific(text_key, text))
            text = mem_free(text);
    }
    open_error = text ? err_describe(err, text, OPEN_ERROR_MAX) : "out of memory";
    return NULL;
}

static int check_options(const struct trimtab_options *o, struct err *err)
{
    bool of_server = o->n_servers || o->token || o->token_file || o->ca || o->cert || o->key ||
                     o->n_namespaces || o->n_labels || o->instance;

    if (o->has_failed)
        return err_set(err, ERR_INVALID, "an option could not be kept");
    if (o->segment && of_server)
        return err_set(
            err, ERR_INVALID,
            "a segment holds what its agent puts there: no other option goes with it");
    if (!o->segment && o->n_namespaces == 0)
        return err_set(err, ERR_INVALID, "no namespace was given");
    return 0;
}

struct trimtab *trimtab_open(const struct trimtab_options *o)
{
    struct err err = ERR_NULL;
    struct trimtab *t;
    int r;

    open_error = "";
    if (check_options(o, &err))
        return failed(&err);
    t = client_new();
    if (!t) {
        (void)err_set(&err, ERR_NOMEM, "out of memory");
        return failed(&err);
    }
    r = o->segment ? segment_open(t, o, &err) : server_open(t, o, &err);
    if (r) {
        (void)client_free(t);
        return failed(&err);
    }
    client_enlist(t);
    return t;
}

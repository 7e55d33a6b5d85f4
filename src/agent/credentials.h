/*
 * The agent's credentials: its token and its certificates, read again when their files have changed. Whoever rotates them
 * (a mounted secret, an agent of a vault) sends no signal, so they are looked at whenever the link has gone down, and
 * every now and then.
 */
#ifndef TRIMTAB_AGENT_CREDENTIALS_H
#define TRIMTAB_AGENT_CREDENTIALS_H

#include "agent/config.h"
#include "net/tls.h"

#include <sys/stat.h>

enum { CREDENTIALS_FILES = 4, CREDENTIALS_TOKEN_MAX = 1024 };

struct credentials {
    const struct config *config;
    char token[CREDENTIALS_TOKEN_MAX]; /* "": none */
    struct tls *tls;                   /* NULL: plain text */
    struct stat seen[CREDENTIALS_FILES];
};

/* ERR_INVALID, ERR_IO, ERR_NOT_FOUND with the story. The configuration is borrowed. */
must_use int credentials_open(struct credentials *c, const struct config *config,
                              struct err *err);
void credentials_close(struct credentials *c);

/*
 * Reads them again: all of them, or only when a file has changed. CREDENTIALS_SAME, CREDENTIALS_NEW; after a failure those
 * from before stay, and it is tried again at the next call.
 */
enum credentials_when { CREDENTIALS_ALWAYS, CREDENTIALS_WHEN_CHANGED };
enum { CREDENTIALS_SAME = 0, CREDENTIALS_NEW = 1 };
must_use int credentials_refresh(struct credentials *c, enum credentials_when when,
                                 struct err *err);

#endif

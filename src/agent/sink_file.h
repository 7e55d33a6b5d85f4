/*
 * The engine of sinks for files: one [files] section of the configuration. What lies on the disk is files.h's; this is
 * which files there shall be, which are known to be there, and the commands that check and reload.
 */
#ifndef TRIMTAB_AGENT_SINK_FILE_H
#define TRIMTAB_AGENT_SINK_FILE_H

#include "agent/config.h"
#include "agent/sink.h"
#include "agent/watch.h"
#include "net/loop.h"

struct sink_file_opts {
    struct loop *loop;
    const struct config *config;
    const struct config_files *files; /* of that config */
    const struct sync *sync;          /* whose history is delivered; borrowed; NULL: none */
    struct watch *watch;              /* of what was delivered; borrowed; NULL: none */
};

/* NULL without memory. What is known to be there comes by its operation note. */
must_use struct sink *sink_file_open(const struct sink_file_opts *opts);

#endif

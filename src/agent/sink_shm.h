/*
 * The engine of sinks for segments: one [segment] section of the configuration. The items of its scope are the values of
 * one file that programs of this host map and read in place (docs/segments.md). What is in that file is shm/writer.h's;
 * this is which values there shall be, and the proof that they are there.
 */
#ifndef TRIMTAB_AGENT_SINK_SHM_H
#define TRIMTAB_AGENT_SINK_SHM_H

#include "agent/config.h"
#include "agent/sink.h"
#include "agent/watch.h"

struct sink_shm_opts {
    const struct config_segment *segment;
    const struct sync *sync; /* whose revision the segment tells; borrowed; NULL: none */
    struct watch *watch;     /* of its folder; borrowed; NULL: none */
};

/* NULL without memory. */
must_use struct sink *sink_shm_open(const struct sink_shm_opts *opts);

#endif

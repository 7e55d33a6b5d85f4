/*
 * Documents that are part of the program. Valid as long as it runs.
 */
#ifndef TRIMTAB_SERVER_EDGE_EMBEDDED_H
#define TRIMTAB_SERVER_EDGE_EMBEDDED_H

#include "base/str.h"

/* api/openapi.json */
struct str embedded_openapi(void);
/* The .proto files of the services, compiled: a google.protobuf.FileDescriptorSet. */
struct str embedded_descriptors(void);

#endif

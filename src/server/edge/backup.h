/*
 * Backups over the wire: the committer makes a copy in the data folder, and it is sent piece by piece as the client
 * takes it. Belongs to the lane of the call; there is one at a time.
 */
#ifndef TRIMTAB_SERVER_EDGE_BACKUP_H
#define TRIMTAB_SERVER_EDGE_BACKUP_H

#include "server/edge/front.h"

/* The method Backup; needs admin on everything. */
void backup_on_call(struct grpc_call *call, void *service_ctx, struct str message);

#endif

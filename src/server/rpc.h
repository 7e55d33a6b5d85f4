/*
 * The gRPC front end: the service Admin translated to use cases, and the table of all methods.
 */
#ifndef TRIMTAB_SERVER_RPC_H
#define TRIMTAB_SERVER_RPC_H

#include "server/app.h"

/* Fills app->service. */
void rpc_init(struct app *app);

#endif

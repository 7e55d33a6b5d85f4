/*
 * Orders to instances that other use cases give. Belongs to the loop's thread.
 */
#ifndef TRIMTAB_SERVER_USE_ORDER_VIEW_H
#define TRIMTAB_SERVER_USE_ORDER_VIEW_H

#include "proto/convert.h"
#include "server/use/api.h"

/*
 * Gives call->commit an order to try again, to the instances that refuse what its changes give and is stable already.
 * None when nobody does. ERR_NOMEM.
 */
must_use int order_again(struct api_call *call);

#endif

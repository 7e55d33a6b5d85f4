/*
 * The id of the running system's boot: bytes that an earlier one left may be torn.
 */
#ifndef TRIMTAB_SHM_BOOT_H
#define TRIMTAB_SHM_BOOT_H

#include "base/attr.h"
#include "shm/layout.h"

/* False where the system does not tell: every boot counts as another one then. */
must_use bool shm_boot_id(unsigned char out[SHM_ID_BYTES]);

#endif

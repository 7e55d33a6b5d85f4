/*
 * The id of the boot, from the kernel. See boot.h.
 */
#include "shm/boot.h"

#include "base/file.h"

bool shm_boot_id(unsigned char out[SHM_ID_BYTES])
{
    owned(buf) struct buf text = BUF_NULL(64);
    char hex[2 * SHM_ID_BYTES];
    size_t n = 0;

    if (file_read("/proc/sys/kernel/random/boot_id", &text, NULL))
        return false;
    for (size_t i = 0; i < text.len && n < sizeof(hex); i++)
        if (text.data[i] != '-')
            hex[n++] = text.data[i];
    return hex_decode(str_of(hex, n), out, SHM_ID_BYTES);
}

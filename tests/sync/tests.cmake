trimtab_test(sync_copy SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/sync/copy.c USES sync)
trimtab_test(sync_link SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/sync/link.c USES sync)
trimtab_test(sync_health SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/sync/health.c USES sync)
trimtab_test(sync_core SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/sync/sync.c USES sync)

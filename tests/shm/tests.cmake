trimtab_test(shm_segment SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/shm/segment.c USES shm)
trimtab_test(shm_altered SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/shm/altered.c USES shm)

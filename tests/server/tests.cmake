trimtab_test(server_auth SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/server/auth.c USES server)
trimtab_test(server_driver_lease SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/server/driver_lease.c USES server)
trimtab_test(server_committer SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/server/committer.c USES server)

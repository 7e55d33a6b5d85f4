trimtab_test(server_auth SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/server/auth.c USES server)

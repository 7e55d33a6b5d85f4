trimtab_test(net_loop SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/net/loop.c USES net)
trimtab_test(net_http1 SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/net/http1.c ${CMAKE_CURRENT_SOURCE_DIR}/net/raw.c USES net)
trimtab_test(net_grpc SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/net/grpc.c ${CMAKE_CURRENT_SOURCE_DIR}/net/world.c
  ${CMAKE_CURRENT_SOURCE_DIR}/net/raw.c USES net)
trimtab_test(net_tls SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/net/tls.c ${CMAKE_CURRENT_SOURCE_DIR}/net/world.c USES net)
trimtab_test(net_fetch SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/net/fetch.c USES net)
trimtab_test(net_router SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/net/router.c USES net)
trimtab_test(net_crowd SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/net/crowd.c USES net)
trimtab_test(net_pace SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/net/pace.c USES net)

trimtab_test(proto SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/proto/proto.c USES proto)
trimtab_test(proto_inbound SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/proto/inbound.c USES proto)
trimtab_test(proto_rights SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/proto/rights.c USES proto)

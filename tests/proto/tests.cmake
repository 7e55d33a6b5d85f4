trimtab_test(proto SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/proto/proto.c USES proto)

trimtab_test(codec_syntax SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/codec/syntax.c USES codec)
trimtab_test(codec_value SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/codec/value.c USES codec)

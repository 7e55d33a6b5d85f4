trimtab_test(codec_syntax SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/codec/syntax.c USES codec)

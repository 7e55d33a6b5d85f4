trimtab_test(unit_model SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/model.c USES model)
target_compile_definitions(unit_model PRIVATE VECTORS="${CMAKE_CURRENT_SOURCE_DIR}/unit/vectors/digests.txt")
trimtab_test(unit_tree SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/tree.c USES model)
trimtab_test(unit_references SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/references.c USES model)

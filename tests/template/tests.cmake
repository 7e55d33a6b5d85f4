trimtab_test(template_render SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/template/render.c USES template)
trimtab_test(template_spec SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/template/spec.c USES template)
target_compile_definitions(template_spec PRIVATE SPEC_FOLDER="${CMAKE_CURRENT_SOURCE_DIR}/template/spec")

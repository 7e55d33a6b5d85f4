# How a module, a program, a test and a fuzz target are declared. Everything else in the build is a list of these.
#
#   trimtab_module(NAME [PROGRAM main.c] USES module... LIBS library...)
#                                        src/NAME, a static library of all its .c files but the program's main
#   trimtab_program(NAME MAIN folder/main.c USES module... LIBS allocator)
#   trimtab_test(NAME SOURCES file... USES module...)      a TAP program, run by tests/run
#
# USES is the list that tests/checks/layers compares with the #include lines.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

option(TRIMTAB_FUZZ "Build the libFuzzer targets (clang only)" OFF)
set(TRIMTAB_SANITIZE "" CACHE STRING "Sanitizers for -fsanitize=, e.g. address,undefined")

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(NGHTTP2 REQUIRED IMPORTED_TARGET libnghttp2)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(EXPAT REQUIRED IMPORTED_TARGET expat)
pkg_check_modules(TOMLPLUSPLUS REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)

set(TRIMTAB_WARNINGS
  -Wall -Wextra -Werror -Wshadow -Wconversion -Wswitch-enum -Wvla -Wformat=2 -Wundef
  -Wno-missing-field-initializers)
set(TRIMTAB_C_WARNINGS -Wstrict-prototypes -Wmissing-prototypes)

if(CMAKE_C_COMPILER_ID STREQUAL GNU) # clang looks into the initialisers of protobuf-c's headers too
  list(APPEND TRIMTAB_WARNINGS -Wcast-qual)
endif()

add_library(trimtab_flags INTERFACE)
target_include_directories(trimtab_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_compile_options(trimtab_flags INTERFACE
  ${TRIMTAB_WARNINGS}
  $<$<COMPILE_LANGUAGE:C>:${TRIMTAB_C_WARNINGS}>
  -include ${CMAKE_SOURCE_DIR}/src/base/prelude.h
  -fno-omit-frame-pointer -fvisibility=hidden)
target_compile_definitions(trimtab_flags INTERFACE TRIMTAB_VERSION="${PROJECT_VERSION}")
if(TRIMTAB_SANITIZE)
  add_compile_options(-fsanitize=${TRIMTAB_SANITIZE} -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=${TRIMTAB_SANITIZE})
  add_compile_definitions(TRIMTAB_SANITIZED)
elseif(CMAKE_BUILD_TYPE MATCHES "Release|RelWithDebInfo")
  add_compile_options(-D_FORTIFY_SOURCE=2 -fstack-protector-strong)
  add_link_options(-Wl,-z,relro,-z,now)
endif()
if(TRIMTAB_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

function(trimtab_module name)
  cmake_parse_arguments(ARG "" "PROGRAM" "USES;LIBS;SOURCES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  if(ARG_PROGRAM)
    list(REMOVE_ITEM sources ${CMAKE_SOURCE_DIR}/src/${name}/${ARG_PROGRAM})
  endif()
  add_library(trimtab_${name} STATIC ${sources} ${ARG_SOURCES})
  target_link_libraries(trimtab_${name} PUBLIC trimtab_flags)
  foreach(used IN LISTS ARG_USES)
    target_link_libraries(trimtab_${name} PUBLIC trimtab_${used})
  endforeach()
  target_link_libraries(trimtab_${name} PUBLIC ${ARG_LIBS})
endfunction()

function(trimtab_program name)
  cmake_parse_arguments(ARG "" "MAIN" "USES;LIBS" ${ARGN})
  add_executable(${name} ${CMAKE_SOURCE_DIR}/src/${ARG_MAIN})
  target_link_libraries(${name} PRIVATE trimtab_flags)
  foreach(used IN LISTS ARG_USES)
    target_link_libraries(${name} PRIVATE trimtab_${used})
  endforeach()
  if(NOT TRIMTAB_SANITIZE)
    target_link_libraries(${name} PRIVATE ${ARG_LIBS})
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

# build/man/NAME.SECTION, made from the program's own help.
function(trimtab_man name section line)
  set(page ${CMAKE_BINARY_DIR}/man/${name}.${section})
  add_custom_command(OUTPUT ${page}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/man
    COMMAND ${CMAKE_SOURCE_DIR}/scripts/man $<TARGET_FILE:${name}> ${section} ${line} > ${page}
    DEPENDS ${name} ${CMAKE_SOURCE_DIR}/scripts/man VERBATIM)
  add_custom_target(man_${name} ALL DEPENDS ${page})
  install(TARGETS ${name})
  install(FILES ${page} DESTINATION share/man/man${section})
endfunction()

# libNAME.so, which exports only what its public header marks, with files for pkg-config and CMake.
function(trimtab_library name)
  cmake_parse_arguments(ARG "" "" "USES" ${ARGN})
  list(GET ARG_USES 0 own)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${own}/*.c)
  add_library(${name}_shared SHARED ${sources})
  set_target_properties(${name}_shared PROPERTIES OUTPUT_NAME ${name} VERSION ${PROJECT_VERSION} SOVERSION 0
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
  get_target_property(linked trimtab_${own} INTERFACE_LINK_LIBRARIES)
  target_link_libraries(${name}_shared PRIVATE ${linked})
  target_link_options(${name}_shared PRIVATE
    -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/lib${name}.map
    -Wl,-z,nodelete) # threads call destructors of ours when they end, whatever was unloaded
  configure_file(${CMAKE_SOURCE_DIR}/cmake/${name}.pc.in ${CMAKE_BINARY_DIR}/lib/pkgconfig/${name}.pc @ONLY)
  install(TARGETS ${name}_shared EXPORT ${name})
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/ DESTINATION include)
  install(FILES ${CMAKE_BINARY_DIR}/lib/pkgconfig/${name}.pc DESTINATION lib/pkgconfig)
  install(EXPORT ${name} FILE ${name}-config.cmake NAMESPACE ${name}:: DESTINATION lib/cmake/${name})
  target_include_directories(${name}_shared PUBLIC $<INSTALL_INTERFACE:include>)
endfunction()

function(trimtab_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE trimtab_flags trimtab_tap)
  foreach(used IN LISTS ARG_USES)
    target_link_libraries(${name} PRIVATE trimtab_${used})
  endforeach()
  target_link_libraries(${name} PRIVATE ${ARG_LIBS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endfunction()

# trimtab_wire: the messages of proto/, as protobuf-c makes them, without our warnings.
function(trimtab_protocol)
  set(out ${CMAKE_BINARY_DIR}/wire)
  file(GLOB protos CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/proto/trimtab/v1/*.proto)
  set(sources)
  foreach(proto IN LISTS protos)
    get_filename_component(stem ${proto} NAME_WE)
    list(APPEND sources ${out}/trimtab/v1/${stem}.pb-c.c)
    list(APPEND headers ${out}/trimtab/v1/${stem}.pb-c.h)
  endforeach()
  add_custom_command(OUTPUT ${sources} ${headers}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${out}
    COMMAND protoc-c --c_out=${out} -I ${CMAKE_SOURCE_DIR}/proto ${protos}
    DEPENDS ${protos} VERBATIM)
  # For reflection: the services, with all that their files need.
  set(services trimtab/v1/admin.proto trimtab/v1/sync.proto grpc/health/v1/health.proto)
  set(descriptors ${out}/services.descriptors)
  add_custom_command(OUTPUT ${descriptors}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${out}
    COMMAND protoc --include_imports --descriptor_set_out=${descriptors} -I ${CMAKE_SOURCE_DIR}/proto ${services}
    DEPENDS ${protos} ${CMAKE_SOURCE_DIR}/proto/grpc/health/v1/health.proto VERBATIM)
  add_custom_target(trimtab_descriptors DEPENDS ${descriptors})
  set(TRIMTAB_DESCRIPTORS ${descriptors} PARENT_SCOPE)
  add_library(trimtab_wire STATIC ${sources} ${headers})
  target_include_directories(trimtab_wire SYSTEM PUBLIC ${out})
  target_link_libraries(trimtab_wire PUBLIC PkgConfig::PROTOBUF_C)
endfunction()

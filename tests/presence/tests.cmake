trimtab_test(presence_proof SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/presence/proof.c USES presence)
trimtab_test(presence_roster SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/presence/roster.c USES presence)
trimtab_test(presence_target SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/presence/target.c USES presence)
trimtab_test(presence_owner SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/presence/owner.c USES presence)

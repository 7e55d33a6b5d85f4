trimtab_test(model_rights SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/model/rights.c USES model)
trimtab_test(model_grant SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/model/grant.c USES model)
trimtab_test(model_rights_random SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/model/rights_random.c USES model)
trimtab_test(model_needs SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/model/needs.c USES model)

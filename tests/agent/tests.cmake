trimtab_test(agent_sink SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/agent/sink.c USES agent)
trimtab_test(agent_ledger SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/agent/ledger.c USES agent)
trimtab_test(agent_child SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/agent/child.c USES agent)
trimtab_test(agent_health SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/agent/health.c USES agent)

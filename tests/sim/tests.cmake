trimtab_test(sim SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/sim/main.c ${CMAKE_CURRENT_SOURCE_DIR}/sim/sim.c
  ${CMAKE_CURRENT_SOURCE_DIR}/sim/oracle.c ${CMAKE_CURRENT_SOURCE_DIR}/sim/grants.c
  ${CMAKE_CURRENT_SOURCE_DIR}/sim/judge.c ${CMAKE_CURRENT_SOURCE_DIR}/sim/causes.c
  ${CMAKE_CURRENT_SOURCE_DIR}/sim/claims.c
  ${CMAKE_CURRENT_SOURCE_DIR}/sim/lanes.c ${CMAKE_CURRENT_SOURCE_DIR}/sim/wire.c USES store presence feed agent)

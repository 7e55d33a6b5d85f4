trimtab_test(sim SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/sim/main.c ${CMAKE_CURRENT_SOURCE_DIR}/sim/sim.c
  ${CMAKE_CURRENT_SOURCE_DIR}/sim/oracle.c USES store feed agent)

set(store_dir ${CMAKE_CURRENT_SOURCE_DIR}/store)
trimtab_test(store_contract SOURCES ${store_dir}/contract.c ${store_dir}/kit.c USES store)
trimtab_test(store_mem SOURCES ${store_dir}/mem.c ${store_dir}/kit.c USES store)
trimtab_test(store_power SOURCES ${store_dir}/power.c ${store_dir}/power_vfs.c ${store_dir}/kit.c USES store)

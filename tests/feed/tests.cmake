trimtab_test(feed SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/feed/feed.c ${CMAKE_CURRENT_SOURCE_DIR}/feed/peer.c USES feed)
trimtab_test(feed_gray SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/feed/gray.c ${CMAKE_CURRENT_SOURCE_DIR}/feed/peer.c USES feed)
trimtab_test(feed_references SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/feed/references.c ${CMAKE_CURRENT_SOURCE_DIR}/feed/observer.c USES feed sync)
trimtab_test(feed_ends SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/feed/ends.c ${CMAKE_CURRENT_SOURCE_DIR}/feed/observer.c USES feed sync)

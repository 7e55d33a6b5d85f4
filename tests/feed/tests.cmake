trimtab_test(feed SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/feed/feed.c USES feed)

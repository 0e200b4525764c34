include(${CMAKE_CURRENT_LIST_DIR}/cxe-targets.cmake)

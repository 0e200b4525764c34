# layer.cmake - add_layer: the current folder as one static library

# add_layer(<name> [BELOW <layer>...] [USES <library>...] [WITHOUT <file>...])
#
# BELOW names the layers this one may include from: their folders, and those below them, are its whole include
# path, so that an include that points upward does not compile. USES are libraries from outside. WITHOUT are
# sources of the folder that belong elsewhere. Objects stay available as <name>-objects.
function(add_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "BELOW;USES;WITHOUT")
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  foreach(file IN LISTS arg_WITHOUT)
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  endforeach()
  if(sources)
    add_library(${name}-objects OBJECT ${sources})
    target_include_directories(${name}-objects PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(${name}-objects PUBLIC ${arg_BELOW} ${arg_USES})
    add_library(${name} STATIC $<TARGET_OBJECTS:${name}-objects>)
    target_include_directories(${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(${name} PUBLIC ${arg_BELOW} ${arg_USES})
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(${name} INTERFACE ${arg_BELOW} ${arg_USES})
  endif()
endfunction()

# install.cmake - what a program needs to build against libcxe: header, library, pkg-config, CMake package

include(CMakePackageConfigHelpers)

set(cxe_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/cxe)

# The pkg-config file finds its prefix from where it lies, so that an installed tree can be moved.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
  BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig OUTPUT_VARIABLE cxe_prefix_from_pc)
configure_file(cxe.pc.in ${PROJECT_BINARY_DIR}/cxe.pc @ONLY)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cxe-config-version.cmake COMPATIBILITY SameMinorVersion)

install(FILES cxe.h sync/cxe_sync.h TYPE INCLUDE)
install(FILES ${PROJECT_BINARY_DIR}/cxe.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES cxe-config.cmake ${PROJECT_BINARY_DIR}/cxe-config-version.cmake DESTINATION ${cxe_cmake_dir})
install(TARGETS libcxe EXPORT cxe-targets)
install(EXPORT cxe-targets NAMESPACE cxe:: DESTINATION ${cxe_cmake_dir})

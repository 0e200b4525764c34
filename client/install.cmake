# install.cmake - what a program needs to build against libcxe: header, library, pkg-config, CMake package

include(CMakePackageConfigHelpers)

set(cxe_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/cxe)

configure_file(cxe.pc.in ${PROJECT_BINARY_DIR}/cxe.pc @ONLY)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cxe-config-version.cmake COMPATIBILITY SameMinorVersion)

install(FILES cxe.h TYPE INCLUDE)
install(FILES ${PROJECT_BINARY_DIR}/cxe.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES cxe-config.cmake ${PROJECT_BINARY_DIR}/cxe-config-version.cmake DESTINATION ${cxe_cmake_dir})
install(TARGETS libcxe EXPORT cxe-targets)
install(EXPORT cxe-targets NAMESPACE cxe:: DESTINATION ${cxe_cmake_dir})

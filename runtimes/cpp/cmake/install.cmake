# find_package(deploykit) and pkg-config for an installed copy.
include(CMakePackageConfigHelpers)

set(_config ${CMAKE_INSTALL_LIBDIR}/cmake/deploykit)
install(TARGETS deploykit EXPORT deploykit-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET deploykit-run)
  install(TARGETS deploykit-run RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  set_target_properties(deploykit-run PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
endif()
install(DIRECTORY include/deploykit DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT deploykit-targets NAMESPACE deploykit:: DESTINATION ${_config})

configure_package_config_file(cmake/deploykit-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/deploykit-config.cmake
  INSTALL_DESTINATION ${_config})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/deploykit-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/deploykit-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/deploykit-config-version.cmake DESTINATION ${_config})

# Relative to the file itself, so that an installed copy can be moved.
file(RELATIVE_PATH _prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" _prefix "\${pcfiledir}/${_prefix}")
configure_file(cmake/deploykit.pc.in ${CMAKE_CURRENT_BINARY_DIR}/deploykit.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/deploykit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

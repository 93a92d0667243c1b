# find_package(deploykit) from the sources, which the Python package carries:
#
#   cmake -B build -Ddeploykit_DIR="$(deploykit cpp --cmake-dir)"
#
# Builds the library as a part of the caller's project. An installed library has a file of its own of
# this name (see deploykit-config.cmake.in).

if(NOT TARGET deploykit::deploykit)
  add_subdirectory("${CMAKE_CURRENT_LIST_DIR}/.." "${CMAKE_BINARY_DIR}/deploykit" EXCLUDE_FROM_ALL)
endif()

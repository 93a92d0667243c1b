# Finds the file of ONNX Runtime's shared library, which deploykit opens at run time.
#
# Looks, in this order, at
#   ONNXRUNTIME_LIBRARY   the file itself, where it is given
#   ONNXRUNTIME_ROOT      a release archive or another prefix with lib/libonnxruntime.so
#   the system            Debian's libonnxruntime1.21, for instance
#   Python                the pip wheels onnxruntime and onnxruntime-gpu
#
# Sets OnnxRuntimeLibrary_FOUND and OnnxRuntimeLibrary_PATH.

set(ONNXRUNTIME_LIBRARY "" CACHE FILEPATH "ONNX Runtime's shared library")
set(ONNXRUNTIME_ROOT "" CACHE PATH "Unpacked release archive of ONNX Runtime")
set(OnnxRuntimeLibrary_PATH "${ONNXRUNTIME_LIBRARY}")

if(NOT OnnxRuntimeLibrary_PATH)
  find_file(DEPLOYKIT_ONNXRUNTIME_FILE
    NAMES libonnxruntime.so.1 libonnxruntime.so libonnxruntime.dylib onnxruntime.dll
    HINTS ${ONNXRUNTIME_ROOT} ENV ONNXRUNTIME_ROOT
    PATHS /usr /usr/local
    PATH_SUFFIXES lib lib64 lib/${CMAKE_LIBRARY_ARCHITECTURE})
  mark_as_advanced(DEPLOYKIT_ONNXRUNTIME_FILE)
  if(DEPLOYKIT_ONNXRUNTIME_FILE)
    set(OnnxRuntimeLibrary_PATH "${DEPLOYKIT_ONNXRUNTIME_FILE}")
  endif()
endif()

if(NOT OnnxRuntimeLibrary_PATH)
  # Debian's libonnxruntime1.21 has its minor version in the name; the plain name comes with -dev only.
  foreach(_prefix ${ONNXRUNTIME_ROOT} $ENV{ONNXRUNTIME_ROOT} ${CMAKE_PREFIX_PATH} /usr /usr/local)
    foreach(_folder lib lib64 lib/${CMAKE_LIBRARY_ARCHITECTURE})
      file(GLOB _libraries "${_prefix}/${_folder}/libonnxruntime.so.1.*")
      if(_libraries AND NOT OnnxRuntimeLibrary_PATH)
        list(SORT _libraries COMPARE NATURAL)
        list(GET _libraries -1 OnnxRuntimeLibrary_PATH)
      endif()
    endforeach()
  endforeach()
endif()

if(NOT OnnxRuntimeLibrary_PATH)
  # The folder of the package, without importing it: that would load the library and numpy.
  set(_script "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0] if s else '')")
  foreach(_python ${Python3_EXECUTABLE} ${Python_EXECUTABLE} python3 python)
    execute_process(COMMAND ${_python} -c "${_script}" OUTPUT_VARIABLE _package OUTPUT_STRIP_TRAILING_WHITESPACE
      ERROR_QUIET RESULT_VARIABLE _failed)
    if(NOT _failed AND _package)
      file(GLOB _libraries "${_package}/capi/libonnxruntime.so.1*" "${_package}/capi/libonnxruntime*.dylib")
      list(LENGTH _libraries _count)
      if(_count GREATER 0)
        list(GET _libraries 0 OnnxRuntimeLibrary_PATH)
        # Kept, so that a later run of CMake outside of the virtual environment finds it again.
        set(ONNXRUNTIME_LIBRARY "${OnnxRuntimeLibrary_PATH}" CACHE FILEPATH "ONNX Runtime's shared library" FORCE)
        break()
      endif()
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OnnxRuntimeLibrary REQUIRED_VARS OnnxRuntimeLibrary_PATH)

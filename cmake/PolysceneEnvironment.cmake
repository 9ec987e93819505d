# What the build needs to know of this machine. setup.py passes all four values; a build started by hand asks the
# Python on PATH (or the one in PYTHON).
if(NOT (TORCH_DIR AND JSON_INCLUDE AND PY_INCLUDE AND EXT_SUFFIX))
  find_program(PYTHON NAMES python3 python REQUIRED)
  execute_process(
    COMMAND ${PYTHON} ${PROJECT_SOURCE_DIR}/build_tools/torch_locator.py
    OUTPUT_VARIABLE found ERROR_VARIABLE problem RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(failed)
    message(FATAL_ERROR "polyscene: ${PYTHON} cannot tell where torch and nlohmann_json are.\n${problem}")
  endif()
  foreach(line ${found})
    string(REGEX MATCH "^([A-Z_]+)=(.*)$" matched "${line}")
    if(NOT ${CMAKE_MATCH_1})
      set(${CMAKE_MATCH_1} "${CMAKE_MATCH_2}" CACHE STRING "From ${PYTHON}" FORCE)
    endif()
  endforeach()
endif()
if(NOT EXISTS ${PY_INCLUDE}/Python.h)
  message(FATAL_ERROR "polyscene: Python.h wanted in ${PY_INCLUDE}; install Python's headers (Debian: python3-dev)")
endif()

file(STRINGS ${TORCH_DIR}/version.py torch_version_line REGEX "^__version__")
string(REGEX REPLACE ".*'([^']+)'.*" "\\1" POLYSCENE_TORCH_VERSION "${torch_version_line}")
message(STATUS "polyscene ${PROJECT_VERSION} on torch ${POLYSCENE_TORCH_VERSION} in ${TORCH_DIR}")

# Sources see the headers of torch and JSON under the build folder, so that the compiler cache knows them again in
# another environment or checkout.
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/headers)
file(CREATE_LINK ${TORCH_DIR}/include ${PROJECT_BINARY_DIR}/headers/torch SYMBOLIC)
file(CREATE_LINK ${JSON_INCLUDE} ${PROJECT_BINARY_DIR}/headers/json SYMBOLIC)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Precompiled headers are only cached when these differences are declared harmless.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_PCH_EXTSUM=1 ${CCACHE_PROGRAM})
endif()

# Precompiles `header` for `target`. The cache compares the sum written here, not the compiled header, whose bytes
# differ from build to build.
function(polyscene_precompile target header)
  target_precompile_headers(${target} PRIVATE ${header})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
  file(SHA256 ${header} sum)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/CMakeFiles/${target}.dir/cmake_pch.hxx.gch.sum
       CONTENT "${sum} torch ${POLYSCENE_TORCH_VERSION} ${EXT_SUFFIX} ${CMAKE_CXX_COMPILER_VERSION} ${POLYSCENE_NATIVE}\n")
endfunction()

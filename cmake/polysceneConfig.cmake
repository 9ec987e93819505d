# find_package(polyscene) makes the target polyscene::polyscene.
#
# torch is taken from TORCH_DIR (CMake or environment variable), else from the folder beside the polyscene package, else
# from the Python on PATH.
get_filename_component(polyscene_PACKAGE_DIR "${CMAKE_CURRENT_LIST_DIR}/../../.." REALPATH)

if(NOT TORCH_DIR AND DEFINED ENV{TORCH_DIR})
  set(TORCH_DIR $ENV{TORCH_DIR})
endif()
if(NOT TORCH_DIR AND EXISTS ${polyscene_PACKAGE_DIR}/../torch/version.py)
  get_filename_component(TORCH_DIR ${polyscene_PACKAGE_DIR}/../torch REALPATH)
endif()
if(NOT TORCH_DIR)
  execute_process(
    COMMAND python3 -c "import importlib.util as u, os; print(os.path.dirname(u.find_spec('torch').origin))"
    OUTPUT_VARIABLE TORCH_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EXISTS "${TORCH_DIR}/lib/libtorch.so")
  set(polyscene_FOUND FALSE)
  set(polyscene_NOT_FOUND_MESSAGE
      "torch was not found beside ${polyscene_PACKAGE_DIR}; pass -DTORCH_DIR=<folder of the installed torch package>")
  return()
endif()

include(${CMAKE_CURRENT_LIST_DIR}/PolysceneTorch.cmake)
if(NOT TARGET polyscene::polyscene)
  add_library(polyscene::polyscene SHARED IMPORTED)
  set_target_properties(polyscene::polyscene PROPERTIES
    IMPORTED_LOCATION ${polyscene_PACKAGE_DIR}/lib/libpolyscene.so
    IMPORTED_SONAME libpolyscene.so)
  target_include_directories(polyscene::polyscene INTERFACE ${polyscene_PACKAGE_DIR}/include)
  target_link_libraries(polyscene::polyscene INTERFACE polyscene::torch)
endif()
set(polyscene_FOUND TRUE)

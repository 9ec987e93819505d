# Target polyscene::torch from the wheel in TORCH_DIR. find_package(Torch) is not used: with a CUDA wheel it stops on
# machines without the CUDA toolkit.
if(NOT TARGET polyscene::torch)
  if(NOT TORCH_INCLUDE)
    set(TORCH_INCLUDE ${TORCH_DIR}/include)
  endif()
  add_library(polyscene::torch INTERFACE IMPORTED)
  target_include_directories(polyscene::torch SYSTEM INTERFACE
    ${TORCH_INCLUDE} ${TORCH_INCLUDE}/torch/csrc/api/include)
  target_compile_features(polyscene::torch INTERFACE cxx_std_20)
  # torch ships its own fmt headers; a linked libfmt of another version would clash with them.
  target_compile_definitions(polyscene::torch INTERFACE FMT_HEADER_ONLY=1 _GLIBCXX_USE_CXX11_ABI=1)
  # Kept whether they look used or not: libtorch.so has no symbols of its own and pulls in the CUDA part where there is
  # one, and a program that finds all three itself needs no run path from libpolyscene.so.
  target_link_libraries(polyscene::torch INTERFACE
    "-Wl,--push-state,--no-as-needed"
    ${TORCH_DIR}/lib/libtorch.so ${TORCH_DIR}/lib/libtorch_cpu.so ${TORCH_DIR}/lib/libc10.so
    "-Wl,--pop-state")
endif()

# Target polyscene::torch from the wheel in TORCH_DIR. find_package(Torch) is not used: with a CUDA wheel it stops on
# machines without the CUDA toolkit.
if(NOT TARGET polyscene::torch)
  add_library(polyscene::torch INTERFACE IMPORTED)
  target_include_directories(polyscene::torch SYSTEM INTERFACE
    ${TORCH_DIR}/include ${TORCH_DIR}/include/torch/csrc/api/include)
  target_compile_features(polyscene::torch INTERFACE cxx_std_20)
  # torch ships its own fmt headers; a linked libfmt of another version would clash with them.
  target_compile_definitions(polyscene::torch INTERFACE FMT_HEADER_ONLY=1 _GLIBCXX_USE_CXX11_ABI=1)
  # libtorch.so has no symbols of its own, it only pulls in the CPU and CUDA parts: keep it although it looks unused.
  target_link_libraries(polyscene::torch INTERFACE
    "-Wl,--push-state,--no-as-needed" ${TORCH_DIR}/lib/libtorch.so "-Wl,--pop-state"
    ${TORCH_DIR}/lib/libtorch_cpu.so ${TORCH_DIR}/lib/libc10.so)
endif()

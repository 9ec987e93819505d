list(APPEND POLYSCENE_SOURCES
)
  ${CMAKE_CURRENT_LIST_DIR}/feature_embedding.cpp
  ${CMAKE_CURRENT_LIST_DIR}/lookup.cpp)

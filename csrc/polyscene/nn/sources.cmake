list(APPEND POLYSCENE_SOURCES
  ${CMAKE_CURRENT_LIST_DIR}/attention.cpp
  ${CMAKE_CURRENT_LIST_DIR}/conv_encoder.cpp
  ${CMAKE_CURRENT_LIST_DIR}/dense_attention_head.cpp
  ${CMAKE_CURRENT_LIST_DIR}/encoder.cpp
  ${CMAKE_CURRENT_LIST_DIR}/feature_embedding.cpp
  ${CMAKE_CURRENT_LIST_DIR}/gating.cpp
  ${CMAKE_CURRENT_LIST_DIR}/interest_points.cpp
  ${CMAKE_CURRENT_LIST_DIR}/lookup.cpp
  ${CMAKE_CURRENT_LIST_DIR}/losses.cpp
  ${CMAKE_CURRENT_LIST_DIR}/masks.cpp
  ${CMAKE_CURRENT_LIST_DIR}/mlp.cpp
  ${CMAKE_CURRENT_LIST_DIR}/multi_head_attention.cpp
  ${CMAKE_CURRENT_LIST_DIR}/pair_attention.cpp
  ${CMAKE_CURRENT_LIST_DIR}/temporal_attention.cpp
  ${CMAKE_CURRENT_LIST_DIR}/transformer_encoder.cpp
)

list(APPEND POLYSCENE_TEST_SOURCES
  catch_test.cpp
  core/errors_test.cpp
  core/json_test.cpp
  core/options_test.cpp
  core/random_test.cpp
  core/safetensors_test.cpp
  core/sha256_test.cpp
  core/version_test.cpp
  data/columns_test.cpp
  nn/attention_test.cpp
  nn/conv_encoder_test.cpp
  nn/dense_attention_head_test.cpp
  nn/encoder_test.cpp
  nn/feature_embedding_test.cpp
  nn/gating_test.cpp
  nn/interest_points_test.cpp
  nn/lookup_test.cpp
  nn/losses_test.cpp
  nn/masks_test.cpp
  nn/mlp_test.cpp
  nn/multi_head_attention_test.cpp
  nn/pair_attention_test.cpp
  nn/temporal_attention_test.cpp
  nn/transformer_encoder_test.cpp
  train/optimizer_test.cpp
  train/schedule_test.cpp
)
list(APPEND POLYSCENE_TEST_SOURCES catch_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES core/errors_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES core/json_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES core/options_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES core/random_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES core/safetensors_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES core/sha256_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES core/version_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES data/columns_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES nn/feature_embedding_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES nn/lookup_test.cpp)
list(APPEND POLYSCENE_TEST_SOURCES data/simulator_test.cpp)

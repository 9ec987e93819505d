list(APPEND POLYSCENE_TEST_SOURCES
  catch_test.cpp
  core/version_test.cpp
  nn/attention_test.cpp
  nn/conv_encoder_test.cpp
  nn/dense_attention_head_test.cpp
  nn/encoder_test.cpp
  nn/gating_test.cpp
  nn/interest_points_test.cpp
  nn/losses_test.cpp
  nn/masks_test.cpp
  nn/mlp_test.cpp
  nn/multi_head_attention_test.cpp
  nn/pair_attention_test.cpp
  nn/temporal_attention_test.cpp
  nn/transformer_encoder_test.cpp)
)

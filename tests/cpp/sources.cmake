list(APPEND POLYSCENE_TEST_SOURCES
  catch_test.cpp
  core/version_test.cpp
  eval/metrics_test.cpp
  eval/scene_metrics_test.cpp
  nn/feature_embedding_test.cpp
  nn/lookup_test.cpp
  train/optimizer_test.cpp
  train/schedule_test.cpp
)

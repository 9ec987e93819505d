list(APPEND POLYSCENE_TEST_SOURCES
  catch_test.cpp
  core/version_test.cpp
  models/registry_test.cpp
  models/single/logistic_test.cpp
  models/single/mf_test.cpp
  models/single/popularity_test.cpp
)

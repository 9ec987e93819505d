list(APPEND POLYSCENE_TEST_SOURCES
  catch_test.cpp
  core/version_test.cpp
)

list(APPEND POLYSCENE_SOURCES
  ${CMAKE_CURRENT_LIST_DIR}/class_metrics.cpp
  ${CMAKE_CURRENT_LIST_DIR}/codes.cpp
  ${CMAKE_CURRENT_LIST_DIR}/curves.cpp
  ${CMAKE_CURRENT_LIST_DIR}/evaluate.cpp
  ${CMAKE_CURRENT_LIST_DIR}/met.cpp
  ${CMAKE_CURRENT_LIST_DIR}/metrics.cpp
  ${CMAKE_CURRENT_LIST_DIR}/order.cpp
  ${CMAKE_CURRENT_LIST_DIR}/predict.cpp
  ${CMAKE_CURRENT_LIST_DIR}/ranking.cpp
  ${CMAKE_CURRENT_LIST_DIR}/ranks.cpp
  ${CMAKE_CURRENT_LIST_DIR}/reasons.cpp
  ${CMAKE_CURRENT_LIST_DIR}/recommend.cpp
  ${CMAKE_CURRENT_LIST_DIR}/rows.cpp
  ${CMAKE_CURRENT_LIST_DIR}/scene_metrics.cpp
  ${CMAKE_CURRENT_LIST_DIR}/scores_after.cpp
  ${CMAKE_CURRENT_LIST_DIR}/similar.cpp
)

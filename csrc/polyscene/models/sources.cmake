list(APPEND POLYSCENE_SOURCES
  ${CMAKE_CURRENT_LIST_DIR}/base.cpp
  ${CMAKE_CURRENT_LIST_DIR}/interest/attention_transfer.cpp
  ${CMAKE_CURRENT_LIST_DIR}/interest/interest_migration.cpp
  ${CMAKE_CURRENT_LIST_DIR}/interest/scene_branch.cpp
  ${CMAKE_CURRENT_LIST_DIR}/multi/specialist.cpp
  ${CMAKE_CURRENT_LIST_DIR}/registry.cpp
  ${CMAKE_CURRENT_LIST_DIR}/scene/ep_net.cpp
  ${CMAKE_CURRENT_LIST_DIR}/scene/hamur.cpp
  ${CMAKE_CURRENT_LIST_DIR}/scene/m3oe.cpp
  ${CMAKE_CURRENT_LIST_DIR}/scene/mmoe.cpp
  ${CMAKE_CURRENT_LIST_DIR}/scene/pp_net.cpp
  ${CMAKE_CURRENT_LIST_DIR}/scene/scene_model.cpp
  ${CMAKE_CURRENT_LIST_DIR}/scene/shared_bottom.cpp
  ${CMAKE_CURRENT_LIST_DIR}/single/logistic.cpp
  ${CMAKE_CURRENT_LIST_DIR}/single/mf.cpp
  ${CMAKE_CURRENT_LIST_DIR}/single/popularity.cpp
)

# Headers, static library, CMake package and pkg-config file. Under CMAKE_INSTALL_PREFIX, which inside a wheel is the
# package folder itself; all paths within are relative, so the tree can be moved.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/logitloss)

install(TARGETS logitloss EXPORT logitlossTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
# `cmake --install --strip`, as it is done for a wheel, leaves archives as they are. A twentieth of this one are names of
# local symbols, which no linker needs.
if(CMAKE_STRIP AND NOT APPLE)
  install(
    CODE "
if(CMAKE_INSTALL_DO_STRIP)
  execute_process(
    COMMAND \"${CMAKE_STRIP}\" -D --strip-unneeded
            \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/$<TARGET_FILE_NAME:logitloss>\")
endif()")
endif()
install(DIRECTORY cpp/include/logitloss DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT logitlossTargets NAMESPACE logitloss:: DESTINATION ${package_dir})

configure_package_config_file(cmake/logitlossConfig.cmake.in ${PROJECT_BINARY_DIR}/logitlossConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/logitlossConfigVersion.cmake VERSION ${PROJECT_VERSION}
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/logitlossConfig.cmake ${PROJECT_BINARY_DIR}/logitlossConfigVersion.cmake
        DESTINATION ${package_dir})

# pkg-config knows no OpenMP and no C++ runtime: what a C linker would need is spelled out. Apple's Clang comes without
# OpenMP's runtime; where it is, is the caller's business.
if(LOGITLOSS_THREADING STREQUAL "openmp")
  set(pc_threads "${OpenMP_CXX_FLAGS}")
  if(APPLE)
    string(APPEND pc_threads " -lomp")
  endif()
else()
  set(pc_threads "")
endif()
if(APPLE)
  set(pc_runtime "-lc++")
else()
  set(pc_runtime "-lstdc++ -lm")
endif()
file(RELATIVE_PATH pc_to_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/logitloss.pc.in ${PROJECT_BINARY_DIR}/logitloss.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/logitloss.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

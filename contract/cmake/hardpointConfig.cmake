# find_package(hardpoint CONFIG), with hardpoint_DIR from `hardpoint include --cmakedir`. CMake 3.13 or newer.
#
#   hardpoint::hardpoint                      include directory and linker options of a plugin
#   hardpoint_add_plugin(english english.c)   a target that builds english.so
include_guard()

get_filename_component(_hardpoint_folder "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
add_library(hardpoint::hardpoint INTERFACE IMPORTED)
set_target_properties(hardpoint::hardpoint PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${_hardpoint_folder}"
  INTERFACE_LINK_OPTIONS
    "LINKER:-z,defs,-z,relro,-z,now,-z,noexecstack;LINKER:--version-script=${_hardpoint_folder}/hardpoint.map")
unset(_hardpoint_folder)

function(hardpoint_add_plugin name)
  add_library(${name} MODULE ${ARGN})
  target_link_libraries(${name} PRIVATE hardpoint::hardpoint)
  # As `hardpoint build`: mistakes that older compilers only warn of.
  target_compile_options(${name} PRIVATE -Werror=return-type)
  foreach(mistake implicit-function-declaration implicit-int int-conversion incompatible-pointer-types strict-prototypes)
    target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:C>:-Werror=${mistake}>)
  endforeach()
  set_target_properties(${name} PROPERTIES
    PREFIX "" SUFFIX ".so"
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  if(NOT CMAKE_C_STANDARD)
    set_target_properties(${name} PROPERTIES C_STANDARD 11)
  endif()
  if(NOT CMAKE_CXX_STANDARD)
    set_target_properties(${name} PROPERTIES CXX_STANDARD 17)
  endif()
endfunction()

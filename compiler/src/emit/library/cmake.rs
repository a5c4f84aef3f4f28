//! The CMake file of a library: an imported target, for `find_package(NAME CONFIG)` or `include`.

use super::super::bindings::Interface;
use super::super::names::snake;

/// The text of `NAME-config.cmake`, which lies beside the library.
pub fn cmake(interface: &Interface) -> String {
    let name = snake(&interface.name);
    format!(
        "# The model `{name}`, written by bakelite {version}. In CMakeLists.txt:
#
#     find_package({name} CONFIG REQUIRED PATHS <this folder>)
#     target_link_libraries(<program> PRIVATE bakelite::{name})

if(TARGET bakelite::{name})
  return()
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

add_library(bakelite::{name} STATIC IMPORTED GLOBAL)
set_target_properties(bakelite::{name} PROPERTIES
  IMPORTED_LOCATION \"${{CMAKE_CURRENT_LIST_DIR}}/lib{name}.a\"
  INTERFACE_INCLUDE_DIRECTORIES \"${{CMAKE_CURRENT_LIST_DIR}}\"
  INTERFACE_LINK_LIBRARIES \"Threads::Threads;m\")

# The weights that were written with the library.
set({name}_WEIGHTS \"${{CMAKE_CURRENT_LIST_DIR}}/{name}.safetensors\")
",
        version = env!("CARGO_PKG_VERSION"),
    )
}

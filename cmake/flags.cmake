# flags.cmake - compiler and linker flags, the same for every target

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
include(CheckPIESupported)
check_pie_supported()

add_compile_definitions(_GNU_SOURCE)
add_compile_options(
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith
  -Wvla -Wundef -Wwrite-strings -Wcast-qual -Wformat=2 -Wimplicit-fallthrough
  -fno-common -fstack-protector-strong -fno-omit-frame-pointer
  # A page fault is handled in a signal handler: the lazy model of thread-local storage may allocate there.
  -ftls-model=initial-exec)
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  add_compile_options(
    -Wno-include-next-absolute-path # proto/base/limits.h wants the C library's, too
    -Wno-format-nonliteral)         # of functions with a va_list, which gcc lets pass
endif()
if(CXE_WERROR)
  add_compile_options(-Werror)
endif()

# A baseline every server of the last fifteen years has; wider vectors are chosen at run time.
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  add_compile_options(-march=x86-64-v2)
endif()

add_link_options(-Wl,--as-needed -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)

if(CXE_SANITIZE)
  add_compile_options(-fsanitize=${CXE_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CXE_SANITIZE})
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-maybe-uninitialized) # instrumented code hides from gcc what is initialized
  endif()
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CXE_SANITIZE STREQUAL "thread")
    add_compile_options(-Wno-tsan) # it does not see fences; what relies on them says so (fabricd/racy.h)
  endif()
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()

if(CXE_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "CXE_FUZZ needs clang: cmake --preset fuzz")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

// tests/support/visible_close.cpp: for the daemon under the thread sanitizer alone. libuv closes descriptors by
// syscall(SYS_close), which the sanitizer does not see: it takes the number's next owner for the one before and reports
// a "data race in close", where the kernel has long given the number away. Here it is told of each.
#include <cstdarg>

#include <dlfcn.h>
#include <sys/syscall.h>

extern "C" {

void __sanitizer_syscall_pre_impl_close(long fd);

// Not declared by <unistd.h> here: that one is noexcept in one library and not in another.
long syscall(long number, ...) {
  using Syscall = long (*)(long, long, long, long, long, long, long);
  static const auto real = reinterpret_cast<Syscall>(dlsym(RTLD_NEXT, "syscall"));
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_close) __sanitizer_syscall_pre_impl_close(arguments[0]);
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
}

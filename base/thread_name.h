// base/thread_name.h: what a thread is called in `top -H`, debuggers and profiles.
#pragma once
#include <pthread.h>

namespace waypost {

/// The calling thread's name, at most 15 octets.
inline void name_thread(const char* name) {
  pthread_setname_np(pthread_self(), name);
}

}  // namespace waypost

// tests/support/main.cpp: runs the cases of one program. The log of what is tested goes nowhere.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "base/event_log.h"

int main(int argc, char** argv) {
  waypost::log::Options options;
  options.target = "/dev/null";
  const waypost::Result<> opened = waypost::log::open(options);
  return opened ? doctest::Context(argc, argv).run() : 1;
}

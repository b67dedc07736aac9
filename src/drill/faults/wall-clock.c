/*
 * Preloaded into a process: its wall clock is wrong by as many milliseconds as the file named by
 * SKERRY_DRILL_CLOCK says at that moment (a signed 64-bit number). The clocks that nobody sets are left
 * alone, as on a machine whose time is stepped.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_ms;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  const char *path = getenv("SKERRY_DRILL_CLOCK");
  if (!path) return;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  if (page == MAP_FAILED) {
    /* A clock that was to be wrong and is right would prove nothing. */
    perror("SKERRY_DRILL_CLOCK");
    _exit(127);
  }
  close(file);
  offset_ms = page;
}

static void shift(struct timespec *at) {
  int64_t by = offset_ms ? *offset_ms : 0;
  int64_t nanos = at->tv_nsec + (by % 1000) * 1000000;
  at->tv_sec += by / 1000;
  if (nanos < 0) {
    nanos += 1000000000;
    at->tv_sec--;
  } else if (nanos >= 1000000000) {
    nanos -= 1000000000;
    at->tv_sec++;
  }
  at->tv_nsec = nanos;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  if (!real_clock_gettime) begin();
  int result = real_clock_gettime(clock, at);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) shift(at);
  return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  (void)zone;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

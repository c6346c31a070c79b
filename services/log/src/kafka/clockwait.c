// librdkafka waits until a time of the wall clock (its issue 2145). Where that clock is set back by an hour, whatever waits goes on
// waiting for an hour: for a timer, for the group, for an answer. This takes the place of the C library's function, which nothing
// else in the program calls, and waits by a clock that nobody can set.

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

#define SECOND_NS 1000000000LL

// In glibc both are the same but for their names.
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "a cnd_t is a pthread_cond_t");
_Static_assert(sizeof(mtx_t) <= sizeof(pthread_mutex_t), "a mtx_t is a pthread_mutex_t");

// The clock may be set between the caller's look at it and the one here, so no wait is long: callers look by themselves how much
// of their time is left, by a clock that cannot be set, and wait again.
static long long left_ns(const struct timespec *until) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  long long seconds = (long long)until->tv_sec - now.tv_sec;
  if (seconds > 1) return SECOND_NS;
  if (seconds < -1) return 0;
  long long left = seconds * SECOND_NS + until->tv_nsec - now.tv_nsec;
  return left < 0 ? 0 : left > SECOND_NS ? SECOND_NS : left;
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
  struct timespec deadline;
  clock_gettime(CLOCK_MONOTONIC, &deadline);
  long long ns = deadline.tv_nsec + left_ns(until);
  deadline.tv_sec += ns / SECOND_NS;
  deadline.tv_nsec = ns % SECOND_NS;
  switch (pthread_cond_clockwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, CLOCK_MONOTONIC, &deadline)) {
    case 0: return thrd_success;
    case ETIMEDOUT: return thrd_timedout;
    default: return thrd_error;
  }
}

// librdkafka waits until a time of the wall clock (its issue 2145). Where that clock is set back by an hour, whatever waits goes on
// waiting for an hour: for a timer, for the group, for an answer. This takes the place of the C library's function, which nothing
// else in the program calls, and waits by a clock that nobody can set.

#define _GNU_SOURCE
#include <features.h>

#if __GLIBC_PREREQ(2, 30) // since then one can wait by a clock of one's choice

#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

#define SECOND_NS 1000000000LL

// In glibc both are the same but for their names.
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "a cnd_t is a pthread_cond_t");
_Static_assert(sizeof(mtx_t) <= sizeof(pthread_mutex_t), "a mtx_t is a pthread_mutex_t");

// The clock may be set between the caller's look at it and the one here, so no wait is long.
static long long left_ns(const struct timespec *until) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  long long seconds = (long long)until->tv_sec - now.tv_sec;
  if (seconds > 2) return 2 * SECOND_NS;
  if (seconds < -1) return 0;
  long long left = seconds * SECOND_NS + until->tv_nsec - now.tv_nsec;
  return left < 0 ? 0 : left;
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
  struct timespec deadline;
  clock_gettime(CLOCK_MONOTONIC, &deadline);
  long long left = left_ns(until), waits = left < SECOND_NS ? left : SECOND_NS;
  long long ns = deadline.tv_nsec + waits;
  deadline.tv_sec += ns / SECOND_NS;
  deadline.tv_nsec = ns % SECOND_NS;
  switch (pthread_cond_clockwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, CLOCK_MONOTONIC, &deadline)) {
    case 0: return thrd_success;
    // Before its time it is a wake-up without a cause: callers look at what they wait for, and at their time by a clock that cannot be
    // set, and wait again.
    case ETIMEDOUT: return waits < left ? thrd_success : thrd_timedout;
    default: return thrd_error;
  }
}

#endif

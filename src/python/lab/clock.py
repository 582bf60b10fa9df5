"""A clock that is wrong, for some services of a host: all hosts share this machine's.

A small library, compiled on the host, stands before libc's. libfaketime would do for most programs,
but Python 3.11 waits for locks in one way and sleeps in another, and it breaks one of the two.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from lab.host import LabHost

PACKAGES = ("binutils", "tcc")
"""The Debian packages that a host needs for this."""

LIBRARY = "/usr/local/lib/wrong-clock.so"
_DROP_IN = "/run/systemd/system/{service}.d/90-clock.conf"

# Who asks for the time of day gets a wrong one; who waits until a wrong time waits for the right
# one. What counts from the boot, such as timeouts and watchdogs, has nothing to do with it.
_SOURCE = """
struct timespec { long seconds, nanoseconds; };
extern void *dlsym(void *, const char *);
#define NEXT(name) ((int (*)()) dlsym((void *) -1L, #name))
#define IS_TIME_OF_DAY(clock) ((clock) == 0 || (clock) == 5 || (clock) == 11)

static struct timespec *right(struct timespec *right, const struct timespec *wrong) {
  *right = *wrong;
  if (wrong->seconds > 1000000000) right->seconds -= SHIFT;
  return right;
}
int clock_gettime(int clock, struct timespec *now) {
  int code = NEXT(clock_gettime)(clock, now);
  if (code == 0 && IS_TIME_OF_DAY(clock)) now->seconds += SHIFT;
  return code;
}
int gettimeofday(struct timespec *now, void *zone) {
  int code = NEXT(gettimeofday)(now, zone);
  if (code == 0) now->seconds += SHIFT;
  return code;
}
long time(long *place) {
  struct timespec now;
  clock_gettime(0, &now);
  if (place) *place = now.seconds;
  return now.seconds;
}
int sem_timedwait(void *semaphore, const struct timespec *until) {
  struct timespec copy;
  return NEXT(sem_timedwait)(semaphore, right(&copy, until));
}
int pthread_cond_timedwait(void *condition, void *mutex, const struct timespec *until) {
  struct timespec copy;
  return NEXT(pthread_cond_timedwait)(condition, mutex, right(&copy, until));
}
"""


@contextmanager
def shifted(host: LabHost, *services: str, seconds: int) -> Iterator[None]:
    """Restarts services so that their clock is wrong by `seconds`, and again with the right one.

    The times of files are right all the while: the kernel writes them.
    """
    library = LIBRARY.replace(".so", f"{seconds:+d}.so")
    host.run("tcc", "-c", f"-DSHIFT=({seconds})", "-o", f"{library}.o", "-", stdin=_SOURCE)
    # Without the last word it asks for a stack that can be executed, which hardened units refuse.
    host.run("ld", "-shared", "-o", library, f"{library}.o", "-z", "noexecstack")
    files = [_DROP_IN.format(service=service) for service in services]
    for file in files:
        host.write(file, f"[Service]\nEnvironment=LD_PRELOAD={library}\n")
    host.systemctl("daemon-reload")
    try:
        host.systemctl("restart", *services)
        yield
    finally:
        host.run("rm", "--force", *files)
        host.systemctl("daemon-reload")
        host.systemctl("restart", *services)

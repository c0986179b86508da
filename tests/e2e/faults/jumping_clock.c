/* The clock on the wall, set back and forth at every look at it: by ten days, by a century, to before 1970. Loaded before the
   C library by LD_PRELOAD; the monotonic clock is left alone, as it is when somebody sets the time. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static const long jumps_s[] = {0, -10 * 86400L, 100 * 365 * 86400L, -100 * 365 * 86400L};
    static unsigned looks;
    int answer = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += jumps_s[looks++ % 4];
    return answer;
}

/* A disk that takes DISK_DELAY_MS for each rename of report.json. Loaded before the C library by LD_PRELOAD. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    const char *delay_ms = getenv("DISK_DELAY_MS");
    if (delay_ms && strstr(to, "report.json")) {
        long ms = atol(delay_ms);
        struct timespec delay = {ms / 1000, ms % 1000 * 1000000};
        nanosleep(&delay, NULL);
    }
    return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

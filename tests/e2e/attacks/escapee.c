/* A process that tries to get away: escapee MODE HELD READY. It holds a lock on HELD as long as any process of it lives. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS = 120, HYDRA = 20, MAX_FORKS = 200000 };

extern char **environ;

static void note(const char *file) {
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    if (fd >= 0) close(fd);
}

static void nap(long microseconds) {
    struct timespec pause = { 0, microseconds * 1000 };
    nanosleep(&pause, NULL);
}

/* Each link forks the next one and ends. */
static void chain(long microseconds, time_t end) {
    while (time(NULL) < end) {
        pid_t next = fork();
        if (next > 0) _exit(0);
        if (next == 0) setsid();
        if (microseconds) nap(microseconds);
    }
}

/* Each of many forks a new one in the place of each that is gone. */
static void hydra(time_t end) {
    /* The last place counts the forks: a hydra must not outgrow the machine. */
    pid_t *heads = mmap(NULL, (HYDRA + 1) * sizeof *heads, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    heads[0] = getpid();
    while (time(NULL) < end) {
        for (int i = 0; i < HYDRA; i++) {
            pid_t gone = heads[i];
            if (gone && kill(gone, 0) == 0) continue;
            if (!__sync_bool_compare_and_swap(&heads[i], gone, getpid())) continue;
            if (__sync_fetch_and_add(&heads[HYDRA], 1) > MAX_FORKS) _exit(0);
            pid_t next = fork();
            if (next < 0) _exit(0);
            if (next == 0) {
                setsid();
                heads[i] = getpid();
                break;
            }
            heads[i] = next;
        }
        nap(50);
    }
}

/* As setproctitle(3) does it, and more thoroughly. */
static void overwrite(char **argv) {
    char *end = argv[0];
    for (char **word = argv; *word; word++) end = *word + strlen(*word);
    for (char **word = environ; *word; word++) end = *word + strlen(*word);
    memset(argv[0], 'x', (size_t)(end - argv[0]));
}

int main(int argc, char **argv) {
    if (argc != 4) return 1;
    char mode[16], ready[4096];
    snprintf(mode, sizeof mode, "%s", argv[1]);
    snprintf(ready, sizeof ready, "%s", argv[3]);
    int held = open(argv[2], O_RDWR | O_CREAT, 0600);
    if (held < 0 || flock(held, LOCK_EX) != 0) return 1;
    if (fork() != 0) _exit(0);
    setsid();
    if (fork() != 0) _exit(0);
    for (int signal_number = 1; signal_number < 32; signal_number++)
        if (signal_number != SIGCHLD) signal(signal_number, SIG_IGN);
    time_t end = time(NULL) + SECONDS;
    if (strcmp(mode, "title") == 0) overwrite(argv);
    if (strcmp(mode, "undumpable") == 0) prctl(PR_SET_DUMPABLE, 0);
    note(ready);
    if (strcmp(mode, "chain") == 0) chain(0, end);
    if (strcmp(mode, "slow-chain") == 0) chain(300, end);
    if (strcmp(mode, "hydra") == 0) hydra(end);
    while (time(NULL) < end) sleep(1);
    return 0;
}

/* What a lock needs of the system: memory that processes share, a way to sleep on it, and to tell who is dead.
 *
 * Memory: a file without a name (memfd), so that it lives as long as anybody has it and leaves nothing behind, or a file
 * with one. `carrier` is what is handed to other processes.
 *
 * Who is dead: each process opens the file once more for itself (`live`) and locks the byte of each line it owns, as an open
 * file description lock. The kernel drops that when the process has died of whatever cause, has replaced itself (exec), or
 * was killed and not yet waited for; it knows no process identifiers, so none can be taken for another's. A child closes
 * what it inherited of `live` at its fork, before it can do anything else. Taking the lock of a line that is dead is also
 * what makes one process at a time clear up after it. The kernel must have /proc mounted to open a file anew.
 *
 * Sleeping: a futex; elsewhere than on Linux short naps that grow longer. */
#ifndef XCTX_LOCK_OS_H
#define XCTX_LOCK_OS_H

#include "_compat.h"
#include <limits.h>

#define XCTX_NAP 100000000   /* ns: nobody sleeps for longer without looking for the dead */

/* --- what is in the memory --------------------------------------------------------------------------------------------- */

#define XCTX_LINES 510
#define XCTX_MAGIC 0x31786374786C6F63   /* with the layout's version in the last digit of the name */

typedef struct {                  /* each part by itself on two cache lines, for the next one is fetched along */
    uint64_t magic;
    char pad0[120];
    uint32_t word;
    uint32_t used;                /* lines that have ever been owned: only these are looked at. Never goes down */
    char pad1[56];
    uint32_t gate;
    char pad2[60];
} xctx_head;

typedef struct {
    uint64_t state;               /* readers: in, waiting, epoch */
    uint32_t flags;               /* what its owner has the seat for; stored by that owner, or who buries it */
    uint32_t owner;               /* pid, for people to read; 0 where the line is free */
    uint32_t thread;              /* likewise, the kernel's thread number */
    char pad[108];
} xctx_line;

#define XCTX_SIZE (sizeof(xctx_head) + XCTX_LINES * sizeof(xctx_line))

static inline xctx_line *xctx_line_at(xctx_head *head, uint32_t index) { return (xctx_line *)(head + 1) + index; }

/* One process's hold on such a memory. Never freed, but used again, so that a forked child may always walk the list. */
typedef struct xctx_mem {
    struct xctx_mem *next;        /* never changes */
    xctx_head *head;              /* NULL: free to be used again */
    int carrier;                  /* -1 where the memory has a name */
    int live;                     /* -1 until first use in this process */
    int spare;                    /* during a fork: what is to be the child's `live` */
    int named;
    uint64_t serial;              /* of this use */
    uint8_t mine[XCTX_LINES];     /* how many threads of this process use the line through this */
} xctx_mem;

#if !defined(XCTX_NO_LOCKS)
#  if defined(_WIN32)
#    define XCTX_NO_LOCKS 1
#  else
#    define XCTX_NO_LOCKS 0
#  endif
#endif

#define XCTX_USERS 0   /* the byte of a file that each process locks (shared) which uses a memory with a name */
#define XCTX_BYTE(index) (1 + (long)(index))

#if !XCTX_NO_LOCKS
/* --- POSIX ------------------------------------------------------------------------------------------------------------- */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#  include <sys/syscall.h>
#  if !defined(XCTX_NO_FUTEX)
#    include <linux/futex.h>
#    define XCTX_FUTEX 1
#  endif
#endif

/* Also with a GIL: other processes do not have it. */
static inline uint32_t xctx_load32(uint32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void xctx_store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t xctx_add32(uint32_t *p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t xctx_or32(uint32_t *p, uint32_t v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t xctx_and32(uint32_t *p, uint32_t v) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); }
static inline int xctx_cas32(uint32_t *p, uint32_t *expected, uint32_t v) {
    return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline uint64_t xctx_load64(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void xctx_store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
static inline uint64_t xctx_add64(uint64_t *p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
static inline int xctx_cas64(uint64_t *p, uint64_t *expected, uint64_t v) {
    return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline void xctx_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static uint64_t xctx_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t xctx_thread_number(void) {
#if defined(__linux__)
    return (uint32_t)syscall(SYS_gettid);
#else
    return 0;
#endif
}

/* Sleeps while *p is `value`, at most `ns`, to be woken for any of `bits`. Returns for no reason at all, too. `turn` counts
 * the sleeps of one wait. */
static void xctx_futex_wait(uint32_t *p, uint32_t value, uint64_t ns, uint32_t bits, unsigned turn) {
#if defined(XCTX_FUTEX)
    uint64_t until = xctx_now() + ns;
    struct timespec at = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    (void)turn;
    syscall(SYS_futex, p, FUTEX_WAIT_BITSET, value, &at, NULL, bits);
#else
    uint64_t step = (uint64_t)50000 << (turn < 6 ? turn : 6);   /* to some 3 ms */
    struct timespec at = {0, (long)(step < ns ? step : ns)};
    (void)bits;
    if (xctx_load32(p) == value) nanosleep(&at, NULL);
#endif
}

static void xctx_futex_wake(uint32_t *p, int how_many, uint32_t bits) {
#if defined(XCTX_FUTEX)
    int before = errno;   /* of whoever gives the lock back */
    syscall(SYS_futex, p, FUTEX_WAKE_BITSET, how_many, NULL, NULL, bits);
    errno = before;
#else
    (void)p; (void)how_many; (void)bits;
#endif
}

/* Locks (F_WRLCK, F_RDLCK) or frees (F_UNLCK) one byte of a file for the open file description. 0, or -1 and errno. */
static int xctx_lock_byte(int fd, int type, long at) {
    struct flock range;
    memset(&range, 0, sizeof(range));
    range.l_type = (short)type;
    range.l_whence = SEEK_SET;
    range.l_start = at;
    range.l_len = 1;
#if defined(F_OFD_SETLK)
    return fcntl(fd, F_OFD_SETLK, &range);
#else
    return fcntl(fd, F_SETLK, &range);   /* of the process: as good for as long as it opens the file only once */
#endif
}

/* --- all memories of this process, and forks ----------------------------------------------------------------------------- */

static xctx_mem *xctx_mems;          /* newest first */
static uint64_t xctx_mem_serial;
static uint32_t xctx_fork_count;     /* as _core's, of its own so that it is right in the handlers */
/* Guards the two above, and all fields of an xctx_mem but `next`. Held for a few instructions and system calls that do not
 * wait, never for anything of Python's; across a fork, so that the child finds everything whole. */
static pthread_mutex_t xctx_mems_lock = PTHREAD_MUTEX_INITIALIZER;

static int xctx_open_again(int fd) {
    char path[40];
#if defined(__linux__)
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
#else
    (void)path;
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
#endif
}

static void xctx_before_fork(void) {
    xctx_mem *mem;
    pthread_mutex_lock(&xctx_mems_lock);
    /* A child uses what has a name from the start: should its parent end at once, it must be there already. */
    for (mem = xctx_mems; mem; mem = mem->next)
        if (mem->head && mem->named && (mem->spare = xctx_open_again(mem->live)) >= 0)
            xctx_lock_byte(mem->spare, F_RDLCK, XCTX_USERS);
}

static void xctx_after_fork_in_parent(void) {
    xctx_mem *mem;
    for (mem = xctx_mems; mem; mem = mem->next)
        if (mem->spare >= 0) {
            close(mem->spare);
            mem->spare = -1;
        }
    pthread_mutex_unlock(&xctx_mems_lock);
}

static void xctx_after_fork_in_child(void) {
    xctx_mem *mem;
    pthread_mutex_init(&xctx_mems_lock, NULL);
    xctx_fork_count++;
    for (mem = xctx_mems; mem; mem = mem->next) {
        if (mem->live >= 0) close(mem->live);
        mem->live = mem->spare;
        mem->spare = -1;
        memset(mem->mine, 0, sizeof(mem->mine));
    }
}

static int xctx_watch_forks(void) {
    return pthread_atfork(xctx_before_fork, xctx_after_fork_in_parent, xctx_after_fork_in_child);
}

/* Takes over `fd`: a file of XCTX_SIZE bytes, which are 0 or have been a lock's before. NULL, and errno, on failure; `fd` is
 * the caller's still then. */
static xctx_mem *xctx_map(int fd, int named) {
    xctx_mem *mem;
    uint64_t before = 0;
    struct stat about;
    xctx_head *head;
    if (fstat(fd, &about)) return NULL;
    if (!S_ISREG(about.st_mode) || (size_t)about.st_size != XCTX_SIZE) {
        errno = EINVAL;
        return NULL;
    }
    head = mmap(NULL, XCTX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (head == MAP_FAILED) return NULL;
    /* Nothing but zeros is a free lock, so whoever comes first says what this is. */
    if (!xctx_cas64(&head->magic, &before, XCTX_MAGIC) && before != XCTX_MAGIC) {
        munmap(head, XCTX_SIZE);
        errno = EINVAL;
        return NULL;
    }
    pthread_mutex_lock(&xctx_mems_lock);
    for (mem = xctx_mems; mem && mem->head; mem = mem->next) {}
    if (mem == NULL && (mem = calloc(1, sizeof(*mem))) != NULL) {
        mem->next = xctx_mems;
        xctx_mems = mem;
    }
    if (mem) {
        mem->carrier = named ? -1 : fd;
        mem->live = named ? fd : -1;
        mem->spare = -1;
        mem->named = named;
        mem->serial = ++xctx_mem_serial;
        memset(mem->mine, 0, sizeof(mem->mine));
        mem->head = head;
    }
    pthread_mutex_unlock(&xctx_mems_lock);
    if (mem == NULL) {
        munmap(head, XCTX_SIZE);
        errno = ENOMEM;
    }
    return mem;
}

static int xctx_new_file(void) {
    int fd;
#if defined(__linux__)
    fd = (int)syscall(SYS_memfd_create, "xctx-lock", 1u /* MFD_CLOEXEC */);
#else
    char path[] = "/tmp/xctx-lock-XXXXXX";
    fd = mkstemp(path);
    if (fd >= 0) {
        unlink(path);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
#endif
    if (fd >= 0 && ftruncate(fd, (off_t)XCTX_SIZE)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Nobody uses it any more. True where it had a name and this process was its last user: then the name is the caller's to
 * remove, before it closes *fd. */
static int xctx_unmap(xctx_mem *mem, int *fd) {
    int last;
    pthread_mutex_lock(&xctx_mems_lock);
    munmap(mem->head, XCTX_SIZE);
    mem->head = NULL;
    *fd = mem->live;
    /* First it is no user any more: of two who end at the same moment one must find itself alone. */
    if (mem->named && *fd >= 0) xctx_lock_byte(*fd, F_UNLCK, XCTX_USERS);
    last = mem->named && *fd >= 0 && xctx_lock_byte(*fd, F_WRLCK, XCTX_USERS) == 0;
    if (!last && *fd >= 0) close(*fd);
    if (mem->carrier >= 0) close(mem->carrier);
    mem->carrier = mem->live = -1;
    pthread_mutex_unlock(&xctx_mems_lock);
    return last;
}

/* --- lines -------------------------------------------------------------------------------------------------------------- */

typedef void (*xctx_burial)(xctx_head *, uint32_t index);

/* Makes sure that this process has opened the memory for itself. 0, or errno. */
static int xctx_come_alive(xctx_mem *mem) {
    if (mem->live < 0 && (mem->live = xctx_open_again(mem->carrier)) < 0) return errno;
    return 0;
}

/* Buries the owner of a line, if it is dead. */
static int xctx_if_dead(xctx_mem *mem, uint32_t index, xctx_burial bury) {
    int dead = 0;
    if (index >= XCTX_LINES) return 0;
    pthread_mutex_lock(&xctx_mems_lock);
    if (!mem->mine[index] && !xctx_come_alive(mem) && xctx_lock_byte(mem->live, F_WRLCK, XCTX_BYTE(index)) == 0) {
        /* A free line is buried to no effect: nobody could own it at this moment. */
        bury(mem->head, index);
        xctx_lock_byte(mem->live, F_UNLCK, XCTX_BYTE(index));
        dead = 1;
    }
    pthread_mutex_unlock(&xctx_mems_lock);
    return dead;
}

/* A line for this thread: its index, or -1 and errno. */
static int xctx_claim(xctx_mem *mem, xctx_burial bury) {
    uint32_t i, used, shared = XCTX_LINES;
    int found = -1, failed;
    pthread_mutex_lock(&xctx_mems_lock);
    failed = xctx_come_alive(mem);
    for (i = 0; found < 0 && !failed && i < XCTX_LINES; i++) {
        xctx_line *line = xctx_line_at(mem->head, i);
        if (mem->mine[i]) {
            if (mem->mine[i] < 255 && (shared == XCTX_LINES || mem->mine[i] < mem->mine[shared])) shared = i;
            continue;
        }
        if (xctx_lock_byte(mem->live, F_WRLCK, XCTX_BYTE(i))) {
            if (errno != EAGAIN && errno != EACCES) failed = errno;
            continue;
        }
        bury(mem->head, i);
        xctx_store32(&line->owner, (uint32_t)getpid());
        xctx_store32(&line->thread, xctx_thread_number());
        used = xctx_load32(&mem->head->used);
        while (used < i + 1 && !xctx_cas32(&mem->head->used, &used, i + 1)) {}
        found = (int)i;
    }
    if (found < 0 && !failed) {
        /* All lines are taken: threads of one process can do with one. */
        if (shared < XCTX_LINES) found = (int)shared;
        else failed = EAGAIN;
    }
    if (found >= 0) mem->mine[found]++;
    pthread_mutex_unlock(&xctx_mems_lock);
    if (failed) errno = failed;
    return found;
}

static void xctx_unclaim(xctx_mem *mem, uint32_t index) {
    pthread_mutex_lock(&xctx_mems_lock);
    if (mem->mine[index] && --mem->mine[index] == 0) {
        xctx_store32(&xctx_line_at(mem->head, index)->owner, 0);
        xctx_lock_byte(mem->live, F_UNLCK, XCTX_BYTE(index));
    }
    pthread_mutex_unlock(&xctx_mems_lock);
}


#else
/* --- no locks ------------------------------------------------------------------------------------------------------------ */

/* Enough to compile: no lock is ever made, so none of this is ever called but for the first. */
#define F_RDLCK 0
#define F_WRLCK 1
static uint32_t xctx_fork_count;
static int xctx_watch_forks(void) { return 0; }
static uint32_t xctx_load32(uint32_t *p) { return *p; }
static void xctx_store32(uint32_t *p, uint32_t v) { *p = v; }
static uint32_t xctx_add32(uint32_t *p, uint32_t v) { return (*p += v) - v; }
static uint32_t xctx_or32(uint32_t *p, uint32_t v) { return *p |= v; }
static uint32_t xctx_and32(uint32_t *p, uint32_t v) { return *p &= v; }
static int xctx_cas32(uint32_t *p, uint32_t *expected, uint32_t v) { (void)expected; *p = v; return 1; }
static uint64_t xctx_load64(uint64_t *p) { return *p; }
static void xctx_store64(uint64_t *p, uint64_t v) { *p = v; }
static uint64_t xctx_add64(uint64_t *p, uint64_t v) { return (*p += v) - v; }
static int xctx_cas64(uint64_t *p, uint64_t *expected, uint64_t v) { (void)expected; *p = v; return 1; }
static void xctx_relax(void) {}
static uint64_t xctx_now(void) { return 0; }
static void xctx_futex_wait(uint32_t *p, uint32_t v, uint64_t ns, uint32_t bits, unsigned turn) {
    (void)p; (void)v; (void)ns; (void)bits; (void)turn;
}
static void xctx_futex_wake(uint32_t *p, int n, uint32_t bits) { (void)p; (void)n; (void)bits; }
static int xctx_lock_byte(int fd, int type, long at) { (void)fd; (void)type; (void)at; return -1; }
static xctx_mem *xctx_map(int fd, int named) { (void)fd; (void)named; return NULL; }
static int xctx_new_file(void) { return -1; }
static int xctx_unmap(xctx_mem *mem, int *fd) { (void)mem; (void)fd; return 0; }
typedef void (*xctx_burial)(xctx_head *, uint32_t index);
static int xctx_if_dead(xctx_mem *mem, uint32_t i, xctx_burial bury) { (void)mem; (void)i; (void)bury; return 0; }
static int xctx_claim(xctx_mem *mem, xctx_burial bury) { (void)mem; (void)bury; return -1; }
static void xctx_unclaim(xctx_mem *mem, uint32_t i) { (void)mem; (void)i; }

#endif
#endif

/* How a lock's memory comes to a process, which line is whose, and who is dead.
 *
 * Memory: a file without a name (memfd), so that it lives as long as anybody has it and leaves nothing behind, or a file
 * with one. `carrier` is what is handed to other processes.
 *
 * Who is dead: each process opens the file once more for itself (`live`) and locks the byte of each line it owns, as an open
 * file description lock. The kernel drops that when the process has died of whatever cause, has replaced itself (exec), or
 * was killed and not yet waited for; it knows no process identifiers, so none can be taken for another's. A child closes
 * what it inherited of `live` at its fork, before it can do anything else. Taking the lock of a line that is dead is also
 * what makes one process at a time clear up after it. The kernel must have /proc mounted to open a file anew. */
#ifndef XCTX_LOCK_MEM_H
#define XCTX_LOCK_MEM_H

#include "xctx/_lock/hold.h"
#include "xctx/_runtime/state.h"

#define XCTX_USERS 0   /* the byte of a file that each process locks (shared) which uses a memory with a name */
#define XCTX_BYTE(index) (1 + (long)(index))

/* So many threads of one process have a line each, others use one of these too: there must be lines for other processes. */
#define XCTX_OWN_LINES 32

#if !XCTX_NO_LOCKS

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
/* Guards the list, and all fields of an xctx_mem but `next`. Held for a few instructions and system calls that do not
 * wait, never for anything of Python's; across a fork, so that the child finds everything whole. */
static pthread_mutex_t xctx_mems_lock = PTHREAD_MUTEX_INITIALIZER;

static int xctx_is_of(const xctx_mem *mem, int fd) {
    struct stat about;
    return fd >= 0 && !fstat(fd, &about) && about.st_dev == mem->device && about.st_ino == mem->inode;
}

static void xctx_close_own(const xctx_mem *mem, int fd) {
    if (xctx_is_of(mem, fd)) close(fd);
}

/* A new open file of what `fd` is, or -1 and errno. */
static int xctx_open_path(int fd) {
#if defined(__linux__)
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
#else
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
#endif
}

static int xctx_open_again(const xctx_mem *mem, int fd) {
    if (xctx_is_of(mem, fd)) return xctx_open_path(fd);
    errno = EBADF;
    return -1;
}

/* Makes sure that this process has opened the memory for itself. 0, or errno. */
static int xctx_come_alive(xctx_mem *mem) {
    uint32_t i;
    if (xctx_is_of(mem, mem->live)) return 0;
    /* The first use; or the program has closed all descriptors, as daemons do. */
    mem->live = xctx_open_again(mem, mem->carrier);
    if (mem->live < 0) return errno;
    for (i = 0; i < XCTX_LINES; i++)
        if (mem->mine[i]) xctx_lock_byte(mem->live, F_WRLCK, XCTX_BYTE(i));
    return 0;
}

static void xctx_before_fork(void) {
    xctx_mem *mem;
    pthread_mutex_lock(&xctx_mems_lock);
    /* A child uses what has a name from the start: should its parent end at once, it must be there already. */
    for (mem = xctx_mems; mem; mem = mem->next)
        if (mem->head && mem->path && (mem->spare = xctx_open_again(mem, mem->live)) >= 0)
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
    for (mem = xctx_mems; mem; mem = mem->next) {
        if (mem->head) xctx_close_own(mem, mem->live);
        mem->live = mem->spare;
        mem->spare = -1;
        memset(mem->mine, 0, sizeof(mem->mine));
        /* Those who wait, wait in the parent; its objects are left alone. */
        mem->queues = NULL;
        mem->queued = 0;
        memset(&mem->guard, 0, sizeof(mem->guard));
    }
}


/* Takes over `fd`: a file of XCTX_SIZE bytes, which are 0 or have been a lock's before. NULL, and errno, on failure; `fd` is
 * the caller's still then. */
static xctx_mem *xctx_map(int fd, const char *path) {
    xctx_mem *mem;
    uint64_t before = 0;
    struct stat about;
    xctx_head *head;
    char *name = NULL;
    int mapped = fd, failed;
    if (fstat(fd, &about)) return NULL;
    if (!S_ISREG(about.st_mode) || (size_t)about.st_size != XCTX_SIZE) {
        errno = EINVAL;
        return NULL;
    }
    /* A mapping refers to the open file, locks and all, and a forked child has it, too: what is mapped must never have locks,
     * or they would outlive this process in its child. */
    if (path && (mapped = xctx_open_path(fd)) < 0) return NULL;
    head = mmap(NULL, XCTX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);
    failed = errno;
    if (path) close(mapped);
    errno = failed;
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
    if (mem && (!path || (name = strdup(path)) != NULL)) {
        mem->path = name;
        mem->device = about.st_dev;
        mem->inode = about.st_ino;
        mem->carrier = path ? -1 : fd;
        mem->live = path ? fd : -1;
        mem->spare = -1;
        memset(mem->mine, 0, sizeof(mem->mine));
        mem->head = head;
    }
    else mem = NULL;
    pthread_mutex_unlock(&xctx_mems_lock);
    if (mem == NULL) {
        munmap(head, XCTX_SIZE);
        errno = ENOMEM;
    }
    return mem;
}

static xctx_head *xctx_head_of(xctx_mem *mem) { return mem->head; }

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

/* Ends this process's use of a memory with a name, and removes the file where no other uses it. */
static void xctx_quit(xctx_mem *mem) {
    struct stat about;
    char *name;
    int place;
    if (!mem->path || !xctx_is_of(mem, mem->live)) return;
    /* First it is no user any more: of two who end at the same moment one must find itself alone. */
    if (xctx_lock_byte(mem->live, F_UNLCK, XCTX_USERS) || xctx_lock_byte(mem->live, F_WRLCK, XCTX_USERS)) return;
    if ((name = strrchr(mem->path, '/')) == NULL) return;
    *name = 0;
    place = open(mem->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (place >= 0) {
        /* In between, another may have removed it, and a third made one of the same name: that stays. */
        if (!fstatat(place, name + 1, &about, AT_SYMLINK_NOFOLLOW) && about.st_dev == mem->device
            && about.st_ino == mem->inode)
            unlinkat(place, name + 1, 0);
        close(place);
        rmdir(mem->path);   /* where it was the last in there */
    }
    *name = '/';
}

/* As this process ends, while something may still refer to its memories. */
static void xctx_quit_all(void) {
    xctx_mem *mem;
    if (pthread_mutex_trylock(&xctx_mems_lock)) return;
    for (mem = xctx_mems; mem; mem = mem->next)
        if (mem->head) xctx_quit(mem);
    pthread_mutex_unlock(&xctx_mems_lock);
}

static int xctx_watch(void) {
    xctx_at_fork(XCTX_FORK_MAPPINGS, xctx_before_fork, xctx_after_fork_in_parent, xctx_after_fork_in_child);
    return atexit(xctx_quit_all);
}

/* Nobody here uses it any more. */
static void xctx_unmap(xctx_mem *mem) {
    pthread_mutex_lock(&xctx_mems_lock);
    munmap(mem->head, XCTX_SIZE);
    mem->head = NULL;
    xctx_quit(mem);
    xctx_close_own(mem, mem->live);
    xctx_close_own(mem, mem->carrier);
    mem->carrier = mem->live = -1;
    free(mem->path);
    mem->path = NULL;
    pthread_mutex_unlock(&xctx_mems_lock);
}

/* --- lines -------------------------------------------------------------------------------------------------------------- */

/* Buries the owner of a line, if it is dead. */
static int xctx_if_dead(xctx_mem *mem, uint32_t index) {
    int dead = 0;
    if (index >= XCTX_LINES) return 0;
    pthread_mutex_lock(&xctx_mems_lock);
    if (!mem->mine[index] && !xctx_come_alive(mem) && xctx_lock_byte(mem->live, F_WRLCK, XCTX_BYTE(index)) == 0) {
        /* A free line is buried to no effect: nobody could own it at this moment. */
        xctx_bury(mem->head, index);
        xctx_lock_byte(mem->live, F_UNLCK, XCTX_BYTE(index));
        dead = 1;
    }
    pthread_mutex_unlock(&xctx_mems_lock);
    return dead;
}

/* Looks for the dead among those that this try waits for. True where one was found, so that another look is worth while. */
static int xctx_look(xctx_mem *mem, const xctx_attempt *attempt) {
    xctx_head *head = mem->head;
    uint32_t i, used, seat;
    int found = 0;
    if (attempt->phase == XCTX_SEATED) {
        used = xctx_load32(&head->used);
        for (i = attempt->at; i < used; i++)
            if (XCTX_IN(xctx_load64(&xctx_line_at(head, i)->state))) found |= xctx_if_dead(mem, i);
        return found;
    }
    seat = xctx_load32(&head->word) & XCTX_SEAT;
    return seat ? xctx_if_dead(mem, seat - 1) : 0;
}

/* Buries all the dead. */
static void xctx_look_at_all(xctx_mem *mem) {
    uint32_t i, used = xctx_load32(&mem->head->used);
    for (i = 0; i < used; i++)
        if (xctx_load32(&xctx_line_at(mem->head, i)->owner)) xctx_if_dead(mem, i);
}

/* The first line that nobody alive owns, now this process's: its index, or -1 and errno, or -2 where there is none. */
static int xctx_free_line(xctx_mem *mem) {
    uint32_t i, used;
    for (i = 0; i < XCTX_LINES; i++) {
        if (mem->mine[i]) continue;
        if (xctx_lock_byte(mem->live, F_WRLCK, XCTX_BYTE(i)) == 0) {
            xctx_bury(mem->head, i);
            used = xctx_load32(&mem->head->used);
            while (used < i + 1 && !xctx_cas32(&mem->head->used, &used, i + 1)) {}
            return (int)i;
        }
        if (errno != EAGAIN && errno != EACCES) return -1;
    }
    return -2;
}

/* A line for this thread: its index, or -1 and errno, or -2 where other processes have all. */
static int xctx_claim(xctx_mem *mem) {
    uint32_t i, own = 0, least = XCTX_LINES;
    int found = -2, failed;
    pthread_mutex_lock(&xctx_mems_lock);
    for (i = 0; i < XCTX_LINES; i++)
        if (mem->mine[i]) {
            own++;
            if (mem->mine[i] < UINT16_MAX && (least == XCTX_LINES || mem->mine[i] < mem->mine[least])) least = i;
        }
    failed = xctx_come_alive(mem);
    if (failed) found = -1;
    else if (own < XCTX_OWN_LINES && (found = xctx_free_line(mem)) == -1) failed = errno;
    if (found >= 0) {
        xctx_store32(&xctx_line_at(mem->head, (uint32_t)found)->owner, (uint32_t)getpid());
        xctx_store32(&xctx_line_at(mem->head, (uint32_t)found)->thread, xctx_thread_number());
    }
    else if (found == -2 && least < XCTX_LINES) {
        found = (int)least;
        xctx_store32(&xctx_line_at(mem->head, least)->thread, 0);   /* of several */
    }
    if (found >= 0) mem->mine[found]++;
    pthread_mutex_unlock(&xctx_mems_lock);
    errno = failed;
    return found;
}

static void xctx_unclaim(xctx_mem *mem, uint32_t index) {
    pthread_mutex_lock(&xctx_mems_lock);
    if (mem->mine[index] && --mem->mine[index] == 0) {
        xctx_store32(&xctx_line_at(mem->head, index)->owner, 0);
        if (xctx_is_of(mem, mem->live)) xctx_lock_byte(mem->live, F_UNLCK, XCTX_BYTE(index));
    }
    pthread_mutex_unlock(&xctx_mems_lock);
}

#else
/* --- no locks ------------------------------------------------------------------------------------------------------------ */

/* Enough to compile: no lock is ever made, so none of this is ever called but for the first. */
#define F_RDLCK 0
#define F_WRLCK 1
static int xctx_watch(void) { return 0; }
static int xctx_lock_byte(int fd, int type, long at) { (void)fd; (void)type; (void)at; return -1; }
static xctx_mem *xctx_map(int fd, const char *path) { (void)fd; (void)path; return NULL; }
static xctx_head *xctx_head_of(xctx_mem *mem) { (void)mem; return NULL; }
static int xctx_new_file(void) { return -1; }
static void xctx_quit_all(void) {}
static void xctx_unmap(xctx_mem *mem) { (void)mem; }
static int xctx_look(xctx_mem *mem, const xctx_attempt *attempt) { (void)mem; (void)attempt; return 0; }
static void xctx_look_at_all(xctx_mem *mem) { (void)mem; }
static int xctx_claim(xctx_mem *mem) { (void)mem; return -1; }
static void xctx_unclaim(xctx_mem *mem, uint32_t i) { (void)mem; (void)i; }

#endif
#endif

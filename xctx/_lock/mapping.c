/* See mapping.h. Part of the module xctx._lock.unit_lock alone. */
#include "xctx/_lock/mapping.h"
#include "xctx/_runtime/state.h"

#if !XCTX_NO_LOCKS

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define BYTE_OF(index) (1 + (long)(index))

/* So many threads of one process have a row each, others share these: there must be rows for other processes. */
#define OWN_ROWS 32

/* Process: all mappings, the newest first. */
static xctx_mapping *mappings;

/* Process: guards the list, and the fields of a mapping that say so. Held for a few instructions and system calls that do
 * not wait, never while Python code may run. It is held across a fork, so that the child finds everything whole. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

int xctx_lock_byte(int fd, int type, long at) {
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

/* --- files ------------------------------------------------------------------------------------------------------------- */

static int is_of(const xctx_mapping *mapping, int fd) {
    struct stat about;
    return fd >= 0 && !fstat(fd, &about) && about.st_dev == mapping->device && about.st_ino == mapping->inode;
}

static void close_if_of(const xctx_mapping *mapping, int fd) {
    if (is_of(mapping, fd)) close(fd);
}

/* A new open file of what `fd` is, or -1 and errno. */
static int open_path(int fd) {
#if defined(__linux__)
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
#else
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
#endif
}

static int open_again(const xctx_mapping *mapping, int fd) {
    if (is_of(mapping, fd)) return open_path(fd);
    errno = EBADF;
    return -1;
}

/* Makes sure that this process has opened the file for itself. 0, or errno. */
static int open_own(xctx_mapping *mapping) {
    uint32_t i;
    if (is_of(mapping, mapping->own)) return 0;
    /* The first use; or the program has closed all descriptors, as daemons do. */
    mapping->own = open_again(mapping, mapping->carrier);
    if (mapping->own < 0) return errno;
    for (i = 0; i < XCTX_ROWS; i++)
        if (mapping->mine[i]) xctx_lock_byte(mapping->own, F_WRLCK, BYTE_OF(i));
    return 0;
}

/* --- forks ------------------------------------------------------------------------------------------------------------- */

static void before_fork(void) {
    xctx_mapping *mapping;
    pthread_mutex_lock(&mutex);
    /* A child uses what has a name from the start: if its parent ends at once, the child must be a user already. */
    for (mapping = mappings; mapping; mapping = mapping->next)
        if (mapping->head && mapping->path && (mapping->spare = open_again(mapping, mapping->own)) >= 0)
            xctx_lock_byte(mapping->spare, F_RDLCK, XCTX_USERS);
}

static void after_fork_in_parent(void) {
    xctx_mapping *mapping;
    for (mapping = mappings; mapping; mapping = mapping->next)
        if (mapping->spare >= 0) {
            close(mapping->spare);
            mapping->spare = -1;
        }
    pthread_mutex_unlock(&mutex);
}

static void after_fork_in_child(void) {
    xctx_mapping *mapping;
    pthread_mutex_init(&mutex, NULL);
    for (mapping = mappings; mapping; mapping = mapping->next) {
        if (mapping->head) close_if_of(mapping, mapping->own);
        mapping->own = mapping->spare;
        mapping->spare = -1;
        memset(mapping->mine, 0, sizeof(mapping->mine));
        /* The units that wait, wait in the parent; its objects are left alone. */
        mapping->queues = NULL;
        mapping->queued = 0;
        memset((void *)&mapping->guard, 0, sizeof(mapping->guard));
    }
}

int xctx_set_up_mappings(void) {
    xctx_at_fork(XCTX_FORK_MAPPINGS, before_fork, after_fork_in_parent, after_fork_in_child);
    return atexit(xctx_quit_all);
}

/* --- mapping, unmapping ------------------------------------------------------------------------------------------------ */

int xctx_new_file(void) {
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

xctx_mapping *xctx_map(int fd, const char *path) {
    xctx_mapping *mapping;
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
    /* A mapping refers to the open file with its locks, and a forked child has the mapping too. So what is mapped must never
     * have locks, or they would outlive this process in its child. */
    if (path && (mapped = open_path(fd)) < 0) return NULL;
    head = mmap(NULL, XCTX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);
    failed = errno;
    if (path) close(mapped);
    errno = failed;
    if (head == MAP_FAILED) return NULL;
    /* Nothing but zeros is a free lock, so the first process to come says what this is. */
    if (!xctx_cas64(&head->magic, &before, XCTX_MAGIC) && before != XCTX_MAGIC) {
        munmap(head, XCTX_SIZE);
        errno = EINVAL;
        return NULL;
    }
    pthread_mutex_lock(&mutex);
    for (mapping = mappings; mapping && mapping->head; mapping = mapping->next) {}
    if (mapping == NULL && (mapping = calloc(1, sizeof(*mapping))) != NULL) {
        mapping->next = mappings;
        mappings = mapping;
    }
    if (mapping && (!path || (name = strdup(path)) != NULL)) {
        mapping->path = name;
        mapping->device = about.st_dev;
        mapping->inode = about.st_ino;
        mapping->carrier = path ? -1 : fd;
        mapping->own = path ? fd : -1;
        mapping->spare = -1;
        memset(mapping->mine, 0, sizeof(mapping->mine));
        mapping->head = head;
    }
    else mapping = NULL;
    pthread_mutex_unlock(&mutex);
    if (mapping == NULL) {
        munmap(head, XCTX_SIZE);
        errno = ENOMEM;
    }
    return mapping;
}

/* Ends this process's use of a memory with a name, and removes the file where no other process uses it. */
static void quit(xctx_mapping *mapping) {
    struct stat about;
    char *name;
    int directory;
    if (!mapping->path || !is_of(mapping, mapping->own)) return;
    /* First it is no user any more: of two that end at the same moment one must find itself alone. */
    if (xctx_lock_byte(mapping->own, F_UNLCK, XCTX_USERS) || xctx_lock_byte(mapping->own, F_WRLCK, XCTX_USERS)) return;
    if ((name = strrchr(mapping->path, '/')) == NULL) return;
    *name = 0;
    directory = open(mapping->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory >= 0) {
        /* Another process may have removed it meanwhile, and a third have made one of the same name: that stays. */
        if (!fstatat(directory, name + 1, &about, AT_SYMLINK_NOFOLLOW) && about.st_dev == mapping->device
            && about.st_ino == mapping->inode)
            unlinkat(directory, name + 1, 0);
        close(directory);
        rmdir(mapping->path);   /* if that was the last file in it */
    }
    *name = '/';
}

void xctx_quit_all(void) {
    xctx_mapping *mapping;
    if (pthread_mutex_trylock(&mutex)) return;
    for (mapping = mappings; mapping; mapping = mapping->next)
        if (mapping->head) quit(mapping);
    pthread_mutex_unlock(&mutex);
}

void xctx_unmap(xctx_mapping *mapping) {
    pthread_mutex_lock(&mutex);
    munmap(mapping->head, XCTX_SIZE);
    mapping->head = NULL;
    quit(mapping);
    close_if_of(mapping, mapping->own);
    close_if_of(mapping, mapping->carrier);
    mapping->carrier = mapping->own = -1;
    free(mapping->path);
    mapping->path = NULL;
    pthread_mutex_unlock(&mutex);
}

/* --- the dead ---------------------------------------------------------------------------------------------------------- */

/* Cleans up a row if its owner is dead. */
static int clean_up_if_dead(xctx_mapping *mapping, uint32_t index) {
    int dead = 0;
    if (index >= XCTX_ROWS) return 0;
    pthread_mutex_lock(&mutex);
    if (!mapping->mine[index] && !open_own(mapping) && xctx_lock_byte(mapping->own, F_WRLCK, BYTE_OF(index)) == 0) {
        /* For a free row this changes nothing: nobody could own it at this moment. */
        xctx_clean_up_dead_row(mapping->head, index);
        xctx_lock_byte(mapping->own, F_UNLCK, BYTE_OF(index));
        dead = 1;
    }
    pthread_mutex_unlock(&mutex);
    return dead;
}

int xctx_look_for_dead(xctx_mapping *mapping, const xctx_attempt *attempt) {
    xctx_head *head = mapping->head;
    uint32_t i, used, slot;
    int found = 0;
    if (attempt->phase == XCTX_HAS_SLOT) {
        used = xctx_load32(&head->used);
        for (i = attempt->next_row; i < used; i++)
            if (XCTX_IN(xctx_load64(&xctx_row_at(head, i)->readers))) found |= clean_up_if_dead(mapping, i);
        return found;
    }
    slot = xctx_load32(&head->word) & XCTX_WRITER_SLOT;
    return slot ? clean_up_if_dead(mapping, slot - 1) : 0;
}

void xctx_clean_up_all_dead(xctx_mapping *mapping) {
    uint32_t i, used = xctx_load32(&mapping->head->used);
    for (i = 0; i < used; i++)
        if (xctx_load32(&xctx_row_at(mapping->head, i)->owner)) clean_up_if_dead(mapping, i);
}

/* --- rows -------------------------------------------------------------------------------------------------------------- */

static void count_mine(xctx_mapping *mapping, uint32_t index, int change) {
    xctx_store16_relaxed(&mapping->mine[index], (uint16_t)(mapping->mine[index] + change));
}

/* The first row that nobody alive owns, now this process's: its index, or -1 and errno, or -2 where there is none. */
static int lock_free_row(xctx_mapping *mapping) {
    uint32_t i, used;
    for (i = 0; i < XCTX_ROWS; i++) {
        if (mapping->mine[i]) continue;
        if (xctx_lock_byte(mapping->own, F_WRLCK, BYTE_OF(i)) == 0) {
            xctx_clean_up_dead_row(mapping->head, i);
            used = xctx_load32(&mapping->head->used);
            while (used < i + 1 && !xctx_cas32(&mapping->head->used, &used, i + 1)) {}
            return (int)i;
        }
        if (errno != EAGAIN && errno != EACCES) return -1;
    }
    return -2;
}

int xctx_claim_row(xctx_mapping *mapping) {
    uint32_t i, own = 0, least = XCTX_ROWS;
    xctx_row *row;
    int found = -2, failed;
    pthread_mutex_lock(&mutex);
    for (i = 0; i < XCTX_ROWS; i++)
        if (mapping->mine[i]) {
            own++;
            if (mapping->mine[i] < UINT16_MAX && (least == XCTX_ROWS || mapping->mine[i] < mapping->mine[least])) least = i;
        }
    failed = open_own(mapping);
    if (failed) found = -1;
    else if (own < OWN_ROWS && (found = lock_free_row(mapping)) == -1) failed = errno;
    if (found >= 0) {
        row = xctx_row_at(mapping->head, (uint32_t)found);
        xctx_store32_release(&row->owner, (uint32_t)getpid());
#if defined(__linux__)
        xctx_store32_release(&row->thread, (uint32_t)syscall(SYS_gettid));
#else
        xctx_store32_release(&row->thread, 0);
#endif
    }
    else if (found == -2 && least < XCTX_ROWS) {
        found = (int)least;
        xctx_store32_release(&xctx_row_at(mapping->head, least)->thread, 0);   /* of several */
    }
    if (found >= 0) count_mine(mapping, (uint32_t)found, +1);
    pthread_mutex_unlock(&mutex);
    errno = failed;
    return found;
}

void xctx_unclaim_row(xctx_mapping *mapping, uint32_t index) {
    pthread_mutex_lock(&mutex);
    if (mapping->mine[index]) {
        count_mine(mapping, index, -1);
        if (!mapping->mine[index]) {
            xctx_store32_release(&xctx_row_at(mapping->head, index)->owner, 0);
            if (is_of(mapping, mapping->own)) xctx_lock_byte(mapping->own, F_UNLCK, BYTE_OF(index));
        }
    }
    pthread_mutex_unlock(&mutex);
}

#else
/* --- no locks ------------------------------------------------------------------------------------------------------------ */

/* Enough to compile: no lock is ever made, so none of this is ever called but for the first. */
int xctx_set_up_mappings(void) { return 0; }
int xctx_new_file(void) { return -1; }
int xctx_lock_byte(int fd, int type, long at) { (void)fd; (void)type; (void)at; return -1; }
xctx_mapping *xctx_map(int fd, const char *path) { (void)fd; (void)path; return NULL; }
void xctx_unmap(xctx_mapping *mapping) { (void)mapping; }
void xctx_quit_all(void) {}
int xctx_claim_row(xctx_mapping *mapping) { (void)mapping; return -1; }
void xctx_unclaim_row(xctx_mapping *mapping, uint32_t index) { (void)mapping; (void)index; }
int xctx_look_for_dead(xctx_mapping *mapping, const xctx_attempt *attempt) { (void)mapping; (void)attempt; return 0; }
void xctx_clean_up_all_dead(xctx_mapping *mapping) { (void)mapping; }

#endif

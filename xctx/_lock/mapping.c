/* See mapping.h. Part of the module xctx._lock.mappings alone. */
#include "xctx/_lock/mapping.h"
#include "xctx/_runtime/state.h"

#if !XCTX_NO_LOCKS

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define BYTE_OF(token) (1 + (long)(token))

/* A file that was found is assumed to be there for this long. */
#define LOOK_AGAIN 10000000   /* ns */

/* Process: all mappings, the newest first. */
static xctx_mapping *mappings;

/* Process: guards the list, and the fields of a mapping that say so. Held for a few instructions and system calls that do
 * not wait, never while Python code may run. It is held across a fork, so that the child finds everything whole. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int lock_range(int fd, int command, struct flock *range, int type, long at) {
    memset(range, 0, sizeof(*range));
    range->l_type = (short)type;
    range->l_whence = SEEK_SET;
    range->l_start = at;
    range->l_len = 1;
    return fcntl(fd, command, range);
}

int xctx_lock_byte(int fd, int type, long at) {
    struct flock range;
    return lock_range(fd, F_OFD_SETLK, &range, type, at);
}

/* --- files ------------------------------------------------------------------------------------------------------------- */

static void close_if_of(const xctx_mapping *mapping, int fd) {
    if (xctx_is_of(mapping, fd)) close(fd);
}

/* A new open file description of the file of `fd`, or -1 and errno. */
static int open_anew(int fd) {
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

/* The carrier; where the program closed it and the file has a name, it is reopened. -1 and errno otherwise. */
static int carrier_of(xctx_mapping *mapping) {
    int fd;
    if (xctx_is_of(mapping, mapping->carrier)) return mapping->carrier;
    mapping->carrier = -1;
    if (mapping->path) {
        fd = open(mapping->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (xctx_is_of(mapping, fd)) return mapping->carrier = fd;
        if (fd >= 0) close(fd);
        else if (errno == EMFILE || errno == ENFILE) return -1;
    }
    errno = EBADF;
    return -1;
}

/* Reserves memory, because memory found missing later would be a SIGBUS. 0, or -1 and errno. */
static int reserve(int fd, uint32_t rows) {
    int failed;
    do failed = fallocate(fd, 0, 0, (off_t)XCTX_SIZE_OF(rows));
    while (failed && errno == EINTR);
    return failed;
}

int xctx_reserve_first(int fd) { return reserve(fd, XCTX_FIRST_ROWS); }

int xctx_new_file(void) {
    int fd = (int)syscall(SYS_memfd_create, "xctx-lock", 1u /* MFD_CLOEXEC */);
    int failed;
    if (fd >= 0 && xctx_reserve_first(fd)) {
        failed = errno;
        close(fd);
        errno = failed;
        return -1;
    }
    return fd;
}

/* --- forks ------------------------------------------------------------------------------------------------------------- */

static void before_fork(void) { pthread_mutex_lock(&mutex); }
static void after_fork_in_parent(void) { pthread_mutex_unlock(&mutex); }

static void after_fork_in_child(void) {
    xctx_mapping *mapping;
    pthread_mutex_init(&mutex, NULL);
    for (mapping = mappings; mapping; mapping = mapping->next) {
        if (mapping->head && mapping->own >= 0) close_if_of(mapping, mapping->own);
        mapping->own = -1;
        mapping->life = NULL;   /* it is not mapped here */
        mapping->token = 0;
        memset(mapping->rows, 0, sizeof(mapping->rows));
        /* The waiting units are the parent's; their objects are left alone. */
        mapping->queues = NULL;
        mapping->queued = 0;
        memset((void *)&mapping->guard, 0, sizeof(mapping->guard));
    }
}

/* This interpreter ends, and the process goes on: others get what it still holds, as if its process had died. No code should
 * use the memory any more; code that does anyway finds private memory mapped in its place. */
static void quit_interpreter(void) {
    xctx_mapping *mapping;
    void *life;
    xctx_quit_all();
    if (pthread_mutex_trylock(&mutex)) return;
    for (mapping = mappings; mapping; mapping = mapping->next) {
        if (!mapping->head) continue;
        mmap(mapping->head, XCTX_SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        life = mapping->life;
        mapping->life = NULL;
        if (life) munmap(life, 1);
        if (mapping->own >= 0) close_if_of(mapping, mapping->own);
        close_if_of(mapping, mapping->carrier);
        mapping->carrier = mapping->own = -1;
    }
    pthread_mutex_unlock(&mutex);
}

static void discard_all(void) {
    xctx_mapping *mapping;
    while ((mapping = mappings) != NULL) {
        mappings = mapping->next;
        if (mapping->head) munmap(mapping->head, XCTX_SPAN);
        free(mapping->path);
        free(mapping);
    }
}

int xctx_set_up_mappings(void) {
    xctx_at_fork(XCTX_FORK_MAPPINGS, before_fork, after_fork_in_parent, after_fork_in_child);
    return xctx_at_exit(xctx_quit_all, quit_interpreter, discard_all);
}

/* --- mapping, unmapping ------------------------------------------------------------------------------------------------ */

/* A nonzero number that no other lock gets, in this container or another. */
static uint64_t new_identity(void) {
    uint64_t number = 0;
    if (syscall(SYS_getrandom, &number, sizeof(number), 1u /* GRND_NONBLOCK */) != sizeof(number) || number == 0)
        number = xctx_monotonic_ns() << 20 | (uint64_t)getpid();
    return number;
}

xctx_mapping *xctx_map(int fd, const char *path, int lasting) {
    xctx_mapping *mapping;
    uint64_t before = 0;
    struct stat about;
    xctx_head *head;
    char *name = NULL;
    if (fstat(fd, &about)) return NULL;
    if (!S_ISREG(about.st_mode) || (size_t)about.st_size < XCTX_LEAST_SIZE) {
        errno = ENOLCK;
        return NULL;
    }
    head = mmap(NULL, XCTX_SPAN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (head == MAP_FAILED) return NULL;
    /* A file of zeros is a free lock, so the first process to come marks it as a lock's. */
    if (!xctx_cas64(&head->magic, &before, XCTX_MAGIC) && before != XCTX_MAGIC) {
        munmap(head, XCTX_SPAN);
        errno = ENOLCK;
        return NULL;
    }
    before = 0;
    xctx_cas64(&head->identity, &before, new_identity());
    if (xctx_load32(&head->reserved) < XCTX_FIRST_ROWS) xctx_store32(&head->reserved, XCTX_FIRST_ROWS);
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
        mapping->carrier = fd;
        mapping->lasting = lasting;
        mapping->own = -1;
        mapping->life = NULL;
        mapping->token = 0;
        mapping->looked_at = 0;
        memset(mapping->rows, 0, sizeof(mapping->rows));
        mapping->head = head;
    }
    else mapping = NULL;
    pthread_mutex_unlock(&mutex);
    if (mapping == NULL) {
        munmap(head, XCTX_SPAN);
        errno = ENOMEM;
    }
    return mapping;
}

/* Removes the file of a mapping that this process has given up, unless another process uses it, or has to learn of a death. */
static void remove_if_last(xctx_mapping *mapping, int died) {
    struct stat about;
    char *name;
    int directory, fd;
    if (!mapping->path || mapping->lasting || died || (name = strrchr(mapping->path, '/')) == NULL) return;
    fd = open(mapping->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
    if (xctx_is_of(mapping, fd) && !xctx_lock_byte(fd, F_WRLCK, XCTX_USERS)) {
        *name = 0;
        directory = open(mapping->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (directory >= 0) {
            /* Another process may have removed it meanwhile, and a third have made one of the same name, which must stay. */
            if (!fstatat(directory, name + 1, &about, AT_SYMLINK_NOFOLLOW) && about.st_dev == mapping->device
                && about.st_ino == mapping->inode)
                unlinkat(directory, name + 1, 0);
            close(directory);
            rmdir(mapping->path);   /* if that was the last file in it */
        }
        *name = '/';
    }
    close(fd);
}

/* Whether the next process that opens the file has to be told that a writer died. */
static int is_marked(xctx_mapping *mapping);

void xctx_quit_all(void) {
    xctx_mapping *mapping;
    int fd, died;
    if (pthread_mutex_trylock(&mutex)) return;
    for (mapping = mappings; mapping; mapping = mapping->next) {
        if (!mapping->head || !mapping->path || mapping->lasting) continue;
        died = is_marked(mapping);
        fd = open(mapping->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        /* A thread may still use the memory, so it stays where it is, but as a mapping of an open file without a lock. */
        if (xctx_is_of(mapping, fd)
            && mmap(mapping->head, XCTX_SPAN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED) {
            close_if_of(mapping, mapping->carrier);
            mapping->carrier = -1;
            remove_if_last(mapping, died);
        }
        if (fd >= 0) close(fd);
    }
    pthread_mutex_unlock(&mutex);
}

void xctx_unmap(xctx_mapping *mapping) {
    int died;
    pthread_mutex_lock(&mutex);
    died = mapping->path && !mapping->lasting && is_marked(mapping);
    munmap(mapping->head, XCTX_SPAN);
    mapping->head = NULL;
    if (mapping->life) munmap(mapping->life, 1);
    mapping->life = NULL;
    mapping->token = 0;
    if (mapping->own >= 0) close_if_of(mapping, mapping->own);
    close_if_of(mapping, mapping->carrier);
    mapping->carrier = mapping->own = -1;
    remove_if_last(mapping, died);
    free(mapping->path);
    mapping->path = NULL;
    pthread_mutex_unlock(&mutex);
}

int xctx_look_for_name(xctx_mapping *mapping) {
    struct timespec at;
    struct stat about;
    uint64_t now;
    if (xctx_load64(&mapping->head->word) & XCTX_REMOVED) return 1;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &at);
    now = (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
    if (now - mapping->looked_at < LOOK_AGAIN) return 0;
    mapping->looked_at = now;
    if (fstat(mapping->carrier, &about) || about.st_dev != mapping->device || about.st_ino != mapping->inode) {
        /* No descriptor to ask by. After a chroot the path may lead nowhere, which says nothing. */
        if (stat(mapping->path, &about) || (about.st_dev == mapping->device && about.st_ino == mapping->inode)) return 0;
    }
    else if (about.st_nlink) return 0;
    xctx_wake(mapping->head, xctx_or64(&mapping->head->word, XCTX_REMOVED), UINT32_MAX & ~(uint32_t)XCTX_STARVING);
    return 1;
}

/* --- the living and the dead --------------------------------------------------------------------------------------------- */

/* 1 where the process of that token is alive, 0 where it is dead, -1 and errno where that cannot be found out. */
static int lives(xctx_mapping *mapping, uint32_t token) {
    struct flock range;
    int fd;
    if (token == mapping->token) return 1;
    fd = carrier_of(mapping);
    /* F_OFD_GETLK leaves out locks of the open file that it is given: so not `own`, but the carrier, which locks no such byte. */
    if (fd < 0 || lock_range(fd, F_OFD_GETLK, &range, F_WRLCK, BYTE_OF(token))) return -1;
    return range.l_type != F_UNLCK;
}

/* As xctx_come_alive, under the mutex. */
static int come_alive(xctx_mapping *mapping) {
    struct flock range;
    uint32_t token;
    void *life;
    int fd, own, failed;
    if (mapping->token) return xctx_counts(mapping) ? 0 : EBADF;
    if ((fd = carrier_of(mapping)) < 0) return errno;
    if ((own = open_anew(fd)) < 0) return errno;
    life = mmap(NULL, 1, PROT_NONE, MAP_SHARED, own, 0);
    if (life == MAP_FAILED || madvise(life, 1, MADV_DONTFORK)) goto failed;
    do token = (xctx_add32(&mapping->head->tokens, 1) + 1) & ~XCTX_TAKEN;
    while (token == 0);
    if (xctx_lock_byte(own, F_WRLCK, BYTE_OF(token))) goto failed;
    close(own);
    if (lock_range(fd, F_OFD_GETLK, &range, F_WRLCK, BYTE_OF(token))) goto closed;
    if (range.l_type == F_UNLCK) {
        /* The file system mapped an open file other than `own`. */
        munmap(life, 1);
        life = NULL;
        if ((own = open_anew(fd)) < 0) return errno;
        if (xctx_lock_byte(own, F_WRLCK, BYTE_OF(token))) goto failed;
        mapping->own = own;
    }
    mapping->life = life;
    xctx_store32(&mapping->token, token);
    return 0;
failed:
    failed = errno;
    close(own);
    errno = failed;
closed:
    failed = errno;
    if (life && life != MAP_FAILED) munmap(life, 1);
    return failed;
}

int xctx_come_alive(xctx_mapping *mapping) {
    int failed;
    pthread_mutex_lock(&mutex);
    failed = come_alive(mapping);
    pthread_mutex_unlock(&mutex);
    return failed;
}

/* Makes this process the one that cleans up a row. 1, or 0 where another does it; -1 and errno. */
static int become_cleaner(xctx_mapping *mapping, xctx_row *row) {
    uint32_t before = xctx_load32(&row->cleaner);
    int found;
    if (before == mapping->token) return 1;
    if (before && (found = lives(mapping, before)) != 0) return found > 0 ? 0 : -1;
    return xctx_cas32(&row->cleaner, &before, mapping->token);
}

static void free_again(xctx_head *head, uint32_t index) {
    if (index < xctx_load32(&head->free_hint)) xctx_store32(&head->free_hint, index);
}

/* Cleans up a row if its owner is dead: 1. 0 where it is not; -1 and errno. `living` is the token of a process that
 * is known to live; where another is found to live, its token is put there. Under the mutex. */
static int clean_up_if_dead(xctx_mapping *mapping, uint32_t index, uint32_t *living) {
    xctx_row *row = xctx_row_at(mapping->head, index);
    uint32_t owner = xctx_load32(&row->owner);
    int found;
    if (owner == 0 || owner == mapping->token || owner == *living) return 0;
    if (!(owner & XCTX_TAKEN)) {
        found = lives(mapping, owner);
        if (found > 0) *living = owner;
        if (found) return found > 0 ? 0 : -1;
    }
    if ((errno = come_alive(mapping)) != 0) return -1;
    found = become_cleaner(mapping, row);
    if (found != 1) return found;
    /* The row may have been cleaned up since, and be another's. Otherwise take it before anything else, so that an owner that
     * counts as dead, and is not, finds out before it changes what is being cleaned up. */
    if (xctx_cas32(&row->owner, &owner, owner | XCTX_TAKEN)) {
        xctx_clean_up_dead_row(mapping->head, index);
        free_again(mapping->head, index);
    }
    xctx_store32(&row->cleaner, 0);
    return 1;
}

static int clean_up_all(xctx_mapping *mapping) {
    uint32_t i, used = xctx_load32(&mapping->head->used), living = 0;
    for (i = 0; i < used; i++)
        if (clean_up_if_dead(mapping, i, &living) < 0) return -1;
    return 0;
}

static int is_marked(xctx_mapping *mapping) {
    clean_up_all(mapping);
    return (xctx_load64(&mapping->head->word) & XCTX_DIED) != 0;
}

int xctx_look_for_dead(xctx_mapping *mapping, xctx_attempt *attempt) {
    xctx_head *head = mapping->head;
    uint32_t i, used, slot, living = 0;
    int found = 0, one;
    if (attempt->phase == XCTX_HAS_SLOT) {
        used = xctx_load32(&head->used);
        pthread_mutex_lock(&mutex);
        for (i = attempt->next_row; i < used; i++)
            if (XCTX_IN(xctx_load64(&xctx_row_at(head, i)->readers))) {
                one = clean_up_if_dead(mapping, i, &living);
                if (one < 0) found = -1;
                /* It cannot go on before the first living reader leaves; asking about thousands of rows takes long. */
                if (one <= 0) break;
                found = 1;
            }
        pthread_mutex_unlock(&mutex);
        return found;
    }
    slot = (uint32_t)(xctx_load64(&head->word) & XCTX_WRITER_SLOT);
    if (slot) {
        pthread_mutex_lock(&mutex);
        found = clean_up_if_dead(mapping, slot - 1, &living);
        pthread_mutex_unlock(&mutex);
    }
    return found ? found : xctx_pass_over(head, attempt);
}

int xctx_clean_up_all_dead(xctx_mapping *mapping) {
    int found;
    pthread_mutex_lock(&mutex);
    found = clean_up_all(mapping);
    pthread_mutex_unlock(&mutex);
    return found;
}

/* --- cycles ------------------------------------------------------------------------------------------------------------- */

#define HOW(link) ((uint64_t)(link)->index | (uint64_t)(link)->phase << 16 | (uint64_t)(link)->unit << 24 \
                   | (uint64_t)(link)->state << 32)
_Static_assert(XCTX_ROWS <= 0x10000, "HOW has room for the index of each row");

/* Under the mutex. */
static void say_stuck(const xctx_link *link, xctx_stuck *stuck) {
    if (xctx_load64(&stuck->wait)) return;   /* another unit of the row is published, and waiters need both to leave */
    xctx_store64(&stuck->lock, link->mapping->head->identity);
    xctx_store64(&stuck->since, link->since);
    xctx_store64(&stuck->how, HOW(link));
    xctx_store64(&stuck->wait, link->wait);
}

static void unsay_stuck(const xctx_link *link, xctx_row *row) {
    int part;
    for (part = 0; part < XCTX_STUCK; part++)
        if (xctx_load64(&row->stuck[part].wait) == link->wait
            && xctx_load64(&row->stuck[part].lock) == link->mapping->head->identity)
            xctx_store64(&row->stuck[part].wait, 0);
}

void xctx_say_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index, int part) {
    pthread_mutex_lock(&mutex);
    say_stuck(link, &xctx_row_at(mapping->head, index)->stuck[part]);
    pthread_mutex_unlock(&mutex);
}

void xctx_unsay_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index) {
    pthread_mutex_lock(&mutex);
    unsay_stuck(link, xctx_row_at(mapping->head, index));
    pthread_mutex_unlock(&mutex);
}

int xctx_say_thread_stuck(const xctx_link *link) {
    uint32_t thread = (uint32_t)syscall(SYS_gettid);
    xctx_mapping *mapping;
    xctx_own_row *each;
    xctx_row *row;
    int said = 0;
    pthread_mutex_lock(&mutex);
    for (mapping = mappings; mapping; mapping = mapping->next) {
        if (!mapping->head) continue;
        for (each = mapping->rows; each < mapping->rows + XCTX_OWN_ROWS; each++) {
            row = xctx_row_at(mapping->head, each->index);
            if (!each->users || xctx_load32(&row->thread) != thread || xctx_load32(&row->owner) != mapping->token) continue;
            if ((xctx_load64(&mapping->head->word) & XCTX_WRITER_SLOT) == each->index + 1) {
                say_stuck(link, &row->stuck[XCTX_STUCK_WRITER]);
                said++;
            }
            if (XCTX_IN(xctx_load64(&row->readers))) {
                say_stuck(link, &row->stuck[XCTX_STUCK_READER]);
                said++;
            }
        }
    }
    pthread_mutex_unlock(&mutex);
    return said;
}

void xctx_unsay_thread_stuck(const xctx_link *link) {
    xctx_mapping *mapping;
    xctx_own_row *each;
    pthread_mutex_lock(&mutex);
    for (mapping = mappings; mapping; mapping = mapping->next) {
        if (!mapping->head) continue;
        for (each = mapping->rows; each < mapping->rows + XCTX_OWN_ROWS; each++)   /* a row may have become another thread's */
            if (each->users) unsay_stuck(link, xctx_row_at(mapping->head, each->index));
    }
    pthread_mutex_unlock(&mutex);
}

/* Whether others still keep a unit waiting. They do not if it is a reader that was admitted, or a writer that was passed over,
 * and merely has not run since: its process may be stopped, or the machine busy. */
static int is_kept(const xctx_link *link) {
    xctx_head *head = link->mapping->head;
    uint64_t word = xctx_load64(&head->word);
    uint32_t slot = (uint32_t)(word & XCTX_WRITER_SLOT);
    if (word & XCTX_REMOVED) return 0;
    switch (link->phase) {
    case XCTX_COUNTED:
        return word & XCTX_ANNOUNCED && XCTX_EPOCH(xctx_load64(&xctx_row_at(head, link->index)->readers)) == link->state;
    case XCTX_HAS_SLOT: return slot == link->index + 1 && XCTX_PASSES(word) == link->state;
    default: return slot != 0;
    }
}

/* Reads what a unit that has something by a row waits for. 0 where nothing is published, or the unit may go on. */
static int read_stuck(xctx_link *link, xctx_stuck *said) {
    uint64_t wait = xctx_load64(&said->wait), lock = xctx_load64(&said->lock), how;
    xctx_mapping *mapping;
    if (wait == 0) return 0;
    for (mapping = mappings; mapping && !(mapping->head && mapping->head->identity == lock); mapping = mapping->next) {}
    if (mapping == NULL) return 0;
    how = xctx_load64(&said->how);
    *link = (xctx_link){mapping, wait, xctx_load64(&said->since), said, (uint32_t)how & 0xFFFF, (uint32_t)(how >> 32),
                        (uint8_t)(how >> 16), (uint8_t)(how >> 24)};
    /* No other wait of the same lock ever has the same number. */
    return xctx_load64(&said->wait) == wait && xctx_load64(&said->lock) == lock
           && link->index < xctx_load32(&mapping->head->used) && is_kept(link);
}

/* Whether that has been published ever since it was read, by a process that is alive. */
static int is_stuck_still(const xctx_link *link) {
    return xctx_load64(&link->said->wait) == link->wait && xctx_load64(&link->said->lock) == link->mapping->head->identity
           && xctx_load64(&link->said->how) == HOW(link)
           && lives(link->mapping, xctx_load32(&xctx_row_at(link->mapping->head, link->index)->owner)) == 1;
}

static int is_same_wait(const xctx_link *one, const xctx_link *other) {
    return one->mapping == other->mapping && one->wait == other->wait;
}

/* Extends the chain from the last link to units that have what its unit waits for. Gives the length of a cycle, or 0. */
static int follow(xctx_link *links, int length) {
    const xctx_link *last = &links[length - 1];
    xctx_head *head = last->mapping->head;
    uint32_t slot = (uint32_t)(xctx_load64(&head->word) & XCTX_WRITER_SLOT), i, used = xctx_load32(&head->used);
    int found, each;
    xctx_row *row;
    if (length == XCTX_LONGEST_CYCLE) return 0;
    for (i = 0; i < used; i++) {
        row = xctx_row_at(head, i);
        /* The last link's unit has the slot and waits for the readers, or it waits for the owner of the slot. */
        if (last->phase == XCTX_HAS_SLOT ? !XCTX_IN(xctx_load64(&row->readers)) : slot != i + 1) continue;
        if (!read_stuck(&links[length], &row->stuck[last->phase == XCTX_HAS_SLOT ? XCTX_STUCK_READER : XCTX_STUCK_WRITER]))
            continue;
        if (is_same_wait(&links[0], &links[length])) return length;
        for (each = 1; each < length && !is_same_wait(&links[each], &links[length]); each++) {}
        if (each == length && (found = follow(links, length + 1)) != 0) return found;
    }
    return 0;
}

int xctx_find_cycle(xctx_link *links) {
    int length = 0, i;
    pthread_mutex_lock(&mutex);
    if (is_kept(&links[0])) length = follow(links, 1);
    /* The first link is of the unit that asks, so it is alive; but it may have been admitted since. */
    for (i = 0; i < length; i++)
        if (!is_kept(&links[i]) || (i && !is_stuck_still(&links[i]))) length = 0;
    pthread_mutex_unlock(&mutex);
    return length;
}

/* --- rows -------------------------------------------------------------------------------------------------------------- */

/* How many rows one process may have when `used` rows have been used: few where there are many processes. */
static uint32_t share(uint32_t used) {
    if (used < XCTX_ROWS / 2) return XCTX_OWN_ROWS;
    return used < XCTX_ROWS / 8 * 7 ? 4 : 1;
}

/* Rows of the dead that are in nobody's way are cleaned up in passing: each claim of a row looks at a few others, so there
 * are never many of them. */
#define SWEPT 4
static void sweep(xctx_mapping *mapping) {
    uint32_t used = xctx_load32(&mapping->head->used), living = 0, turn;
    for (turn = 0; turn < SWEPT && turn < used; turn++)
        clean_up_if_dead(mapping, xctx_add32(&mapping->head->sweep, 1) % used, &living);
}

/* Takes a row that nobody owns: its index, or -1 and errno, or -2 where there is none. */
static int take_free_row(xctx_mapping *mapping) {
    xctx_head *head = mapping->head;
    uint32_t i, used, reserved, wanted, nobody;
    int fd, from_start;
    sweep(mapping);
    i = xctx_load32(&head->free_hint);
    from_start = i == 0;
    for (;; i++) {
        if (i >= XCTX_ROWS) {
            if (from_start) return -2;
            from_start = 1;
            i = 0;
        }
        reserved = xctx_load32(&head->reserved);
        if (i >= reserved) {
            wanted = reserved * 2 > XCTX_ROWS ? XCTX_ROWS : reserved * 2;
            if ((fd = carrier_of(mapping)) < 0 || reserve(fd, wanted)) return -1;
            while (reserved < wanted && !xctx_cas32(&head->reserved, &reserved, wanted)) {}
        }
        nobody = 0;
        if (xctx_load32(&xctx_row_at(head, i)->owner) == 0
            && xctx_cas32(&xctx_row_at(head, i)->owner, &nobody, mapping->token)) break;
    }
    used = xctx_load32(&head->used);
    while (used < i + 1 && !xctx_cas32(&head->used, &used, i + 1)) {}
    xctx_store32(&head->free_hint, i + 1);
    return (int)i;
}

int xctx_claim_row(xctx_mapping *mapping) {
    xctx_own_row *each, *unused = NULL, *least = NULL;
    uint32_t own = 0;
    xctx_row *row;
    int found = -2, failed;
    pthread_mutex_lock(&mutex);
    failed = come_alive(mapping);
    for (each = mapping->rows; each < mapping->rows + XCTX_OWN_ROWS; each++) {
        if (!each->users) unused = each;
        else {
            own++;
            if (!least || each->users < least->users) least = each;
        }
    }
    if (failed) found = -1;
    else if (unused && own < share(xctx_load32(&mapping->head->used))) {
        found = take_free_row(mapping);
        if (found == -2 && !least && !clean_up_all(mapping)) found = take_free_row(mapping);
        if (found == -1) failed = errno;
    }
    if (found >= 0) {
        unused->index = (uint32_t)found;
        unused->users = 1;
        row = xctx_row_at(mapping->head, (uint32_t)found);
        xctx_store32_release(&row->pid, (uint32_t)getpid());
        xctx_store32_release(&row->thread, (uint32_t)syscall(SYS_gettid));
        xctx_store32_release(&row->interpreter, (uint32_t)PyInterpreterState_GetID(PyInterpreterState_Get()));
        xctx_store32_release(&row->interpreter_of, mapping->token);
    }
    else if (found == -2 && least) {
        found = (int)least->index;
        least->users++;
        xctx_store32_release(&xctx_row_at(mapping->head, least->index)->thread, 0);   /* several threads use it */
    }
    pthread_mutex_unlock(&mutex);
    errno = failed;
    return found;
}

void xctx_unclaim_row(xctx_mapping *mapping, uint32_t index) {
    xctx_own_row *each;
    xctx_row *row;
    pthread_mutex_lock(&mutex);
    for (each = mapping->rows; each < mapping->rows + XCTX_OWN_ROWS; each++)
        if (each->users && each->index == index && --each->users == 0) {
            row = xctx_row_at(mapping->head, index);
            if (xctx_load32(&row->owner) == mapping->token) {
                xctx_forget_stuck(row);
                xctx_store32(&row->owner, 0);
                free_again(mapping->head, index);
            }
        }
    pthread_mutex_unlock(&mutex);
}

#else
/* --- no locks ------------------------------------------------------------------------------------------------------------ */

/* Enough to compile: no lock is ever made, so only the first of these is ever called. */
int xctx_set_up_mappings(void) { return 0; }
int xctx_new_file(void) { return -1; }
int xctx_reserve_first(int fd) { (void)fd; return -1; }
int xctx_lock_byte(int fd, int type, long at) { (void)fd; (void)type; (void)at; return -1; }
xctx_mapping *xctx_map(int fd, const char *path, int lasting) { (void)fd; (void)path; (void)lasting; return NULL; }
void xctx_unmap(xctx_mapping *mapping) { (void)mapping; }
void xctx_quit_all(void) {}
int xctx_come_alive(xctx_mapping *mapping) { (void)mapping; return -1; }
int xctx_claim_row(xctx_mapping *mapping) { (void)mapping; return -1; }
void xctx_unclaim_row(xctx_mapping *mapping, uint32_t index) { (void)mapping; (void)index; }
int xctx_look_for_dead(xctx_mapping *mapping, xctx_attempt *attempt) { (void)mapping; (void)attempt; return 0; }
int xctx_clean_up_all_dead(xctx_mapping *mapping) { (void)mapping; return 0; }
int xctx_look_for_name(xctx_mapping *mapping) { (void)mapping; return 0; }
void xctx_say_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index, int part) {
    (void)link; (void)mapping; (void)index; (void)part;
}
void xctx_unsay_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index) {
    (void)link; (void)mapping; (void)index;
}
int xctx_say_thread_stuck(const xctx_link *link) { (void)link; return 0; }
void xctx_unsay_thread_stuck(const xctx_link *link) { (void)link; }
int xctx_find_cycle(xctx_link *links) { (void)links; return 0; }

#endif

/* How this process uses the memory of locks: which files it has mapped, which rows its threads have, and which owners of rows
 * are dead.
 *
 * The memory is a file without a name (a memfd), which lives as long as anybody has it and leaves nothing behind, or a file
 * with a name. `carrier` is the one descriptor of it that a process has: it is handed to other processes, and used to ask the
 * kernel which of them are alive.
 *
 * How a process recognises dead ones. Before its first use of a lock each process takes a *token*, a number that no other process
 * gets, opens the file once more for itself and locks the byte of that number, as an open file description lock. Then it maps
 * a page of what it opened, in such a way that no forked child gets the page (`life`), and closes the descriptor. The mapping
 * keeps the open file, and so the lock on the byte, until the process has died for whatever reason or has replaced itself
 * (exec). So a program may close whatever descriptors it finds without being taken for dead. Process identifiers play no part,
 * so no process can be taken for another. A row names the process that owns it by its token.
 *
 * Some file systems (overlayfs) map an open file other than the one that they are given. There the descriptor is kept (`own`),
 * and a program that closes it loses what it held. It finds out when it releases, and when it wants the lock again.
 *
 * A named file's first byte is locked, shared, by each open file that is mapped as memory. A forked child maps the same open
 * file as its parent, so the family uses the file until the last of them has ended. /proc must be mounted when a process
 * uses a lock for the first time, to reopen a file. */
#ifndef XCTX_LOCK_MAPPING_H
#define XCTX_LOCK_MAPPING_H

#include "xctx/_lock/protocol.h"

#if XCTX_NO_LOCKS
#  define F_RDLCK 0
#  define F_WRLCK 1
#endif
#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* The byte of a named file that shows whether the file is in use. */
#define XCTX_USERS 0

/* This many threads of one process have a row each. Further threads share these rows, because there must be rows for other
 * processes. */
#define XCTX_OWN_ROWS 32

typedef struct {
    uint32_t index;
    uint32_t users;               /* how many threads of this process use the row; 0: this entry is free */
} xctx_own_row;

/* One process's use of one lock's memory. It is never freed but reused, so that a forked child may always walk the list. */
typedef struct xctx_mapping {
    struct xctx_mapping *next;    /* never changes */
    xctx_head *head;              /* NULL: free to be used again. This and the next fields are guarded by a mutex of mapping.c */
#if !XCTX_NO_LOCKS
    dev_t device;                 /* which file it is: a program may close our descriptor, and another file get its number */
    ino_t inode;
#endif
    int carrier;
    int own;                      /* -1 except on file systems that need it. Never changes while `token` does not */
    void *life;                   /* NULL until this process's first use */
    uint32_t token;               /* likewise 0; also read without the mutex */
    int lasting;                  /* the file stays when nobody uses it any more */
    char *path;                   /* NULL where it has no name */
    uint64_t looked_at;           /* when this process last looked for the file's name; touched without the mutex */
    xctx_own_row rows[XCTX_OWN_ROWS];
    PyObject *queues;             /* the first LocalQueue in which a unit waits; owned. Guarded by `guard` */
    xctx_mutex guard;             /* of the queues, and of what is in them */
    uint32_t queued;              /* how many units wait in them; also read without the guard */
} xctx_mapping;

static inline int xctx_is_mine(xctx_mapping *mapping, uint32_t index) {
    return index < XCTX_ROWS && xctx_load32(&xctx_row_at(mapping->head, index)->owner) == xctx_load32(&mapping->token);
}

/* Whether a descriptor is of the mapping's file. */
static inline int xctx_is_of(const xctx_mapping *mapping, int fd) {
#if XCTX_NO_LOCKS
    return (void)mapping, (void)fd, 0;
#else
    struct stat about;
    return fd >= 0 && !fstat(fd, &about) && about.st_dev == mapping->device && about.st_ino == mapping->inode;
#endif
}

#if XCTX_NO_LOCKS
static inline uint64_t xctx_device_of(const xctx_mapping *mapping) { return (void)mapping, 0; }
static inline uint64_t xctx_inode_of(const xctx_mapping *mapping) { return (void)mapping, 0; }
#else
static inline uint64_t xctx_device_of(const xctx_mapping *mapping) { return (uint64_t)mapping->device; }
static inline uint64_t xctx_inode_of(const xctx_mapping *mapping) { return (uint64_t)mapping->inode; }
#endif

/* Whether other processes can tell that this one is alive, once it has called xctx_come_alive. */
static inline int xctx_counts(const xctx_mapping *mapping) { return mapping->own < 0 || xctx_is_of(mapping, mapping->own); }

/* Ordered with the accesses of the lock's word: see xctx_outlook. */
static inline uint32_t xctx_queued(xctx_mapping *mapping) { return xctx_load32(&mapping->queued); }
static inline void xctx_add_queued(xctx_mapping *mapping, int number) { xctx_add32(&mapping->queued, (uint32_t)number); }
static inline xctx_head *xctx_head_of(xctx_mapping *mapping) { return mapping->head; }

/* Once, when the module is imported: what is done at a fork, and at the end of the process. Not 0 where there is no room. */
int xctx_set_up_mappings(void);

/* A file without a name. -1, and errno, on failure. */
int xctx_new_file(void);

/* Reserves memory for the first rows of the file. 0, or -1 and errno. */
int xctx_reserve_first(int fd);

/* Locks (F_WRLCK, F_RDLCK) or frees (F_UNLCK) one byte of a file for the open file description. 0, or -1 and errno. */
int xctx_lock_byte(int fd, int type, long at);

/* Takes over `fd`: a file of zeros that has memory for the first rows, or one that has been a lock's before. With a path the
 * caller has locked its first byte, shared. `lasting`: the file is not removed. NULL, and errno, on failure; then `fd`
 * still is the caller's. ENOLCK says that the file is no lock's. */
xctx_mapping *xctx_map(int fd, const char *path, int lasting);

/* Nobody in this process uses it any more. */
void xctx_unmap(xctx_mapping *mapping);

/* When this process ends, although something may still refer to its mappings: removes the files that no other process uses. */
void xctx_quit_all(void);

/* Lets other processes know that this one is alive. 0, or errno. */
int xctx_come_alive(xctx_mapping *mapping);

/* A row for this thread: its index, or -1 and errno, or -2 where other processes have all rows. */
int xctx_claim_row(xctx_mapping *mapping);
void xctx_unclaim_row(xctx_mapping *mapping, uint32_t index);

/* Looks for the dead among the units that this attempt waits for, and for a writer that does not follow up. 1 where the attempt
 * should look again, otherwise 0; -1 and errno where it cannot be found out which processes are dead. */
int xctx_look_for_dead(xctx_mapping *mapping, xctx_attempt *attempt);

/* Cleans up after all the dead. 0, or -1 and errno. */
int xctx_clean_up_all_dead(xctx_mapping *mapping);

/* The wait of a unit, perhaps in a cycle of units each of which waits for a lock that the next one has. */
typedef struct {
    xctx_mapping *mapping;        /* the lock for which it waits */
    uint64_t wait, since;         /* as in xctx_stuck */
    xctx_stuck *said;             /* where it was read; NULL for the wait of the unit that looks for a cycle */
    uint32_t index;               /* the row by which it waits */
    uint32_t state;               /* passes of the word, or epoch of the row, as its attempt knows them */
    uint8_t phase;                /* of its attempt */
    uint8_t unit;                 /* XCTX_THREAD and so on: what waits, for error messages */
} xctx_link;
enum { XCTX_THREAD, XCTX_GREENLET, XCTX_TASK };
#define XCTX_LONGEST_CYCLE 16

/* Publishes a unit's wait, `link`, so that others can find a cycle through it. Called for each row by which the unit has
 * anything: `part` says what. Of the units that read by one row, only one is published at a time. Always undone before the unit
 * gives any of that back, or looks again whether it must wait. */
void xctx_say_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index, int part);
void xctx_unsay_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index);

/* The same for everything that the units of this thread, which is about to sleep, have by rows that it does not share. Gives how
 * often it published the wait. */
int xctx_say_thread_stuck(const xctx_link *link);
void xctx_unsay_thread_stuck(const xctx_link *link);

/* Looks for a cycle through the wait links[0], which has been published. Gives its length, or 0. It looks only at locks that this
 * process has. All units of the cycle waited at the same moment, so none of them can ever go on. */
int xctx_find_cycle(xctx_link *links);

/* Whether the file of a named lock has lost its name. If so, all users of the memory find out. */
int xctx_look_for_name(xctx_mapping *mapping);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif
#endif

/* The use that this process makes of locks' memory: which files it has mapped, which rows are its threads', and which rows'
 * owners are dead.
 *
 * The memory is a file without a name (a memfd), so that it lives as long as anybody has it and leaves nothing behind, or a
 * file with a name. `carrier` is the descriptor that is handed to other processes.
 *
 * How a process knows the dead. Each process opens the file once more for itself (`own`) and locks the byte of each row that
 * it owns, as an open file description lock. The kernel drops that lock when the process has died for whatever reason, has
 * replaced itself (exec), or was killed and is not waited for yet. It goes by no process identifier, so no process can be
 * taken for another. A child closes what it inherited of `own` at its fork, before it can do anything else. Locking the byte
 * of a row whose owner is dead is also what makes one process at a time clean up after it. /proc must be mounted, to open a
 * file anew. */
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

/* The byte of a named file that each process which uses it locks (shared). */
#define XCTX_USERS 0

/* One process's use of such a memory. It is never freed but used again, so that a forked child may always walk the list. */
typedef struct xctx_mapping {
    struct xctx_mapping *next;    /* never changes */
    xctx_head *head;              /* NULL: free to be used again. This and the next fields are guarded by a mutex of mapping.c */
#if !XCTX_NO_LOCKS
    dev_t device;                 /* which file it is: a program may close a descriptor of ours, and open another file's */
    ino_t inode;
#endif
    int carrier;                  /* -1 where the memory has a name */
    int own;                      /* -1 until its first use in this process */
    int spare;                    /* during a fork: what is to be the child's `own` */
    char *path;                   /* NULL where it has no name */
    uint16_t mine[XCTX_ROWS];     /* how many threads of this process use the row through this; also read without the mutex */
    PyObject *queues;             /* the first LocalQueue in which somebody waits; owned. Guarded by `guard` */
    xctx_mutex guard;             /* of the queues, and of what is in them */
    uint32_t queued;              /* how many wait in them; also read without the guard */
} xctx_mapping;

static inline int xctx_is_mine(xctx_mapping *mapping, uint32_t index) {
    return index < XCTX_ROWS && xctx_load16_relaxed(&mapping->mine[index]) != 0;
}

/* Ordered with the accesses of the lock's word: see xctx_outlook. */
static inline uint32_t xctx_queued(xctx_mapping *mapping) { return xctx_load32(&mapping->queued); }
static inline void xctx_add_queued(xctx_mapping *mapping, int number) { xctx_add32(&mapping->queued, (uint32_t)number); }
static inline xctx_head *xctx_head_of(xctx_mapping *mapping) { return mapping->head; }

/* Once, when the module is imported: what is done at a fork, and at the end of the process. Not 0 where there is no room. */
int xctx_set_up_mappings(void);

/* A file without a name, of XCTX_SIZE zeros. -1, and errno, on failure. */
int xctx_new_file(void);

/* Locks (F_WRLCK, F_RDLCK) or frees (F_UNLCK) one byte of a file for the open file description. 0, or -1 and errno. */
int xctx_lock_byte(int fd, int type, long at);

/* Takes over `fd`: a file of XCTX_SIZE bytes, which are zeros or have been a lock's before. NULL, and errno, on failure; `fd`
 * is the caller's still then. */
xctx_mapping *xctx_map(int fd, const char *path);

/* Nobody in this process uses it any more. */
void xctx_unmap(xctx_mapping *mapping);

/* As this process ends, while something may still refer to its mappings: removes the files that no other process uses. */
void xctx_quit_all(void);

/* A row for this thread: its index, or -1 and errno, or -2 where other processes have all. */
int xctx_claim_row(xctx_mapping *mapping);
void xctx_unclaim_row(xctx_mapping *mapping, uint32_t index);

/* Looks for the dead among those that this attempt waits for. True where one was found: another look is worth while. */
int xctx_look_for_dead(xctx_mapping *mapping, const xctx_attempt *attempt);

/* Cleans up after all the dead. */
void xctx_clean_up_all_dead(xctx_mapping *mapping);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif
#endif

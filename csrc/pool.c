/*
 * A pool of threads that lives as long as the process, since making a thread costs as much as a
 * layer. One task runs at a time: a caller that finds the pool taken does its parts alone, so any
 * thread may call at any time. The child of a fork starts a pool of its own.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "internal.h"

#define MAX_WORKERS 255
#define SPINS 10000 /* some 150 us: longer than a layer, and than waking a sleeping thread up */

typedef struct task {
    bnn_part *part;
    const void *context;
    int64_t parts;
    atomic_llong next;
    atomic_int status;
} task;

static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER; /* held by the caller of the task */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  /* guards what follows */
static pthread_cond_t posted = PTHREAD_COND_INITIALIZER, left = PTHREAD_COND_INITIALIZER;
static task *current; /* NULL: nothing to help with */
static int workers, asleep, wanted;
static atomic_int helping;    /* workers inside the current task */
static atomic_uint posts;     /* tasks posted so far */

static _Thread_local int usual = 1; /* threads of calls that do not say how many */

int bnn_usual_threads(void) { return usual; }

int bnn_set_threads(int threads) {
    const int before = usual;
    usual = threads < 1 ? 1 : threads;
    return before;
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void work_on(task *t) {
    for (;;) {
        const int64_t i = atomic_fetch_add(&t->next, 1);
        if (i >= t->parts) return;
        const int status = t->part(t->context, i);
        if (status != BNN_OK) atomic_store(&t->status, status);
    }
}

/* Wait for another post than `seen`: watching for a while, then asleep. Returns with the lock. */
static void wait_for_post(unsigned seen) {
    for (int i = 0; i < SPINS && atomic_load(&posts) == seen; i++) relax();
    pthread_mutex_lock(&lock);
    while (atomic_load(&posts) == seen) {
        asleep++;
        pthread_cond_wait(&posted, &lock);
        asleep--;
    }
}

static void *worker(void *unused) {
    unsigned seen = 0;
    for (;;) {
        wait_for_post(seen);
        seen = atomic_load(&posts);
        task *t = atomic_load(&helping) < wanted ? current : NULL;
        if (t != NULL) atomic_fetch_add(&helping, 1);
        pthread_mutex_unlock(&lock);
        if (t == NULL) continue;
        work_on(t);
        pthread_mutex_lock(&lock);
        if (atomic_fetch_sub(&helping, 1) == 1) pthread_cond_signal(&left);
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

/* The threads of the parent do not exist in the child. */
static void forget_workers(void) {
    pthread_mutex_init(&taken, NULL);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&posted, NULL);
    pthread_cond_init(&left, NULL);
    current = NULL;
    workers = asleep = 0;
    atomic_store(&helping, 0);
    atomic_store(&posts, 0);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forget_workers);
}

/* Fewer workers than wanted only make the task slower. */
static void start_workers(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    if (workers >= wanted || pthread_attr_init(&attributes) != 0) return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (workers < wanted && pthread_create(&thread, &attributes, worker, NULL) == 0) workers++;
    pthread_attr_destroy(&attributes);
}

static void post(task *t, int helpers) {
    pthread_mutex_lock(&lock);
    wanted = helpers < MAX_WORKERS ? helpers : MAX_WORKERS;
    current = t;
    atomic_fetch_add(&posts, 1);
    start_workers();
    if (asleep > 0) pthread_cond_broadcast(&posted);
    pthread_mutex_unlock(&lock);
}

static void wait_for_helpers(void) {
    pthread_mutex_lock(&lock);
    current = NULL; /* late workers find nothing */
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < SPINS && atomic_load(&helping) > 0; i++) relax();
    pthread_mutex_lock(&lock);
    while (atomic_load(&helping) > 0) pthread_cond_wait(&left, &lock);
    pthread_mutex_unlock(&lock);
}

int bnn_parallel(int threads, int64_t parts, bnn_part *part, const void *context) {
    task t = {.part = part, .context = context, .parts = parts};
    const int64_t helpers = bnn_min(threads, parts) - 1;
    atomic_init(&t.next, 0);
    atomic_init(&t.status, BNN_OK);
    if (helpers < 1 || pthread_mutex_trylock(&taken) != 0) {
        work_on(&t);
        return atomic_load(&t.status);
    }
    post(&t, (int)helpers);
    work_on(&t);
    wait_for_helpers();
    pthread_mutex_unlock(&taken);
    return atomic_load(&t.status);
}

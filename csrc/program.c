/*
 * A program runs its steps, one after the other, on as many images at a time as fit an arena that
 * stays in cache. Threads share the images where there are enough of them, so that they meet only
 * at the end; otherwise they share every step.
 */
#include <stdatomic.h>
#include <stddef.h>

#include "internal.h"

#define LINE 64
#define MAX_ARENAS 256
#define PARTS_PER_THREAD 4 /* a thread that falls behind leaves parts to the others */
#define LEAST_ROWS 32      /* of a product: fewer are slowed down by reading the weights */

static int64_t whole_lines(int64_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

int64_t bnn_arena_bytes(const bnn_program *p, int64_t images) {
    return whole_lines(images * p->arena_image_bytes) + LINE * (p->slot_count + 1);
}

double bnn_program_work(const bnn_program *p) {
    double work = 0.0;
    for (int64_t i = 0; i < p->step_count; i++) work += bnn_work(&p->steps[i].call);
    return work;
}

/* Does a step read the pixels of an image, and not a row of a matrix? */
static int reads_image(const bnn_conv *conv) {
    return conv->groups > 0 && (conv->window.height > 1 || conv->window.width > 1);
}

/* How many images a part needs at least, so that no step is slow on it. */
static int64_t least_images(const bnn_program *p) {
    for (int64_t i = 0; i < p->step_count; i++)
        if (reads_image(&p->steps[i].call.conv)) return 1;
    return LEAST_ROWS;
}

void bnn_program_parts(const bnn_program *p, int64_t images, int threads, int64_t *arenas,
                       int64_t *part_images) {
    const int64_t least = least_images(p), each = images / threads / least;
    const int even = images % threads == 0 || each >= PARTS_PER_THREAD;
    *arenas = 1, *part_images = bnn_min(images, p->tile);
    if (threads == 1 || threads > MAX_ARENAS || each < 1 || !even) return;
    if ((double)images * bnn_program_work(p) < BNN_LEAST_WORK) return;
    const int64_t parts = threads * bnn_min(each, PARTS_PER_THREAD);
    *arenas = threads, *part_images = bnn_min((images + parts - 1) / parts, p->tile);
}

/* One run, and the state that its parts share. */
typedef struct run {
    const bnn_program *program;
    const bnn_batch *batch;
    int64_t part_images;
    int step_threads;
    atomic_flag *taken; /* of every arena */
    atomic_llong *failed;
} run;

static void *place(const run *r, int32_t slot, int64_t start, int64_t images, char *arena) {
    const bnn_slot *s = &r->program->slots[slot];
    if (s->external >= 0) return r->batch->external[s->external] + start * s->image_bytes;
    return arena + whole_lines(images * s->offset) + LINE * s->rank;
}

static int number_draws(const bnn_batch *b, int64_t start, bnn_call *c) {
    const int64_t size = c->M * c->N;
    c->draws.seed = b->seed, c->draws.sample = b->sample;
    if (__builtin_mul_overflow(b->first_image + start, size, &c->draws.first)) return BNN_ERR_SIZE;
    return BNN_OK;
}

static int run_step(const run *r, const bnn_step *step, int64_t start, int64_t images,
                    char *arena) {
    bnn_call c = step->call;
    if (c.draws.bits > 0) BNN_TRY(number_draws(r->batch, start, &c));
    c.M *= images;
    c.conv.window.batch = images;
    c.x = place(r, step->x, start, images, arena);
    if (step->x2 >= 0) c.x2 = place(r, step->x2, start, images, arena);
    c.out = place(r, step->out, start, images, arena);
    return bnn_run(&c, r->step_threads);
}

static int run_part(const void *context, int64_t part) {
    const run *r = context;
    const int64_t start = part * r->part_images;
    const int64_t images = bnn_min(r->part_images, r->batch->images - start);
    int64_t mine = 0, i = 0;
    int status = BNN_OK;
    while (atomic_flag_test_and_set(&r->taken[mine])) mine++; /* no more parts run than arenas */
    char *arena = r->batch->arenas + mine * r->batch->arena_bytes;
    for (; i < r->program->step_count && status == BNN_OK; i++)
        status = run_step(r, &r->program->steps[i], start, images, arena);
    if (status != BNN_OK) atomic_store(r->failed, i - 1);
    atomic_flag_clear(&r->taken[mine]);
    return status;
}

int bnn_run_program(const bnn_program *p, const bnn_batch *b, int threads, int64_t *failed) {
    atomic_flag taken[MAX_ARENAS];
    atomic_llong step;
    int64_t arenas;
    run r = {.program = p, .batch = b, .taken = taken, .failed = &step};
    bnn_program_parts(p, b->images, threads, &arenas, &r.part_images);
    r.step_threads = arenas > 1 ? 1 : threads;
    for (int64_t i = 0; i < arenas; i++) atomic_flag_clear(&taken[i]);
    atomic_init(&step, 0);
    const int64_t parts = (b->images + r.part_images - 1) / r.part_images;
    const int status = bnn_parallel((int)arenas, parts, run_part, &r);
    *failed = atomic_load(&step);
    return status;
}

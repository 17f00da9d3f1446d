#ifndef TESTS_BENCH_WATCH_H
#define TESTS_BENCH_WATCH_H

/* What other processes use, from /proc: CPU time, bytes written, memory. */

#include <stdint.h>

struct watch {
	char name[32];
	int pid;
	uint64_t cpu_us, written; /* since watch_start(), after watch_stop() */
};

/* "NAME=PID". 0, or -1 when it is not. */
int watch_parse(struct watch *w, const char *text);
void watch_start(struct watch *w);
void watch_stop(struct watch *w);
/* Resident memory now, KiB. */
uint64_t watch_memory(const struct watch *w);

#endif

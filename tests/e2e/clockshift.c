/*
 * Put before the C library (LD_PRELOAD): the time of day is another by as
 * many seconds as the file CLOCKSHIFT says. No other clock changes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int
clock_gettime(clockid_t clock, struct timespec *out)
{
	static int (*next)(clockid_t, struct timespec *);
	const char *path = getenv("CLOCKSHIFT");
	long shift = 0;
	FILE *f;
	int r;

	if (next == NULL)
		next = (int (*)(clockid_t, struct timespec *))dlsym(
		    RTLD_NEXT, "clock_gettime");
	r = next(clock, out);
	if (r != 0 || clock != CLOCK_REALTIME || path == NULL)
		return r;
	f = fopen(path, "re");
	if (f == NULL)
		return r;
	if (fscanf(f, "%ld", &shift) == 1)
		out->tv_sec += shift;
	(void)fclose(f); /* only read */
	return r;
}

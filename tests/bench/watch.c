#include "tests/bench/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static void
read_both(const struct watch *w, uint64_t *cpu_us, uint64_t *written)
{
	char path[64], line[1024];
	unsigned long user = 0, system = 0;
	FILE *f;

	*cpu_us = *written = 0;
	snprintf(path, sizeof path, "/proc/%d/stat", w->pid);
	if ((f = fopen(path, "r")) == NULL)
		log_fatal("%s (%s) is gone", w->name, path);
	if (fgets(line, sizeof line, f) != NULL) {
		const char *p = strrchr(line, ')');
		if (p == NULL ||
		    sscanf(p + 1,
			" %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			&user, &system) != 2)
			log_fatal("%s: unexpected content", path);
	}
	fclose(f);
	*cpu_us =
	    (user + system) * 1000000ULL / (unsigned long)sysconf(_SC_CLK_TCK);

	snprintf(path, sizeof path, "/proc/%d/io", w->pid);
	if ((f = fopen(path, "r")) == NULL)
		return;
	while (fgets(line, sizeof line, f) != NULL) {
		unsigned long long n;
		if (sscanf(line, "write_bytes: %llu", &n) == 1)
			*written = n;
	}
	fclose(f);
}

int
watch_parse(struct watch *w, const char *text)
{
	const char *eq = strchr(text, '=');

	if (eq == NULL || (size_t)(eq - text) >= sizeof w->name ||
	    (w->pid = atoi(eq + 1)) <= 0)
		return -1;
	memcpy(w->name, text, (size_t)(eq - text));
	w->name[eq - text] = '\0';
	return 0;
}

void
watch_start(struct watch *w)
{
	read_both(w, &w->cpu_us, &w->written);
}

void
watch_stop(struct watch *w)
{
	uint64_t cpu_us, written;

	read_both(w, &cpu_us, &written);
	w->cpu_us = cpu_us - w->cpu_us;
	w->written = written - w->written;
}

uint64_t
watch_memory(const struct watch *w)
{
	char path[64], line[256];
	unsigned long long kib = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", w->pid);
	if ((f = fopen(path, "r")) == NULL)
		log_fatal("%s (%s) is gone", w->name, path);
	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "VmRSS: %llu", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

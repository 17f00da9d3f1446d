#include "compliance/segments.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

#define SUFFIX ".db"
#define DIGITS 4 /* at least */

/* Length of the path without its suffix. */
static size_t
stem(const char *path)
{
	size_t n = strlen(path), m = sizeof SUFFIX - 1;

	return n > m && strcmp(path + n - m, SUFFIX) == 0 ? n - m : n;
}

char *
segments_path(const char *path, unsigned n)
{
	size_t len = stem(path);
	char *out;

	if (n == 0)
		return strdup(path);
	if (asprintf(
		&out, "%.*s-%0*u%s", (int)len, path, DIGITS, n, path + len) < 0)
		return NULL;
	return out;
}

bool
segments_exists(const char *path, unsigned n)
{
	char *name = segments_path(path, n);
	bool there = name != NULL && access(name, F_OK) == 0;

	free(name);
	return there;
}

/* The number in a name of the form base-NNNN.db; 0 when it is none. */
static unsigned
number_of(const char *name, const char *base)
{
	size_t len = stem(base), n = strlen(name);
	unsigned long number;
	char made[32];
	char *end;

	if (n <= len + 1 || strncmp(name, base, len) != 0 || name[len] != '-')
		return 0;
	number = strtoul(name + len + 1, &end, 10);
	if (number == 0 || number > 99999999)
		return 0;
	(void)snprintf(made, sizeof made, "-%0*lu", DIGITS, number);
	return strncmp(name + len, made, (size_t)(end - name) - len) == 0 &&
		strlen(made) == (size_t)(end - name) - len &&
		strcmp(end, base + len) == 0
	    ? (unsigned)number
	    : 0;
}

unsigned
segments_newest(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash == NULL ? path : slash + 1;
	char *folder = file_parent(path);
	DIR *dir = folder == NULL ? NULL : opendir(folder);
	const struct dirent *e;
	unsigned newest = 0;

	// cppcheck-suppress readdirCalled ; one thread in each process
	while (dir != NULL && (e = readdir(dir)) != NULL) {
		unsigned n = number_of(e->d_name, base);

		if (n > newest)
			newest = n;
	}
	if (dir != NULL)
		(void)closedir(dir); /* nothing was written */
	free(folder);
	return newest;
}

uint64_t
segments_year_end(uint64_t at)
{
	time_t s = (time_t)(at / 1000000);
	struct tm t;

	if (gmtime_r(&s, &t) == NULL)
		return UINT64_MAX;
	t = (struct tm){.tm_year = t.tm_year + 1, .tm_mday = 1};
	return (uint64_t)timegm(&t) * 1000000;
}

bool
segments_is_later(const char *path)
{
	size_t end = stem(path), at = end;

	while (at > 0 && path[at - 1] >= '0' && path[at - 1] <= '9')
		at--;
	return path[end] != '\0' && end - at >= DIGITS && at > 1 &&
	    path[at - 1] == '-' && path[at - 2] != '/';
}

char *
segments_named(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return file_join(path, "journal" SUFFIX);
	return strdup(path);
}

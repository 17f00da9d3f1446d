#ifndef TESTS_UNIT_POWER_NAMES_H
#define TESTS_UNIT_POWER_NAMES_H

/*
 * The names of files on the disk of power_vfs.h: when the power goes, each
 * renaming and removal since the last sync of the folder is lost or kept, in
 * any mixture. New files are there at once. The program is linked with --wrap
 * of rename, unlink and fsync; all is in one folder.
 */

#include <dirent.h>
#include <errno.h>

#include "tests/unit/power_vfs.h"

#define POWER_CHANGES 64

/* `to` is empty: a removal. `kept`: what had the name before; or empty. */
struct power_change {
	char from[512], to[512], kept[512];
};

static struct {
	struct power_change change[POWER_CHANGES];
	size_t count;
	size_t open; /* so many were lost or kept in the last cut */
	unsigned kept;
	bool on;
} power_names;

int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_fsync(int fd);

/* What is not synced of a file goes with it. */
static inline void
power_move(const char *from, const char *to)
{
	for (size_t i = 0; i < POWER_FILES; i++)
		if (power.file[i].used && strcmp(power.file[i].path, from) == 0)
			(void)snprintf(power.file[i].path,
			    sizeof power.file[i].path, "%s", to);
}

/* Hidden beside it, what has that name now; out is empty when nothing has. */
static inline void
power_hide(const char *path, char out[512])
{
	const char *slash = strrchr(path, '/');

	out[0] = '\0';
	if (access(path, F_OK) != 0)
		return;
	(void)snprintf(out, 512, "%.*s/.kept-%u", (int)(slash - path), path,
	    power_names.kept++);
	if (__real_rename(path, out) != 0)
		abort();
	power_move(path, out);
}

static inline struct power_change *
power_changed(const char *from, const char *to)
{
	struct power_change *c = &power_names.change[power_names.count++];

	if (power_names.count == POWER_CHANGES)
		abort();
	(void)snprintf(c->from, sizeof c->from, "%s", from);
	(void)snprintf(c->to, sizeof c->to, "%s", to);
	return c;
}

static inline void
power_drop(const char *kept)
{
	if (kept[0] == '\0')
		return;
	power_gone(kept);
	(void)__real_unlink(kept);
}

static inline int
power_failed(void)
{
	errno = EIO;
	return -1;
}

int
__wrap_rename(const char *from, const char *to)
{
	struct power_change *c;

	if (!power_names.on)
		return __real_rename(from, to);
	if (power_step() != SQLITE_OK)
		return power_failed();
	if (access(from, F_OK) != 0)
		return -1;
	c = power_changed(from, to);
	power_hide(to, c->kept);
	if (__real_rename(from, to) != 0)
		abort();
	power_move(from, to);
	return power.dead ? power_failed() : 0;
}

static inline int
power_remove_name(const char *path)
{
	if (access(path, F_OK) != 0)
		return -1;
	power_hide(path, power_changed(path, "")->kept);
	return 0;
}

int
__wrap_unlink(const char *path)
{
	if (!power_names.on)
		return __real_unlink(path);
	if (power_step() != SQLITE_OK)
		return power_failed();
	if (power_remove_name(path) != 0)
		return -1;
	return power.dead ? power_failed() : 0;
}

/* Of the folder: its names are as they are. */
int
__wrap_fsync(int fd)
{
	struct stat st;

	if (!power_names.on)
		return __real_fsync(fd);
	if (power_step() != SQLITE_OK || power.dead)
		return power_failed();
	if (fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode))
		return 0;
	while (power_names.count > 0)
		power_drop(power_names.change[--power_names.count].kept);
	return 0;
}

/* From now on; what has a name has it on the disk. */
static inline void
power_names_begin(void)
{
	power_names.count = 0;
	power_names.on = true;
	power.remove = power_remove_name;
}

static inline void
power_undo(const struct power_change *c)
{
	bool back = c->to[0] != '\0' && access(c->from, F_OK) != 0;

	if (back && __real_rename(c->to, c->from) != 0)
		abort();
	if (c->kept[0] == '\0')
		return;
	/* Its name may have been given anew since. */
	if (access(c->to[0] != '\0' ? c->to : c->from, F_OK) == 0)
		power_drop(c->kept);
	else if (__real_rename(c->kept, c->to[0] != '\0' ? c->to : c->from) !=
	    0)
		abort();
}

/* No more changes are followed; without a cut, they are all on the disk. */
static inline void
power_names_end(bool cut)
{
	power_names.on = false;
	power.remove = NULL;
	while (power_names.count > 0) {
		const struct power_change *c =
		    &power_names.change[--power_names.count];

		if (cut && power_chance(2) == 0)
			power_undo(c);
		else
			power_drop(c->kept);
	}
}

/* What is shared between processes is gone with the machine. */
static inline void
power_remove_shared(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	char path[512];

	if (d == NULL)
		abort();
	while ((e = readdir(d)) != NULL) {
		size_t n = strlen(e->d_name);

		(void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (n > 4 && strcmp(e->d_name + n - 4, "-shm") == 0)
			(void)__real_unlink(path);
	}
	(void)closedir(d); /* only read from */
}

/* The power is back: all connections must be closed. */
static inline void
power_names_restore(const char *dir)
{
	power_names.open = power_names.count;
	power_restore();
	power_names_end(true);
	power_remove_shared(dir);
}

#endif
